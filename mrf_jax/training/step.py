"""One training step and one epoch of one fold, as pure functions."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32, PRNGKeyArray

from mrf_jax.arrays import AnyArray
from mrf_jax.dataset.patches import VoxelGrid


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that training changes.

  Attributes:
    params: the network's weights.
    batch_stats: running statistics of its batch normalisation.
    opt_state: the optimiser's.
    step: steps done.
  """

  params: Any
  batch_stats: Any
  opt_state: Any
  step: Int32[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fold:
  """What one fold learns from.

  Attributes:
    rows: rows of the voxel table that may be centres: the training subjects'
      voxels, repeated from the start up to the length of the largest fold.
    low: lowest value of each map over the training subjects.
    high: highest value.
    watched: rows whose errors are reported after every epoch, some of the
      training subjects and some of the left-out one; nothing depends on them.
    key: random key of initial weights, sampling and dropout.
  """

  rows: Int32[AnyArray, "centre"]
  low: Float32[AnyArray, "3"]
  high: Float32[AnyArray, "3"]
  watched: Int32[AnyArray, "2 voxel"]
  key: PRNGKeyArray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VoxelTable:
  """Signals and reference maps of all subjects; all folds share it.

  Attributes:
    signals: normalised signals; row 0 is zero, [row, 2T].
    maps: reference maps in physical units, [row, 3].
    grid: where the rows stand.
  """

  signals: Float32[AnyArray, "row channel"]
  maps: Float32[AnyArray, "row 3"]
  grid: VoxelGrid


def init_state(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  key: PRNGKeyArray,
  *,
  n_channels: int,
  reach: int,
) -> TrainState:
  """Fresh weights.

  Args:
    model: the network.
    optimizer: the optimiser.
    key: random key.
    n_channels: 2T.
    reach: voxels on each side of a patch's centre.
  """
  size = 2 * reach + 1
  example = jnp.zeros((1, size, size, n_channels))
  variables = model.init(fast_key(key), example, train=False)
  return TrainState(
    variables["params"],
    variables.get("batch_stats", {}),
    optimizer.init(variables["params"]),
    jnp.zeros((), jnp.int32),
  )


def train_step(
  state: TrainState,
  fold: Fold,
  table: VoxelTable,
  centres: Int32[Array, "tile"],
  *,
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  reach: int,
  tile: int,
  input_noise: float = 0.0,
  compute_dtype: jax.typing.DTypeLike = jnp.float32,
) -> tuple[TrainState, Float32[Array, ""]]:
  """One step of the mean squared error on maps scaled to [0, 1].

  Each centre stands for a tile of `tile` × `tile` neighbouring estimates; the
  patches of a tile overlap, so that the network's 1 × 1 layers run once per
  voxel of it. `tile=1` is the paper's: one patch, one estimate.

  Args:
    state: before the step.
    fold: its ranges and key.
    table: signals and maps.
    centres: rows of the table.
    model: the network.
    optimizer: the optimiser.
    reach: voxels on each side of a patch's centre.
    tile: estimates along y and x.
    input_noise: standard deviation of Gaussian noise on the inputs, which are
      of unit variance (Cohen 2018).
    compute_dtype: of activations and factors of matrix products; parameters,
      statistics, loss and optimiser stay float32.

  Returns:
    The state after the step and the loss.
  """
  before, after = (tile - 1) // 2, tile // 2
  inputs = table.signals[
    table.grid.neighbours(centres, before=before + reach, after=after + reach)
  ].astype(compute_dtype)  # [tile, y + 4, x + 4, 2T]
  outputs = table.grid.neighbours(centres, before=before, after=after)
  low, high = (x[None, None, None] for x in (fold.low, fold.high))
  targets = (table.maps[outputs] - low) / (high - low)
  inside = (outputs > 0)[..., None]  # [tile, y, x, 1]
  dropout_key = fast_key(jax.random.fold_in(fold.key, state.step))
  if input_noise:
    noise_key = jax.random.fold_in(dropout_key, 0)
    inputs += input_noise * jax.random.normal(
      noise_key, inputs.shape, compute_dtype
    )

  def loss_of(params):
    estimates, updated = model.apply(
      {
        # Here, so that gradients arrive in float32.
        "params": jax.tree.map(lambda x: x.astype(compute_dtype), params),
        "batch_stats": state.batch_stats,
      },
      inputs,
      train=True,
      rngs={"dropout": dropout_key},
      mutable=["batch_stats"],
    )
    error = estimates.astype(jnp.float32) - targets
    squared = jnp.where(inside, jnp.square(error), 0)
    loss = squared.sum() / (inside.sum() * targets.shape[-1])
    return loss, updated.get("batch_stats", {})

  (loss, batch_stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(
    state.params
  )
  updates, opt_state = optimizer.update(
    gradients, state.opt_state, state.params
  )
  params = optax.apply_updates(state.params, updates)
  return TrainState(params, batch_stats, opt_state, state.step + 1), loss


def fast_key(key: PRNGKeyArray) -> PRNGKeyArray:
  """A key of XLA's own generator, drawn from a threefry key.

  On a CPU, threefry takes a quarter of a step with dropout, and seconds to
  compile for every kernel it initialises.
  """
  return jax.random.wrap_key_data(
    jax.random.bits(key, (4,), "uint32"), impl="rbg"
  )


def train_epoch(
  state: TrainState,
  fold: Fold,
  table: VoxelTable,
  *,
  n_steps: int,
  batch: int,
  **step_options,
) -> tuple[TrainState, dict[str, Array]]:
  """All steps of one epoch, in a new random order of the centres.

  Args:
    state: before the epoch.
    fold: its centres, ranges and key.
    table: signals and maps.
    n_steps: steps of the epoch.
    batch: centres of one step.
    **step_options: of `train_step`.

  Returns:
    The state after the epoch, and `loss`, its mean over the steps, with
    `watched_mae`, the mean absolute error of each map in the watched voxels of
    the training subjects and of the left-out one, [2, 3], physical units.
  """
  # A key of its own: fold.key with small numbers folded in belongs to dropout.
  order_key = jax.random.fold_in(
    jax.random.fold_in(fold.key, 2**31), state.step
  )
  order = jax.random.permutation(order_key, fold.rows)
  # A fold smaller than one batch is seen several times.
  order = jnp.resize(order, (n_steps, batch))

  def step(state, centres):
    return train_step(state, fold, table, centres, **step_options)

  state, losses = jax.lax.scan(step, state, order)
  metrics = {"loss": losses.mean()}
  if fold.watched.shape[1]:
    metrics["watched_mae"] = jnp.stack(
      [
        _mean_absolute_error(
          state,
          fold,
          table,
          rows,
          model=step_options["model"],
          reach=step_options["reach"],
        )
        for rows in fold.watched
      ]
    )
  return state, metrics


def _mean_absolute_error(
  state: TrainState,
  fold: Fold,
  table: VoxelTable,
  rows: Int32[Array, "voxel"],
  *,
  model: nn.Module,
  reach: int,
) -> Float32[Array, "3"]:
  """Error of the maps of some voxels, as reconstruction would give them."""
  patches = table.grid.neighbours(rows, before=reach, after=reach)
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  scaled: Any = model.apply(variables, table.signals[patches], train=False)
  estimates = scaled[:, 0, 0] * (fold.high - fold.low)[None] + fold.low[None]
  return jnp.abs(estimates - table.maps[rows]).mean(0)
