"""Training data of each fold, and their way onto the devices."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import make_grid
from mrf_jax.dataset.standardise import SignalStatistics
from mrf_jax.maps import Maps
from mrf_jax.matching.match_table import MatchTable
from mrf_jax.networks.match_layer import match_variables
from mrf_jax.runtime.progress import progress
from mrf_jax.runtime.threads import prefetched
from mrf_jax.training.devices import FoldRunner
from mrf_jax.training.losses import balancing_weights
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.state import Fold, VoxelTable

# Number of the left-out subject of a fold that is trained on all subjects.
NO_SUBJECT = -1


@dataclasses.dataclass(frozen=True)
class Signals:
  """Normalised signals of the subjects, loaded when they are needed.

  Attributes:
    n_channels: numbers of a voxel, 2T or twice the rank, and one more of B1.
    load: from the number of a subject and of the left-out subject to the first
      one's signals, float32 [voxel, channel].
    per_fold: whether the signals depend on which subject is left out; if not,
      `load` ignores its second argument and all folds share one table.
    bases: temporal components that each fold's signals are projected on, by the
      number of the left-out subject; empty if they are not projected.
    statistics: what standardises each fold's signals, likewise; empty if every
      scan is standardised by itself.
    matches: tables of a network that matches each fold's signals, likewise;
      empty for others.
    scales: shift and factor of `Fold` that make a fold's signals of the shared
      ones, [channel] or [1], likewise; empty if these are those of every fold.
  """

  n_channels: int
  load: Callable[[int, int], np.ndarray]
  per_fold: bool = False
  bases: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)
  statistics: Mapping[int, SignalStatistics] = dataclasses.field(
    default_factory=dict
  )
  matches: Mapping[int, MatchTable] = dataclasses.field(default_factory=dict)
  scales: Mapping[int, tuple[np.ndarray, np.ndarray]] = dataclasses.field(
    default_factory=dict
  )

  @classmethod
  def in_memory(cls, signals: Sequence[np.ndarray]) -> "Signals":
    """Signals of each subject, [voxel, channel], that are in memory already."""
    return cls(signals[0].shape[1], lambda subject, left_out: signals[subject])


@dataclasses.dataclass(frozen=True)
class TrainingData:
  """Normalised signals, masks and clipped reference maps of all subjects."""

  signals: Signals
  masks: Sequence[np.ndarray]
  maps: Sequence[Maps]

  def given(self, left_out: int, map_range: MapRange) -> dict | None:
    """Variables that a fold's network is given, see `Fold`."""
    table = self.signals.matches.get(left_out)
    if table is None:
      return None
    statistics = self.signals.statistics[left_out]
    return match_variables(table, statistics, map_range)

  def table_bytes(self, storage: str) -> int:
    """Size of the signals that all folds share, stored as a type."""
    if self.signals.per_fold:
      return 0
    n_voxels = sum(int(mask.sum()) for mask in self.masks)
    return n_voxels * self.signals.n_channels * jnp.dtype(storage).itemsize


def make_folds(
  masks: Sequence[np.ndarray],
  maps: Sequence[Maps],
  left_out: Sequence[int],
  options: TrainingOptions,
  *,
  map_range: MapRange | None = None,
) -> tuple[list[Fold], list[MapRange]]:
  """Centres, map ranges and random keys of folds.

  A fold is the same whichever other folds are made with it. It leaves out a
  subject, or `NO_SUBJECT`; its map range is that of its training subjects,
  unless one is given.
  """
  counts = [int(mask.sum()) for mask in masks]
  ends = 1 + np.cumsum(counts)
  rows = [
    np.arange(end - count, end, dtype=np.int32)
    for count, end in zip(counts, ends, strict=True)
  ]
  keys = jax.random.split(jax.random.key(options.seed), len(masks))
  # All folds have as many centres, so that they can be vectorised.
  n_centres = sum(counts)
  if NO_SUBJECT not in left_out:
    n_centres -= min(counts)
  folds, ranges = [], []
  for number in left_out:
    training = [k for k in range(len(masks)) if k != number]
    training_rows = np.concatenate([rows[k] for k in training])
    own_range = map_range or MapRange.of(
      [maps[k] for k in training], powers=options.map_powers
    )
    weights = None
    if options.balance:
      weights = np.zeros(ends[-1], np.float32)
      weights[training_rows] = balancing_weights(
        np.concatenate([maps[k].t1_ms for k in training]),
        exponent=options.balance,
      )
    left_out_rows = training_rows if number == NO_SUBJECT else rows[number]
    fold = Fold(
      rows=np.resize(training_rows, n_centres),
      low=own_range.low.astype(np.float32),
      high=own_range.high.astype(np.float32),
      watched=np.stack(
        [
          _evenly_spaced(training_rows, options.watched_voxels),
          _evenly_spaced(left_out_rows, options.watched_voxels),
        ]
      ),
      key=keys[number],
      weights=weights,
    )
    folds.append(fold)
    ranges.append(own_range)
  return folds, ranges


def put_on_devices(
  runner: FoldRunner,
  folds: Sequence[Fold],
  left_out: Sequence[int],
  data: TrainingData,
  *,
  storage: str,
  padding: int,
) -> tuple[Fold, VoxelTable]:
  """Copies folds, signals and maps to the devices.

  Each slice gets `padding` empty voxels around it. `storage` is the type of the
  signals on the devices.

  Returns:
    All folds and the table, as functions of `FoldRunner.compile` take them.
  """
  dtype = jnp.dtype(storage)
  signals = data.signals
  subjects = range(len(data.masks))
  maps = np.concatenate(
    [np.zeros((1, 3), np.float32)] + [m.stack() for m in data.maps]
  )
  grid = make_grid(data.masks, padding=padding)
  table = runner.replicate(VoxelTable(None, maps, grid))
  if signals.per_fold:
    folds = [
      dataclasses.replace(
        fold, signals=_stacked_signals(signals, subjects, number).astype(dtype)
      )
      for fold, number in zip(folds, left_out, strict=True)
    ]
    return runner.spread(folds), table
  folds = [
    dataclasses.replace(fold, shift=shift, factor=factor)
    for fold, (shift, factor) in (
      (fold, signals.scales.get(number, (None, None)))
      for fold, number in zip(folds, left_out, strict=True)
    )
  ]
  parts = prefetched(
    lambda subject: signals.load(subject, left_out[0]),
    progress(subjects, total=len(subjects), text="loading signals"),
  )
  shared = runner.table(
    parts, n_rows=len(maps), n_columns=signals.n_channels, dtype=dtype
  )
  return runner.spread(folds), dataclasses.replace(table, signals=shared)


def _stacked_signals(signals: Signals, subjects, left_out: int) -> np.ndarray:
  """Signals of all subjects below a row of zeros, [row, channel]."""
  parts = [signals.load(subject, left_out) for subject in subjects]
  return np.concatenate([np.zeros_like(parts[0][:1]), *parts])


def _evenly_spaced(rows: np.ndarray, count: int) -> np.ndarray:
  """`count` of the rows, evenly spaced from the first to the last."""
  return rows[np.linspace(0, len(rows) - 1, count).astype(int)]
