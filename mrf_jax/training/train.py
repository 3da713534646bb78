"""All folds of one network from random weights to trained models."""

import dataclasses
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import numpy as np
import optax

from mrf_jax.dataset.normalise import MapRange, check_powers
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.runtime.precision import check_precision
from mrf_jax.training.checkpoint import Checkpoint, Saving
from mrf_jax.training.devices import FoldRunner
from mrf_jax.training.epochs import Plan, train_together
from mrf_jax.training.fold_data import (
  NOBODY,
  STORAGE,
  Signals,
  make_folds,
  place,
)
from mrf_jax.training.losses import check_loss
from mrf_jax.training.step import TrainState, init_state

SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True)
class TrainedFold:
  """What is left of a fold's training.

  Attributes:
    variables: parameters and batch statistics, on the host.
    map_range: of its training subjects.
    seconds: that all folds beside each other took, restarts included.
  """

  variables: dict
  map_range: MapRange
  seconds: float


def train_folds(
  network: nn.Module,
  signals: Signals,
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
  left_out: Sequence[int] | None = None,
  weight_decay: float = 0.0,
  loss: str = "squared_error",
  map_weights: tuple[float, ...] = (1.0, 1.0, 1.0),
  map_powers: tuple[float, ...] = (1.0, 1.0, 1.0),
  flips: bool = False,
  balance: float = 0.0,
  folds_at_once: int | None = None,
  storage: str = "float32",
  precision: str = "float32",
  input_noise: float = 0.0,
  watched_voxels: int = 0,
  saving: Saving | None = None,
  on_epoch: Callable[[int, dict], None] = lambda epoch, metrics: None,
  start: TrainedFold | None = None,
) -> list[TrainedFold]:
  """Leaves subjects out, one a fold, and trains on the others.

  Goes on where checkpoints stand. SIGTERM and Ctrl-C write checkpoints first.

  Args:
    network: the Flax module.
    signals: normalised signals of all subjects.
    masks: each subject's mask.
    maps: each subject's clipped reference maps.
    reach: voxels on each side of a patch's centre.
    seed: of initial weights, order and dropout.
    epochs: passes over the training voxels.
    batch: tiles of one step.
    tile: estimates of a tile along y and x; 1 is one patch an estimate.
    learning_rate: of Adam.
    schedule: `constant`, or `cosine` to zero at the end.
    left_out: the subject that each fold leaves out, or `NOBODY`; None is each
      once.
    weight_decay: share of each kernel that a step at a rate of one would take
      away, apart from its gradient (Loshchilov 2019).
    loss: one of `LOSSES`.
    map_weights: weights of PD, T1 and T2 in it.
    map_powers: powers as which PD, T1 and T2 are learned, 0 is the logarithm;
      see `to_scale`.
    flips: whether each tile is mirrored along y, x or both, by chance; of
      several slices also end for end.
    balance: from 0, all voxels weigh the same in the loss, to 1, all T1 do;
      see `balancing_weights`.
    folds_at_once: see `FoldRunner`.
    storage: type of the signals on the devices, one of `STORAGE`.
    precision: of activations and products, one of `PRECISIONS`; parameters,
      statistics and sums are float32.
    input_noise: standard deviation of noise on the normalised signals.
    watched_voxels: voxels of the training subjects, and as many of the
      left-out one, whose errors every epoch reports.
    saving: where checkpoints go, and when; None writes none.
    on_epoch: called with the epoch (from 1) and, of each fold, [fold, …],
      `fold`, its number, `loss`, the epoch's mean, and `watched_mae`, see
      `watched_errors`.
    start: a trained network that all folds begin with, on its map range;
      layers of other shapes begin fresh. None begins all of them fresh.

  Returns:
    One trained network for each left-out subject.

  Raises:
    UserError: fewer than two subjects, an unknown schedule, storage or
      precision, the loss is no longer finite, or a checkpoint is of another
      configuration.
    Stopped: a signal came.
  """
  left_out = list(range(len(masks)) if left_out is None else left_out)
  if len(masks) < 2 and set(left_out) != {NOBODY}:
    raise UserError(
      f"training: {len(masks)} subject; leave-one-out wants at least two"
    )
  if start is not None and start.map_range.powers != tuple(map_powers):
    raise UserError(
      f"training.map_powers: {tuple(map_powers)}, but the network to start "
      f"from has learned powers of {start.map_range.powers}"
    )
  check_options(
    epochs=epochs,
    batch=batch,
    tile=tile,
    learning_rate=learning_rate,
    schedule=schedule,
    weight_decay=weight_decay,
    loss=loss,
    map_weights=map_weights,
    map_powers=map_powers,
    flips=flips,
    balance=balance,
    folds_at_once=folds_at_once,
    storage=storage,
    precision=precision,
    input_noise=input_noise,
    watched_voxels=watched_voxels,
  )
  folds, ranges = make_folds(
    masks,
    maps,
    left_out,
    seed=seed,
    watched_voxels=watched_voxels,
    map_powers=map_powers,
    balance=balance,
    map_range=None if start is None else start.map_range,
  )
  # All folds have as many centres.
  steps_per_epoch = max(1, round(len(folds[0].rows) / (batch * tile**2)))
  plan = Plan(
    total=steps_per_epoch * epochs,
    steps_per_epoch=steps_per_epoch,
    batch=batch,
    rate=_rate(learning_rate, schedule, steps_per_epoch * epochs),
    weight_decay=weight_decay,
    network=network,
    reach=reach,
    tile=tile,
    loss=loss,
    map_weights=tuple(map_weights),
    map_powers=tuple(map_powers),
    flips=flips,
    input_noise=input_noise,
    precision=precision,
  )
  moments = [
    Checkpoint(
      state=_begin(
        init_state(
          network,
          plan.optimizer,
          fold.key,
          n_channels=signals.n_channels,
          reach=reach,
        ),
        start,
      ),
      key=np.asarray(jax.random.key_data(fold.key)),
      map_range=map_range,
      seconds=0.0,
      basis=signals.bases.get(number),
    )
    for number, fold, map_range in zip(left_out, folds, ranges, strict=True)
  ]
  if saving is not None:
    moments = saving.checkpoints.newest(left_out, moments)
  # As a rule all folds are at one step; those that a killed process left
  # behind catch up with the others first.
  while (step := min(moment.step for moment in moments)) < plan.total:
    behind = [k for k, moment in enumerate(moments) if moment.step == step]
    until = min([m.step for m in moments if m.step > step], default=plan.total)
    runner = FoldRunner(len(behind), at_once=folds_at_once)
    numbers = [left_out[k] for k in behind]
    placed, table = place(
      runner,
      [folds[k] for k in behind],
      numbers,
      signals,
      masks,
      maps,
      storage=storage,
      padding=reach + tile,
    )
    trained = train_together(
      runner,
      placed,
      table,
      numbers,
      [moments[k] for k in behind],
      plan,
      until=until,
      saving=saving,
      on_epoch=on_epoch,
    )
    for k, moment in zip(behind, trained, strict=True):
      moments[k] = moment
    # Not beside those of a next turn.
    del placed, table
  return [
    TrainedFold(
      {
        "params": moment.state.params,
        "batch_stats": moment.state.batch_stats,
      },
      moment.map_range,
      moment.seconds,
    )
    for moment in moments
  ]


