"""Training of one network in all folds."""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import numpy as np

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.errors import UserError
from mrf_jax.training.checkpoint import Checkpoint, CheckpointFolder
from mrf_jax.training.epochs import (
  FoldGroup,
  OnEpoch,
  OnPace,
  Plan,
  advance_folds,
)
from mrf_jax.training.fold_data import NO_SUBJECT, TrainingData, make_folds
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.state import TrainState, init_state


@dataclasses.dataclass(frozen=True)
class TrainedFold:
  """Result of training one fold.

  Attributes:
    variables: parameters, batch statistics and what the network was given, on
      the host.
    map_range: range of the maps of its training subjects.
    seconds: duration of the training of all folds together, restarts included,
      s.
  """

  variables: dict
  map_range: MapRange
  seconds: float


def train_folds(
  network: nn.Module,
  data: TrainingData,
  options: TrainingOptions,
  *,
  left_out: Sequence[int] | None = None,
  start: TrainedFold | None = None,
  checkpoint_folder: CheckpointFolder | None = None,
  on_epoch: OnEpoch = lambda epoch, metrics: None,
  on_pace: OnPace = lambda steps_left, seconds_each: None,
) -> list[TrainedFold]:
  """Trains a network in several folds, each without one of the subjects.

  Resumes from checkpoints, if there are any. SIGTERM and Ctrl-C write
  checkpoints first.

  Args:
    network: the Flax module.
    data: signals, masks and maps of all subjects.
    options: of the training.
    left_out: the subject that each fold leaves out, or `NO_SUBJECT`; None is
      every subject once.
    start: a trained network that all folds start from, with its map range;
      layers of other shapes start from random weights. None starts all layers
      from random weights.
    checkpoint_folder: where checkpoints are written; None writes none.
    on_epoch: called after each epoch with its number (from 1) and, of each
      fold, [fold, …], `fold`, the number of the left-out subject, `loss`, the
      mean loss of the epoch, and, if voxels are watched, what `watch` returns.
    on_pace: called soon after the start with the steps that are left and the
      seconds of one.

  Returns:
    One trained network for each fold.

  Raises:
    UserError: there are fewer than two subjects, `start` has learned other
      powers of the maps, a loss is not finite, or a checkpoint is of another
      configuration.
    Stopped: a signal came.
  """
  left_out = list(range(len(data.masks)) if left_out is None else left_out)
  if len(data.masks) < 2 and set(left_out) != {NO_SUBJECT}:
    raise UserError(
      f"training: {len(data.masks)} subject; leave-one-out needs at least two"
    )
  map_range = _start_range(start, options)
  folds, ranges = make_folds(
    data.masks, data.maps, left_out, options, map_range=map_range
  )
  folds = [
    dataclasses.replace(fold, given=data.given(number, own_range))
    for number, fold, own_range in zip(left_out, folds, ranges, strict=True)
  ]
  n_voxels = len(folds[0].rows)
  plan = Plan(network, options, options.steps_per_epoch(n_voxels))
  checkpoints = [
    Checkpoint(
      state=_initial_state(plan, fold.key, data.signals.n_channels, start),
      key=np.asarray(jax.random.key_data(fold.key)),
      map_range=own_range,
      seconds=0.0,
      basis=data.signals.bases.get(number),
    )
    for number, fold, own_range in zip(left_out, folds, ranges, strict=True)
  ]
  if checkpoint_folder is not None:
    checkpoints = checkpoint_folder.newest(left_out, checkpoints)
  # Usually all folds are at one step; folds that a killed process left behind
  # catch up with the others first.
  while (step := min(c.step for c in checkpoints)) < plan.n_steps:
    behind = [k for k, c in enumerate(checkpoints) if c.step == step]
    later = [c.step for c in checkpoints if c.step > step]
    advanced = advance_folds(
      FoldGroup(
        [folds[k] for k in behind],
        [left_out[k] for k in behind],
        [checkpoints[k] for k in behind],
        data,
        plan,
      ),
      until=min(later, default=plan.n_steps),
      checkpoint_folder=checkpoint_folder,
      on_epoch=on_epoch,
      on_pace=on_pace,
    )
    for k, checkpoint in zip(behind, advanced, strict=True):
      checkpoints[k] = checkpoint
  return [
    TrainedFold(
      {
        "params": checkpoint.state.params,
        "batch_stats": checkpoint.state.batch_stats,
        **(fold.given or {}),
      },
      checkpoint.map_range,
      checkpoint.seconds,
    )
    for fold, checkpoint in zip(folds, checkpoints, strict=True)
  ]


def _start_range(
  start: TrainedFold | None, options: TrainingOptions
) -> MapRange | None:
  """Map range of the network to start from; `UserError` for other powers."""
  if start is None:
    return None
  if start.map_range.powers != options.map_powers:
    raise UserError(
      f"training.map_powers: {options.map_powers}, but the network to start "
      f"from has learned powers of {start.map_range.powers}"
    )
  return start.map_range


def _initial_state(
  plan: Plan, key, n_channels: int, start: TrainedFold | None
) -> TrainState:
  """Random weights, replaced by trained ones where their shapes agree."""
  state = init_state(plan.network, plan.optimizer, key, n_channels=n_channels)
  if start is None:
    return state

  def trained_or_random(random, trained):
    return trained if trained.shape == random.shape else random

  return dataclasses.replace(
    state,
    params=jax.tree.map(
      trained_or_random, state.params, start.variables["params"]
    ),
    batch_stats=jax.tree.map(
      trained_or_random,
      state.batch_stats,
      start.variables.get("batch_stats", {}),
    ),
  )
