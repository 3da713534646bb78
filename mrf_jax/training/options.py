"""Options of a training, checked when they are made."""

import dataclasses

from mrf_jax.checks import check_one_of
from mrf_jax.dataset.normalise import check_powers
from mrf_jax.errors import UserError
from mrf_jax.runtime.precision import check_precision
from mrf_jax.training.losses import check_loss

SCHEDULES = ("constant", "cosine")
# Types that the signals may have on a device.
STORAGE = ("float32", "bfloat16", "float16")

_LEAST = {
  "epochs": 1,
  "batch": 1,
  "tile": 1,
  "folds_at_once": 1,
  "input_noise": 0,
  "weight_decay": 0,
  "watched_voxels": 0,
}
_SHARES = ("altered_masks", "balance")
_ABOVE_ZERO = ("learning_rate", "checkpoint_epochs", "checkpoint_minutes")


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
  """Options of a training, the same for all folds.

  The object can be hashed: a training step takes it whole, and its values are
  constants of the compiled program. `finetune` stores its fields in checkpoints
  and compares them when a training is resumed.

  Attributes:
    seed: of initial weights, order and dropout.
    epochs: passes over the training voxels.
    batch: tiles of one step.
    tile: estimates of a tile along y and x; 1 is one patch for each estimate,
      as in the paper.
    learning_rate: of Adam, at the first step.
    schedule: `constant`, or `cosine`, which falls to zero at the last step.
    weight_decay: share of each kernel that a step at a learning rate of one
      would remove, apart from the gradient (Loshchilov 2019).
    loss: one of `LOSSES`.
    map_weights: weights of PD, T1 and T2 in the loss.
    map_powers: powers of PD, T1 and T2 that are learned; 0 is the logarithm,
      see `to_scale`.
    flips: whether each tile is mirrored at random along y, x or both; with
      several slices also along these.
    altered_masks: share of tiles whose masks are altered, see `alter_masks`.
    balance: from 0, all voxels have the same weight in the loss, to 1, all T1
      have; see `balancing_weights`.
    input_noise: standard deviation of Gaussian noise on the normalised signals.
    precision: of activations and products, one of `PRECISIONS`; parameters,
      statistics and sums are float32.
    storage: type of the signals on the devices, one of `STORAGE`.
    folds_at_once: folds that a device computes with `vmap`; see `FoldRunner`.
    watched_voxels: voxels of the training subjects, and as many of the left-out
      one, whose errors are reported after every epoch.
    checkpoint_epochs: epochs from one checkpoint to the next.
    checkpoint_minutes: longest time from one checkpoint to the next, min.

  Raises:
    UserError: an option is out of its range or unknown.
  """

  seed: int
  epochs: int
  batch: int
  tile: int
  learning_rate: float
  schedule: str = "constant"
  weight_decay: float = 0.0
  loss: str = "squared_error"
  map_weights: tuple[float, ...] = (1.0, 1.0, 1.0)
  map_powers: tuple[float, ...] = (1.0, 1.0, 1.0)
  flips: bool = False
  altered_masks: float = 0.0
  balance: float = 0.0
  input_noise: float = 0.0
  precision: str = "float32"
  storage: str = "float32"
  folds_at_once: int | None = None
  watched_voxels: int = 0
  checkpoint_epochs: int = 1
  checkpoint_minutes: float = 10.0

  def __post_init__(self):
    """Checks the values, and turns lists into tuples, which can be hashed."""
    for name in ("map_weights", "map_powers"):
      object.__setattr__(self, name, tuple(getattr(self, name)))
    for name, least in _LEAST.items():
      value = getattr(self, name)
      if value is not None and not value >= least:
        raise UserError(f"training.{name}: {value} is not at least {least}")
    for name in _ABOVE_ZERO:
      value = getattr(self, name)
      if not value > 0:
        raise UserError(f"training.{name}: {value} is not above 0")
    for name in _SHARES:
      value = getattr(self, name)
      if not 0 <= value <= 1:
        raise UserError(f"training.{name}: {value} is not from 0 to 1")
    check_one_of("training.schedule", self.schedule, SCHEDULES)
    check_one_of("training.storage", self.storage, STORAGE)
    if not isinstance(self.flips, bool):
      raise UserError(f"training.flips: {self.flips!r} is not True or False")
    check_powers(self.map_powers)
    check_loss(self.loss, self.map_weights)
    check_precision(self.precision)

  @property
  def estimates_per_step(self) -> int:
    """Estimates of one step of one fold."""
    return self.batch * self.tile**2

  def steps_per_epoch(self, n_voxels: int) -> int:
    """Steps of one pass over the training voxels, at least one."""
    return max(1, round(n_voxels / self.estimates_per_step))