def _begin(fresh: TrainState, start: TrainedFold | None) -> TrainState:
  """The state with a trained network's leaves, where their shapes agree."""
  if start is None:
    return fresh

  def take(own, given):
    return given if given.shape == own.shape else own

  return dataclasses.replace(
    fresh,
    params=jax.tree.map(take, fresh.params, start.variables["params"]),
    batch_stats=jax.tree.map(
      take, fresh.batch_stats, start.variables.get("batch_stats", {})
    ),
  )


def check_options(
  *,
  epochs: int,
  batch: int,
  tile: int,
  learning_rate: float,
  schedule: str,
  weight_decay: float,
  loss: str,
  map_weights: tuple[float, ...],
  map_powers: tuple[float, ...],
  flips: bool,
  balance: float,
  folds_at_once: int | None,
  storage: str,
  precision: str,
  input_noise: float,
  watched_voxels: int,
) -> None:
  """Refuses options that `train_folds` cannot take; see there.

  Raises:
    UserError: one is out of its range or unknown.
  """
  for name, value, least in (
    ("epochs", epochs, 1),
    ("batch", batch, 1),
    ("tile", tile, 1),
    ("folds_at_once", folds_at_once, 1),
    ("input_noise", input_noise, 0),
    ("weight_decay", weight_decay, 0),
    ("watched_voxels", watched_voxels, 0),
  ):
    if value is not None and value < least:
      raise UserError(f"training.{name}: {value} is not at least {least}")
  if not 0 <= balance <= 1:
    raise UserError(f"training.balance: {balance} is not from 0 to 1")
  if not learning_rate > 0:
    raise UserError(f"training.learning_rate: {learning_rate} is not above 0")
  for name, choice, choices in (
    ("schedule", schedule, SCHEDULES),
    ("storage", storage, STORAGE),
  ):
    if choice not in choices:
      raise UserError(
        f"training.{name}: {choice!r} is not one of {', '.join(choices)}"
      )
  if not isinstance(flips, bool):
    raise UserError(f"training.flips: {flips!r} is not True or False")
  check_powers(map_powers)
  check_loss(loss, map_weights)
  check_precision(precision)


def _rate(learning_rate: float, schedule: str, total: int) -> optax.Schedule:
  """Learning rate of each step."""
  if schedule == "cosine":
    return optax.cosine_decay_schedule(learning_rate, total)
  return optax.constant_schedule(learning_rate)
