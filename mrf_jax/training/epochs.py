"""Training loop for folds that are at the same step."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.runtime.interrupts import Stopped, stop_later
from mrf_jax.runtime.precision import PRECISIONS
from mrf_jax.runtime.progress import TrainingProgress, counted
from mrf_jax.training.checkpoint import (
  Checkpoint,
  CheckpointFolder,
  CheckpointPolicy,
)
from mrf_jax.training.devices import FoldFunction, FoldRunner
from mrf_jax.training.fold_data import TrainingData, put_on_devices
from mrf_jax.training.losses import LOSS_NOTES
from mrf_jax.training.optimizer import learning_rates, make_optimizer
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.state import Fold
from mrf_jax.training.step import shuffle, train_steps, watch

if TYPE_CHECKING:
  import optax

# Duration of one call of the devices, s. Signals, progress and checkpoints wait
# for its end.
_CALL_SECONDS = 5.0

# Called with an epoch and its metrics; see `train_folds`.
OnEpoch = Callable[[int, dict], None]
# Called with the steps that are left and the seconds of one.
OnPace = Callable[[int, float], None]


@dataclasses.dataclass(frozen=True)
class Plan:
  """Network, options and steps of a training, the same for all folds."""

  network: nn.Module
  options: TrainingOptions
  steps_per_epoch: int

  @property
  def n_steps(self) -> int:
    """Steps of the whole training."""
    return self.steps_per_epoch * self.options.epochs

  @property
  def optimizer(self) -> "optax.GradientTransformation":
    """The optimiser, with its learning rate at each step."""
    return make_optimizer(self.options, n_steps=self.n_steps)


class FoldGroup:
  """Folds that are at the same step, on the devices.

  Attributes:
    numbers: the subject that each fold leaves out.
    plan: of the training.
    step: steps done.
  """

  def __init__(
    self,
    folds: Sequence[Fold],
    numbers: Sequence[int],
    checkpoints: Sequence[Checkpoint],
    data: TrainingData,
    plan: Plan,
  ):
    """Copies folds, their states and all subjects' data to the devices."""
    options = plan.options
    self.numbers = numbers
    self.plan = plan
    self.step = checkpoints[0].step
    self._checkpoints = checkpoints
    self._runner = FoldRunner(
      len(folds),
      at_once=options.folds_at_once,
      table_bytes=data.table_bytes(options.storage),
    )
    self._folds, self._table = put_on_devices(
      self._runner,
      folds,
      numbers,
      data,
      storage=options.storage,
      padding=plan.network.reach + options.tile,
    )
    self._ordered: Fold | None = None
    self._shuffle, self._train, self._watch = _compile(self._runner, plan)
    self._states = self._runner.spread([c.state for c in checkpoints])
    self._seconds_before = max(c.seconds for c in checkpoints)
    self._start = time.perf_counter()

  def train(self, count: int) -> np.ndarray:
    """Trains all folds for some steps, which end within the epoch.

    Returns:
      Mean loss of the epoch so far, [fold].
    """
    steps_of_epoch = self.step % self.plan.steps_per_epoch
    if self._ordered is None and self.plan.options.watched_voxels:
      # One core compiles it, another one the steps.
      self._watch.compile_beside(self._states, self._folds, self._table)
    if self._ordered is None or steps_of_epoch == 0:
      order = self._shuffle(self._states, self._folds, self._table)
      self._ordered = dataclasses.replace(self._folds, order=order)
    self._states = self._train(self._states, self._ordered, self._table, count)
    self.step += count
    loss_sums = self._runner.flatten(self._states.loss_sum)
    return loss_sums / (steps_of_epoch + count)

  def watch(self) -> dict[str, np.ndarray]:
    """Metrics in the watched voxels of all folds, [fold, …]; see `watch`."""
    metrics = self._watch(self._states, self._folds, self._table)
    return {k: self._runner.flatten(values) for k, values in metrics.items()}

  def checkpoints(self) -> list[Checkpoint]:
    """Copies the state of each fold to the host."""
    seconds = self._seconds_before + time.perf_counter() - self._start
    states = self._runner.gather(self._states)
    return [
      dataclasses.replace(checkpoint, state=state, seconds=seconds)
      for checkpoint, state in zip(self._checkpoints, states, strict=True)
    ]


