"""Folds that are at the same step, trained beside each other."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from mrf_jax.errors import UserError
from mrf_jax.runtime.interrupts import Stopped, stop_later
from mrf_jax.runtime.precision import PRECISIONS
from mrf_jax.runtime.progress import LiveLine
from mrf_jax.training.checkpoint import Checkpoint, Saving
from mrf_jax.training.devices import FoldRunner
from mrf_jax.training.step import (
  Fold,
  VoxelTable,
  shuffle,
  train_steps,
  watched_errors,
)

# How long the devices are left to themselves: signals, the live line and
# checkpoints wait for them.
_CALL_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Plan:
  """The steps of a training.

  Attributes:
    total: steps in all.
    steps_per_epoch: steps of an epoch.
    batch: tiles of one step.
    rate: learning rate of each step.
    weight_decay: see `train_folds`.
    network: the Flax module.
    reach: voxels on each side of a patch's centre.
    tile: estimates of a tile along y and x.
    loss: one of `LOSSES`.
    map_weights: weights of the maps in it.
    map_powers: `powers` of `MapRange`.
    flips: whether tiles are mirrored by chance.
    input_noise: standard deviation of noise on the normalised signals.
    precision: one of `PRECISIONS`.
  """

  total: int
  steps_per_epoch: int
  batch: int
  rate: optax.Schedule
  weight_decay: float
  network: nn.Module
  reach: int
  tile: int
  loss: str
  map_weights: tuple[float, ...]
  map_powers: tuple[float, ...]
  flips: bool
  input_noise: float
  precision: str

  @property
  def optimizer(self) -> optax.GradientTransformation:
    """Adam at this plan's rate."""
    if not self.weight_decay:
      return optax.adam(self.rate)
    return optax.adamw(
      self.rate,
      weight_decay=self.weight_decay,
      mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    )

  @property
  def step_options(self) -> dict[str, Any]:
    """What `train_step` takes beside state and data."""
    return {
      "model": self.network,
      "optimizer": self.optimizer,
      "reach": self.reach,
      "tile": self.tile,
      "loss": self.loss,
      "map_weights": self.map_weights,
      "map_powers": self.map_powers,
      "flips": self.flips,
      "input_noise": self.input_noise,
      "compute_dtype": PRECISIONS[self.precision].dtype,
    }


def train_together(
  runner: FoldRunner,
  folds: Fold,
  table: VoxelTable,
  numbers: Sequence[int],
  moments: Sequence[Checkpoint],
  plan: Plan,
  *,
  until: int,
  saving: Saving | None,
  on_epoch: Callable[[int, dict], None],
) -> list[Checkpoint]:
  """Trains folds from one step to another.

  Args:
    runner: of these folds.
    folds: all folds, on the devices.
    table: signals and maps, on the devices.
    numbers: of the left-out subjects.
    moments: where each fold stands; all are at one step.
    plan: of the training.
    until: the step to end at.
    saving: where checkpoints go, and when; None writes none.
    on_epoch: see `train_folds`.

  Returns:
    Where each fold stands then.

  Raises:
    UserError: a loss is not finite.
    Stopped: a signal came; checkpoints were written first.
  """
  shuffle_all, step_all, watch_all = _compiled(runner, plan)
  watches = folds.watched.shape[-1] > 0
  states = runner.spread([moment.state for moment in moments])
  ordered = None
  step, count = moments[0].step, 1
  saved_step, saved_at = step, time.perf_counter()
  seconds = max(moment.seconds for moment in moments)
  began = time.perf_counter()

  def now() -> list[Checkpoint]:
    spent = seconds + time.perf_counter() - began
    return [
      dataclasses.replace(moment, state=state, seconds=spent)
      for moment, state in zip(moments, runner.gather(states), strict=True)
    ]

  with (
    jax.default_matmul_precision(PRECISIONS[plan.precision].products),
    stop_later() as stop,
    LiveLine(
      f"training {len(numbers)} folds",
      total=plan.total,
      done=step,
      per_epoch=plan.steps_per_epoch,
      estimates=len(numbers) * plan.batch * plan.tile**2,
    ) as line,
  ):
    ended = False
    while step < until and not ended:
      if ordered is None or step % plan.steps_per_epoch == 0:
        orders = shuffle_all(states, folds, table)
        ordered = dataclasses.replace(folds, order=orders)
      left = plan.steps_per_epoch - step % plan.steps_per_epoch
      count = min(count, left, until - step)
      start = time.perf_counter()
      states = step_all(states, ordered, table, count)
      position = step % plan.steps_per_epoch + count
      losses = runner.flatten(states.loss_sum) / position
      elapsed = time.perf_counter() - start
      step += count
      _check_finite(losses, numbers, step, plan)
      line.update(count, elapsed, losses)
      count = max(1, round(count * _CALL_SECONDS / elapsed))
      if step % plan.steps_per_epoch == 0:
        metrics = {"fold": np.array(numbers), "loss": losses}
        if watches:
          watched = watch_all(states, folds, table)
          metrics["watched_mae"] = runner.flatten(watched)
        on_epoch(step // plan.steps_per_epoch, metrics)
      ended = stop.number is not None
      if saving is not None and (
        step == until
        or ended
        or step - saved_step >= saving.every_epochs * plan.steps_per_epoch
        or time.perf_counter() - saved_at >= 60 * saving.every_minutes
      ):
        for number, moment in zip(numbers, now(), strict=True):
          saving.checkpoints.save(number, moment)
        saved_step, saved_at = step, time.perf_counter()
    if stop.number is not None:
      raise Stopped(stop.number)
  return now()


def _compiled(runner: FoldRunner, plan: Plan) -> tuple[Callable, ...]:
  """The order of an epoch, steps, and watched errors, of all folds."""
  network: dict[str, Any] = {
    "model": plan.network,
    "reach": plan.reach,
    "map_powers": plan.map_powers,
  }
  order = {"steps_per_epoch": plan.steps_per_epoch, "batch": plan.batch}
  steps = functools.partial(train_steps, **plan.step_options)
  return (
    runner.compile(
      lambda state, fold, table: shuffle(state, fold, **order), donate=False
    ),
    runner.compile(steps, donate=True),
    runner.compile(functools.partial(watched_errors, **network), donate=False),
  )


def _check_finite(losses, numbers, step: int, plan: Plan) -> None:
  """Ends the training at the first loss that is not finite."""
  finite = np.isfinite(losses)
  if not finite.all():
    rate = float(plan.rate(step - 1))
    raise UserError(
      f"training: the loss of fold {numbers[int(np.argmin(finite))]} is not "
      f"finite in epoch {-(-step // plan.steps_per_epoch)} (learning rate "
      f"{rate:.3g}); a smaller learning rate, in another --workdir, "
      "may help"
    )
