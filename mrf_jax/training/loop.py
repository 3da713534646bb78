"""All folds of one network from random weights to trained models."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import numpy as np
import optax

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import make_grid
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.parallel import progress
from mrf_jax.training.folds import FoldRunner
from mrf_jax.training.step import Fold, VoxelTable, init_state, train_epoch

SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True)
class TrainedFold:
  """What is left of a fold's training.

  Attributes:
    variables: parameters and batch statistics, on the host.
    map_range: of its training subjects.
  """

  variables: dict
  map_range: MapRange


def train_folds(
  network: nn.Module,
  signals: np.ndarray,
  masks: Sequence[np.ndarray],
  maps: Sequence[Maps],
  *,
  reach: int,
  seed: int,
  epochs: int,
  batch: int,
  tile: int,
  learning_rate: float,
  schedule: str,
  folds_at_once: int | None,
  input_noise: float = 0.0,
  watched_voxels: int = 0,
  on_epoch: Callable[[int, dict], None] = lambda epoch, metrics: None,
) -> list[TrainedFold]:
  """Leaves each subject out once and trains on the others.

  Args:
    network: the Flax module.
    signals: normalised signals of all subjects, [1 + voxel, 2T]; row 0 zero.
    masks: each subject's mask.
    maps: each subject's clipped reference maps.
    reach: voxels on each side of a patch's centre.
    seed: of initial weights, order and dropout.
    epochs: passes over the training voxels.
    batch: tiles of one step.
    tile: estimates of a tile along y and x; 1 is one patch an estimate.
    learning_rate: of Adam.
    schedule: `constant`, or `cosine` to zero at the end.
    folds_at_once: see `FoldRunner`.
    input_noise: standard deviation of noise on the normalised signals.
    watched_voxels: voxels of the training subjects, and as many of the
      left-out one, whose errors every epoch reports.
    on_epoch: called with the epoch (from 1) and what `train_epoch` reports of
      each fold, [fold, …].

  Returns:
    One trained network for each left-out subject.

  Raises:
    UserError: fewer than two subjects, an unknown schedule, or the loss is
      no longer finite.
  """
  if len(masks) < 2:
    raise UserError(
      f"training: {len(masks)} subject; leave-one-out wants at least two"
    )
  if schedule not in SCHEDULES:
    raise UserError(
      f"training.schedule: {schedule!r} is not one of {', '.join(SCHEDULES)}"
    )
  counts = [int(mask.sum()) for mask in masks]
  ends = 1 + np.cumsum(counts)
  rows = [
    np.arange(end - count, end, dtype=np.int32)
    for count, end in zip(counts, ends, strict=True)
  ]
  keys = jax.random.split(jax.random.key(seed), len(masks))
  longest = sum(counts) - min(counts)
  folds, ranges = [], []
  for left_out in range(len(masks)):
    training = [k for k in range(len(masks)) if k != left_out]
    ranges.append(MapRange.of([maps[k] for k in training]))
    own = np.concatenate([rows[k] for k in training])
    folds.append(
      Fold(
        rows=np.resize(own, longest),
        low=ranges[-1].low.astype(np.float32),
        high=ranges[-1].high.astype(np.float32),
        watched=np.stack(
          [_spread_over(r, watched_voxels) for r in (own, rows[left_out])]
        ),
        key=keys[left_out],
      )
    )
  labels = np.concatenate(
    [np.zeros((1, 3), np.float32)] + [m.stack() for m in maps]
  )
  table = VoxelTable(signals, labels, make_grid(masks, padding=reach + tile))
  n_steps = max(1, round(longest / (batch * tile**2)))
  rate = (
    optax.cosine_decay_schedule(learning_rate, n_steps * epochs)
    if schedule == "cosine"
    else learning_rate
  )
  optimizer = optax.adam(rate)
  epoch_of_fold = functools.partial(
    train_epoch,
    n_steps=n_steps,
    batch=batch,
    model=network,
    optimizer=optimizer,
    reach=reach,
    tile=tile,
    input_noise=input_noise,
  )
  runner = FoldRunner(epoch_of_fold, folds, table, at_once=folds_at_once)
  states = runner.spread(
    [
      init_state(
        network,
        optimizer,
        fold.key,
        n_channels=signals.shape[1],
        reach=reach,
      )
      for fold in folds
    ]
  )
  text = f"training {len(folds)} folds"
  for epoch in progress(range(1, epochs + 1), total=epochs, text=text):
    states, metrics = runner.step(states)
    finite = np.isfinite(metrics["loss"])
    if not finite.all():
      raise UserError(
        f"training: the loss of fold {int(np.argmin(finite))} is "
        f"not finite in epoch {epoch}; a smaller learning rate may help"
      )
    on_epoch(epoch, metrics)
  return [
    TrainedFold(
      {"params": state.params, "batch_stats": state.batch_stats}, map_range
    )
    for state, map_range in zip(runner.gather(states), ranges, strict=True)
  ]


def _spread_over(rows: np.ndarray, count: int) -> np.ndarray:
  """`count` of the rows, evenly spaced."""
  return rows[np.linspace(0, len(rows) - 1, count).astype(int)]