def advance_folds(
  group: FoldGroup,
  *,
  until: int,
  checkpoint_folder: CheckpointFolder | None,
  on_epoch: OnEpoch,
  on_pace: OnPace,
) -> list[Checkpoint]:
  """Trains folds that are at the same step up to another step.

  Raises:
    UserError: a loss is not finite.
    Stopped: a signal came; checkpoints were written first.
  """
  plan = group.plan
  options, per_epoch = plan.options, plan.steps_per_epoch
  policy = CheckpointPolicy(options, steps_per_epoch=per_epoch, step=group.step)
  first_step, n_folds = group.step, len(group.numbers)
  with (
    jax.default_matmul_precision(PRECISIONS[options.precision].products),
    stop_later() as stop,
    TrainingProgress(
      f"training {counted(n_folds, 'fold')}",
      total=plan.n_steps,
      done=group.step,
      per_epoch=per_epoch,
      estimates=n_folds * options.estimates_per_step,
      note=LOSS_NOTES.get(options.loss, ""),
    ) as line,
  ):
    count, is_stopping, is_pace_known = 1, False, False
    while group.step < until and not is_stopping:
      left_of_epoch = per_epoch - group.step % per_epoch
      count = min(count, left_of_epoch, until - group.step)
      start = time.perf_counter()
      losses = group.train(count)
      seconds = time.perf_counter() - start
      _check_finite(losses, group)
      line.update(count, seconds, losses)
      each = line.pace.seconds_each
      if each is not None and not is_pace_known and group.step < until:
        is_pace_known = True
        on_pace(until - group.step, each)
      count = max(1, round(count * _CALL_SECONDS / seconds))
      if group.step % per_epoch == 0:
        metrics = {"fold": np.array(group.numbers), "loss": losses}
        if options.watched_voxels:
          metrics |= group.watch()
        on_epoch(group.step // per_epoch, metrics)
      is_stopping = stop.number is not None
      if checkpoint_folder is not None and (
        group.step == until or is_stopping or policy.is_due(group.step)
      ):
        for fold, checkpoint in zip(
          group.numbers, group.checkpoints(), strict=True
        ):
          checkpoint_folder.save(fold, checkpoint)
        policy.note_written(group.step)
      if group.step - first_step <= per_epoch:
        # What follows the first epoch is compiled, too, and so does not count.
        line.pace.skip()
    if stop.number is not None:
      raise Stopped(stop.number)
  return group.checkpoints()


def _compile(runner: FoldRunner, plan: Plan) -> tuple[FoldFunction, ...]:
  """Functions of all folds: order of an epoch, steps, what is watched."""
  options, network = plan.options, plan.network
  order = functools.partial(
    shuffle, steps_per_epoch=plan.steps_per_epoch, batch=options.batch
  )
  steps = functools.partial(
    train_steps, network=network, optimizer=plan.optimizer, options=options
  )
  metrics = functools.partial(watch, network=network, options=options)
  return (
    runner.compile(lambda state, fold, _: order(state, fold), donate=False),
    runner.compile(steps, donate=True),
    runner.compile(metrics, donate=False),
  )


def _check_finite(losses: np.ndarray, group: FoldGroup) -> None:
  """Raises `UserError` at the first loss that is not finite."""
  is_finite = np.isfinite(losses)
  if is_finite.all():
    return
  fold = group.numbers[int(np.argmin(is_finite))]
  plan = group.plan
  rates = learning_rates(plan.options, n_steps=plan.n_steps)
  raise UserError(
    f"training: the loss of fold {fold} is not finite in epoch "
    f"{-(-group.step // plan.steps_per_epoch)} (learning rate "
    f"{float(rates(group.step - 1)):.3g}); a smaller learning rate, in another "
    "--workdir, may help"
  )
