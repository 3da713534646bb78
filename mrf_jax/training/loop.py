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
  on_epoch: Callable[[int, np.ndarray], None] = lambda epoch, losses: None,
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
    on_epoch: called with the epoch (from 1) and the loss of each fold.

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
    folds.append(
      Fold(
        rows=np.resize(np.concatenate([rows[k] for k in training]), longest),
        low=ranges[-1].low.astype(np.float32),
        high=ranges[-1].high.astype(np.float32),
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
    states, losses = runner.step(states)
    if not np.isfinite(losses).all():
      raise UserError(
        f"training: the loss of fold {int(np.argmin(np.isfinite(losses)))} is "
        f"not finite in epoch {epoch}; a smaller learning rate may help"
      )
    on_epoch(epoch, losses)
  return [
    TrainedFold(
      {"params": state.params, "batch_stats": state.batch_stats}, map_range
    )
    for state, map_range in zip(runner.gather(states), ranges, strict=True)
  ]
