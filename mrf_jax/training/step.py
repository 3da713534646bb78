"""The training steps of one fold, as pure functions."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Float32, Int32, PRNGKeyArray

from mrf_jax.dataset.normalise import from_scale, to_scale
from mrf_jax.dataset.patches import VoxelGrid, patch_shape
from mrf_jax.networks.hashing import hashed_bits, hashed_normal, key_words
from mrf_jax.training.losses import LOSSES, weighted_mean
from mrf_jax.typing import AnyArray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that training changes.

  Attributes:
    params: the network's weights.
    batch_stats: running statistics of its batch normalisation.
    opt_state: the optimiser's.
    step: steps done; with the fold's key, it says all of where sampling is.
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
  """What one fold learns from.

  Attributes:
    rows: rows of the voxel table that may be centres: the training subjects'
      voxels, repeated from the start up to the length of the largest fold.
    low: lowest value of each map over the training subjects.
    high: highest value.
    watched: rows whose errors are reported after every epoch, some of the
      training subjects and some of the left-out one; nothing depends on them.
    key: random key of initial weights, sampling and dropout.
    order: centres of each step of the epoch, of `shuffle`; None before it.
    signals: signals of its own instead of the shared table's, [row, channel],
      where what the network sees depends on the training subjects; or None.
    weights: of the rows in the loss, [row]; None is one each.
  """

  rows: Int32[AnyArray, "centre"]
  low: Float32[AnyArray, "3"]
  high: Float32[AnyArray, "3"]
  watched: Int32[AnyArray, "2 voxel"]
  key: PRNGKeyArray
  order: Int32[AnyArray, "step centre"] | None = None
  signals: Float[AnyArray, "row channel"] | None = None
  weights: Float32[AnyArray, "row"] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VoxelTable:
  """Signals and reference maps of all subjects; all folds share it.

  Attributes:
    signals: normalised signals; row 0 is zero, [row, 2T]; None where every
      fold has its own.
    maps: reference maps in physical units, [row, 3].
    grid: where the rows stand.
  """

  signals: Float[AnyArray, "row channel"] | None
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
  example = jnp.zeros((1, *patch_shape(reach, model.slices), n_channels))
  variables = model.init(fast_key(key), example, train=False)
  return TrainState(
    variables["params"],
    variables.get("batch_stats", {}),
    optimizer.init(variables["params"]),
    jnp.zeros((), jnp.int32),
    jnp.zeros((), jnp.float32),
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
  loss: str = "squared_error",
  map_weights: tuple[float, ...] = (1.0, 1.0, 1.0),
  map_powers: tuple[float, ...] = (1.0, 1.0, 1.0),
  flips: bool = False,
  input_noise: float = 0.0,
  compute_dtype: jax.typing.DTypeLike = jnp.float32,
) -> tuple[TrainState, Float32[Array, ""]]:
  """One step of a loss of maps scaled to [0, 1].

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
    loss: one of `LOSSES`.
    map_weights: weights of the maps in it.
    map_powers: `powers` of `MapRange`.
    flips: whether each tile is mirrored along y, x or both, by chance.
    input_noise: standard deviation of Gaussian noise on the inputs, which are
      of unit variance (Cohen 2018).
    compute_dtype: of activations and factors of matrix products; parameters,
      statistics, loss and optimiser stay float32.

  Returns:
    The state after the step and the loss.
  """
  before, after = (tile - 1) // 2, tile // 2
  dropout_key, noise_key = jax.random.split(
    jax.random.fold_in(fold.key, state.step)
  )
  rows = table.grid.neighbours(
    centres, before=before + reach, after=after + reach, slices=model.slices
  )
  if flips:
    rows = _flipped(rows, jax.random.fold_in(noise_key, 1))
  inputs = _signals(fold, table)[rows].astype(
    compute_dtype
  )  # [tile, y + 2 reach, x + 2 reach, 2T], of several slices [tile, slice, …]
  middle = rows[:, model.slices // 2] if model.slices > 1 else rows
  outputs = middle[:, reach : reach + tile, reach : reach + tile]
  low, high = (x[None, None, None] for x in (fold.low, fold.high))
  maps = to_scale(table.maps[outputs], powers=map_powers)
  targets = (maps - low) / (high - low)
  inside = (outputs > 0)[..., None]  # [tile, y, x, 1]
  if input_noise:
    noise = hashed_normal(key_words(noise_key), inputs.shape)
    inputs += (input_noise * noise).astype(compute_dtype)

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
    losses = loss_of_maps(estimates.astype(jnp.float32), targets)
    if fold.weights is not None:
      losses *= jnp.asarray(fold.weights)[outputs][..., None]
    mean = weighted_mean(losses, inside, map_weights)
    return mean, updated.get("batch_stats", {})

  loss_of_maps, _ = LOSSES[loss]
  (mean_loss, batch_stats), gradients = jax.value_and_grad(
    loss_of, has_aux=True
  )(state.params)
  updates, opt_state = optimizer.update(
    gradients, state.opt_state, state.params
  )
  params = optax.apply_updates(state.params, updates)
  return (
    TrainState(
      params, batch_stats, opt_state, state.step + 1, state.loss_sum + mean_loss
    ),
    mean_loss,
  )


def _flipped(
  rows: Int32[Array, "tile *slice y x"], key: PRNGKeyArray
) -> Int32[Array, "tile *slice y x"]:
  """Each tile mirrored along y, x, both or neither, and end for end."""
  bits = hashed_bits(key_words(key), (len(rows), *[1] * (rows.ndim - 1)))
  rows = jnp.where(bits & 1 > 0, rows[..., ::-1, :], rows)
  rows = jnp.where(bits & 2 > 0, rows[..., ::-1], rows)
  if rows.ndim == 4:
    rows = jnp.where(bits & 4 > 0, rows[:, ::-1], rows)
  return rows


def fast_key(key: PRNGKeyArray) -> PRNGKeyArray:
  """A key of XLA's own generator, drawn from a threefry key.

  Threefry takes seconds to compile for every kernel it initialises. Not for use
  under `vmap`, where this generator gives other numbers.
  """
  return jax.random.wrap_key_data(
    jax.random.bits(key, (4,), "uint32"), impl="rbg"
  )


def shuffle(
  state: TrainState, fold: Fold, *, steps_per_epoch: int, batch: int
) -> Int32[Array, "step centre"]:
  """The centres of every step of the epoch that the state is in.

  Args:
    state: of any step of the epoch.
    fold: its centres and key.
    steps_per_epoch: steps of an epoch.
    batch: centres of one step.
  """
  epoch_start = state.step // steps_per_epoch * steps_per_epoch
  # A key of its own: fold.key with small numbers folded in belongs to dropout.
  order_key = jax.random.fold_in(
    jax.random.fold_in(fold.key, 2**31), epoch_start
  )
  order = jax.random.permutation(order_key, fold.rows)
  # A fold smaller than one batch is seen several times.
  return jnp.resize(order, (steps_per_epoch, batch))


def train_steps(
  state: TrainState,
  fold: Fold,
  table: VoxelTable,
  count: Int32[Array, ""],
  **step_options,
) -> TrainState:
  """Some steps of one epoch in one loop on the device.

  Args:
    state: before the steps.
    fold: its order of the epoch, ranges and key.
    table: signals and maps.
    count: steps; they end within the epoch.
    **step_options: of `train_step`.

  Returns:
    The state after the steps.
  """
  order = fold.order
  assert order is not None

  def step(_, state):
    position = state.step % len(order)
    begun = jnp.where(position == 0, 0, state.loss_sum)
    state = dataclasses.replace(state, loss_sum=begun)
    return train_step(state, fold, table, order[position], **step_options)[0]

  return jax.lax.fori_loop(0, count, step, state)


def watched_errors(
  state: TrainState, fold: Fold, table: VoxelTable, **network_options
) -> Float32[Array, "2 3"]:
  """Mean absolute error of each map in the watched voxels, physical units.

  Args:
    state: after any step.
    fold: its watched voxels and ranges.
    table: signals and maps.
    **network_options: `model`, `reach` and `map_powers` of `train_step`.

  Returns:
    Errors in the training subjects and in the left-out one.
  """
  return jnp.stack(
    [
      _mean_absolute_error(state, fold, table, rows, **network_options)
      for rows in fold.watched
    ]
  )


def _mean_absolute_error(
  state: TrainState,
  fold: Fold,
  table: VoxelTable,
  rows: Int32[Array, "voxel"],
  *,
  model: nn.Module,
  reach: int,
  map_powers: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> Float32[Array, "3"]:
  """Error of the maps of some voxels, as reconstruction would give them."""
  patches = table.grid.neighbours(
    rows, before=reach, after=reach, slices=model.slices
  )
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  signals = _signals(fold, table)[patches].astype(jnp.float32)
  scaled: Any = model.apply(variables, signals, train=False)
  scaled = scaled[:, 0, 0, : table.maps.shape[-1]]
  estimates = scaled * (fold.high - fold.low)[None] + fold.low[None]
  estimates = from_scale(estimates, powers=map_powers)
  return jnp.abs(estimates - table.maps[rows]).mean(0)


def _signals(fold: Fold, table: VoxelTable) -> Float[Array, "row channel"]:
  """What this fold's network sees."""
  signals = table.signals if fold.signals is None else fold.signals
  assert signals is not None
  return jnp.asarray(signals)
