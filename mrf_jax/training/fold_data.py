"""What the folds of a training begin with."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import make_grid
from mrf_jax.maps import Maps
from mrf_jax.runtime.progress import progress
from mrf_jax.runtime.threads import prefetched
from mrf_jax.training.devices import FoldRunner
from mrf_jax.training.losses import balancing_weights
from mrf_jax.training.step import Fold, VoxelTable

# The "left-out subject" of a fold that is trained on all of them.
NOBODY = -1
# Types that a table of signals may have on a device.
STORAGE = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Signals:
  """Normalised signals of the subjects, read when they are wanted.

  Attributes:
    n_channels: numbers of a voxel.
    of: from the number of a subject and of the left-out subject to the first
      one's signals, float32 [voxel, channel].
    per_fold: whether they depend on who is left out; else the second argument
      makes no difference, and all folds share one table.
    bases: temporal components that each fold's signals are projected on, by the
      number of the left-out subject; empty where they are not.
  """

  n_channels: int
  of: Callable[[int, int], np.ndarray]
  per_fold: bool = False
  bases: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)

  @classmethod
  def held(cls, signals: Sequence[np.ndarray]) -> "Signals":
    """Signals that are in memory, [voxel, channel] of each subject."""
    return cls(signals[0].shape[1], lambda subject, left_out: signals[subject])


def make_folds(
  masks: Sequence[np.ndarray],
  maps: Sequence[Maps],
  left_out: Sequence[int],
  *,
  seed: int,
  watched_voxels: int,
  map_powers: tuple[float, ...] = (1.0, 1.0, 1.0),
  balance: float = 0.0,
  map_range: MapRange | None = None,
) -> tuple[list[Fold], list[MapRange]]:
  """Centres, map ranges and random keys of some folds.

  They do not depend on which folds are asked for together.

  Args:
    masks: each subject's mask.
    maps: each subject's clipped reference maps.
    left_out: the subject that each fold leaves out, or `NOBODY`.
    seed: of initial weights, order and dropout.
    watched_voxels: voxels of the training subjects, and as many of the
      left-out one, whose errors every epoch reports.
    map_powers: `powers` of `MapRange`.
    balance: how far rare T1 are made up for; see `balancing_weights`.
    map_range: of all folds; None is that of each one's training subjects.

  Returns:
    One of each for every fold.
  """
  counts = [int(mask.sum()) for mask in masks]
  ends = 1 + np.cumsum(counts)
  rows = [
    np.arange(end - count, end, dtype=np.int32)
    for count, end in zip(counts, ends, strict=True)
  ]
  keys = jax.random.split(jax.random.key(seed), len(masks))
  longest = sum(counts)
  if NOBODY not in left_out:
    longest -= min(counts)
  folds, ranges = [], []
  for out in left_out:
    training = [k for k in range(len(masks)) if k != out]
    ranges.append(
      map_range or MapRange.of([maps[k] for k in training], powers=map_powers)
    )
    own = np.concatenate([rows[k] for k in training])
    weights = None
    if balance:
      weights = np.zeros(ends[-1], np.float32)
      weights[own] = balancing_weights(
        np.concatenate([maps[k].t1_ms for k in training]), exponent=balance
      )
    folds.append(
      Fold(
        rows=np.resize(own, longest),
        low=ranges[-1].low.astype(np.float32),
        high=ranges[-1].high.astype(np.float32),
        watched=np.stack(
          [
            _spread_over(r, watched_voxels)
            for r in (own, own if out == NOBODY else rows[out])
          ]
        ),
        key=keys[out],
        weights=weights,
      )
    )
  return folds, ranges


def place(
  runner: FoldRunner,
  folds: Sequence[Fold],
  left_out: Sequence[int],
  signals: Signals,
  masks: Sequence[np.ndarray],
  maps: Sequence[Maps],
  *,
  storage: str,
  padding: int,
) -> tuple[Fold, VoxelTable]:
  """Brings folds, signals and maps onto the devices.

  Args:
    runner: knows the devices.
    folds: of `make_folds`.
    left_out: the subject that each leaves out.
    signals: of all subjects.
    masks: each subject's mask.
    maps: each subject's clipped reference maps.
    storage: type of the signals there, one of `STORAGE`.
    padding: voxels of void around each slice.

  Returns:
    All folds and the table, as `FoldRunner.compile` wants them.
  """
  dtype = jnp.dtype(storage)
  subjects = range(len(masks))
  labels = np.concatenate(
    [np.zeros((1, 3), np.float32)] + [m.stack() for m in maps]
  )
  grid = make_grid(masks, padding=padding)
  table = runner.replicate(VoxelTable(None, labels, grid))
  if signals.per_fold:
    folds = [
      dataclasses.replace(
        fold,
        signals=_table(signals, subjects, out).astype(dtype),
      )
      for fold, out in zip(folds, left_out, strict=True)
    ]
    return runner.spread(folds), table
  parts = prefetched(
    lambda subject: signals.of(subject, left_out[0]),
    progress(subjects, total=len(subjects), text="loading signals"),
  )
  shared = runner.table(
    parts, n_rows=len(labels), n_columns=signals.n_channels, dtype=dtype
  )
  return runner.spread(folds), dataclasses.replace(table, signals=shared)


def _table(signals: Signals, subjects, left_out: int) -> np.ndarray:
  """Signals of all subjects under a row of zeros, [row, channel]."""
  parts = [signals.of(subject, left_out) for subject in subjects]
  return np.concatenate([np.zeros_like(parts[0][:1]), *parts])


def _spread_over(rows: np.ndarray, count: int) -> np.ndarray:
  """`count` of the rows, evenly spaced."""
  return rows[np.linspace(0, len(rows) - 1, count).astype(int)]
