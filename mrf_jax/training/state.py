"""State and data of the training of one fold, as pytrees."""

import dataclasses
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32, Int32, PRNGKeyArray

from mrf_jax.dataset.patches import VoxelGrid, patch_shape
from mrf_jax.runtime.typing import AnyArray

if TYPE_CHECKING:
  import optax


# The names of these fields are names of arrays in checkpoints.
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """State of a training: everything that a step changes.

  Attributes:
    params: the network's weights.
    batch_stats: running statistics of its batch normalisation.
    opt_state: state of the optimiser.
    step: steps done; with the fold's key it determines what is sampled next.
    loss_sum: sum of the losses since the epoch began.
  """

  params: Any
  batch_stats: Any
  opt_state: Any
  step: Int32[AnyArray, ""]
  loss_sum: Float32[AnyArray, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fold:
  """Training data of one fold: its voxels, map ranges and random key.

  Attributes:
    rows: rows of the voxel table that may be centres: the training subjects'
      voxels, repeated from the start up to the length of the largest fold.
    low: lowest value of each map over the training subjects.
    high: highest value of each map.
    watched: rows whose errors are reported after every epoch, some of the
      training subjects and some of the left-out one; the training does not
      depend on them.
    key: random key of initial weights, sampling and dropout.
    order: centres of each step of the epoch, from `shuffle`; None before it.
    signals: signals of this fold alone, [row, channel], where what the network
      sees depends on the training subjects; None takes the shared table's.
    weights: weight of each row in the loss, [row]; None weighs all the same.
    shift: what is subtracted from signals of the shared table, [channel], so
      that they are standardised by the fold's training subjects; None takes
      them as they are.
    factor: what they are multiplied by then, likewise.
    given: variables of the network that are not trained, by their collections;
      None where it has none.
  """

  rows: Int32[AnyArray, "centre"]
  low: Float32[AnyArray, "3"]
  high: Float32[AnyArray, "3"]
  watched: Int32[AnyArray, "2 voxel"]
  key: PRNGKeyArray
  order: Int32[AnyArray, "step centre"] | None = None
  signals: Float[AnyArray, "row channel"] | None = None
  weights: Float32[AnyArray, "row"] | None = None
  shift: Float32[AnyArray, "channel"] | None = None
  factor: Float32[AnyArray, "channel"] | None = None
  given: Any = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VoxelTable:
  """Signals and reference maps of all subjects, shared by all folds.

  Attributes:
    signals: normalised signals; row 0 is zero, [row, channel]; None where every
      fold has its own.
    maps: reference maps in physical units, [row, 3].
    grid: position of each row in space.
  """

  signals: Float[AnyArray, "row channel"] | None
  maps: Float32[AnyArray, "row 3"]
  grid: VoxelGrid


def init_state(
  network: nn.Module,
  optimizer: "optax.GradientTransformation",
  key: PRNGKeyArray,
  *,
  n_channels: int,
) -> TrainState:
  """State before the first step, with random weights."""
  shape = patch_shape(network.reach, network.slices)
  example = jnp.zeros((1, *shape, n_channels))
  variables = network.init(fast_key(key), example, train=False)
  return TrainState(
    variables["params"],
    variables.get("batch_stats", {}),
    optimizer.init(variables["params"]),
    jnp.zeros((), jnp.int32),
    jnp.zeros((), jnp.float32),
  )


def fast_key(key: PRNGKeyArray) -> PRNGKeyArray:
  """Key of XLA's own generator, drawn from a threefry key.

  Threefry takes seconds to compile for every kernel it initialises. Not for use
  under `vmap`, where XLA's generator gives other numbers.
  """
  return jax.random.wrap_key_data(
    jax.random.bits(key, (4,), "uint32"), impl="rbg"
  )
