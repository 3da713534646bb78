"""Training steps of one fold, as pure functions."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Int32, PRNGKeyArray

from mrf_jax.dataset.normalise import from_scale, to_scale
from mrf_jax.dataset.patches import patch_shape
from mrf_jax.networks.channels import sees_b1
from mrf_jax.networks.hashing import hashed_bits, hashed_normal, key_words
from mrf_jax.runtime.precision import PRECISIONS
from mrf_jax.runtime.typing import AnyArray
from mrf_jax.training.losses import LOSSES, watched_loss, weighted_mean
from mrf_jax.training.masks import alter_masks
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.state import Fold, TrainState, VoxelTable

if TYPE_CHECKING:
  import optax

# Voxels of all patches that are watched at once: their features stay in the
# cache.
_WATCHED_AT_ONCE = 4096


def train_step(
  state: TrainState,
  fold: Fold,
  table: VoxelTable,
  centres: Int[AnyArray, "tile"],
  *,
  network: nn.Module,
  optimizer: "optax.GradientTransformation",
  options: TrainingOptions,
) -> tuple[TrainState, Float32[Array, ""]]:
  """One step of the optimiser on the mean loss of a batch of tiles.

  L(W) = Σ_m a_m · mean_v [ w_v · loss_m(f(x_v; W), q_v) ]

  f is the network with weights W, x_v the signals of the patch around voxel v,
  q_v its maps on the scale of [0, 1], w_v its weight and a_m that of map m; v
  runs over the voxels of all tiles that are inside the mask. The patches of a
  tile overlap, so that the network's 1 × 1 layers run once for each voxel of
  it. Tiles of one voxel are the paper's: one patch for each estimate. `centres`
  are rows of the table.
  """
  import optax

  dropout_key, sampling_key = jax.random.split(
    jax.random.fold_in(fold.key, state.step)
  )
  patches, counted = _patch_rows(
    table, centres, sampling_key, network=network, options=options
  )
  tiles = _tile_rows(counted, network=network, size=options.tile)
  inputs = _inputs(
    fold, table, patches, sampling_key, network=network, options=options
  )
  targets = _targets(fold, table, tiles, powers=options.map_powers)
  inside = (tiles > 0)[..., None]  # [tile, y, x, 1]
  loss_of_maps, _ = LOSSES[options.loss]

  def mean_loss(params):
    outputs, updated = network.apply(
      {
        # The cast is inside, so that gradients arrive in float32.
        "params": jax.tree.map(lambda x: x.astype(inputs.dtype), params),
        "batch_stats": state.batch_stats,
        **(fold.given or {}),
      },
      inputs,
      train=True,
      rngs={"dropout": dropout_key},
      mutable=["batch_stats"],
    )
    losses = loss_of_maps(outputs.astype(jnp.float32), targets)
    if fold.weights is not None:
      losses *= jnp.asarray(fold.weights)[tiles][..., None]
    mean = weighted_mean(losses, inside, options.map_weights)
    return mean, updated.get("batch_stats", {})

  (loss, batch_stats), gradients = jax.value_and_grad(mean_loss, has_aux=True)(
    state.params
  )
  updates, opt_state = optimizer.update(
    gradients, state.opt_state, state.params
  )
  after = TrainState(
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
    step=state.step + 1,
    loss_sum=state.loss_sum + loss,
  )
  return after, loss


def _patch_rows(
  table: VoxelTable,
  centres: Int[AnyArray, "tile"],
  key: PRNGKeyArray,
  *,
  network: nn.Module,
  options: TrainingOptions,
) -> tuple[
  Int32[AnyArray, "tile *slice y x"], Int32[AnyArray, "tile *slice y x"]
]:
  """Rows of all voxels that the network sees of each tile, maybe mirrored.

  And the same rows, 0 where a voxel does not count in the loss.
  """
  rows = table.grid.neighbours(
    centres,
    before=(options.tile - 1) // 2 + network.reach,
    after=options.tile // 2 + network.reach,
    slices=network.slices,
  )
  counted = rows
  if options.altered_masks:
    rows, counted = _with_altered_masks(
      rows, table, key, share=options.altered_masks
    )
  if options.flips:
    mirror = jax.random.fold_in(key, 1)
    rows, counted = (_flipped(x, mirror) for x in (rows, counted))
  return rows, counted


def _with_altered_masks(
  patches: Int32[AnyArray, "tile *slice y x"],
  table: VoxelTable,
  key: PRNGKeyArray,
  *,
  share: float,
) -> list[Int32[Array, "tile *slice y x"]]:
  """Rows that the network sees, and those that count; see `alter_masks`."""
  slices = patches if patches.ndim == 4 else patches[:, None]
  altered = alter_masks(
    slices, table.maps[:, 1], jax.random.fold_in(key, 2), share=share
  )
  return [x.reshape(patches.shape) for x in altered]


def _tile_rows(
  patches: Int32[AnyArray, "tile *slice y x"], *, network: nn.Module, size: int
) -> Int32[AnyArray, "tile tile_y tile_x"]:
  """Rows of the voxels that are estimated: the middle of each patch."""
  if network.slices > 1:
    patches = patches[:, network.slices // 2]
  reach = network.reach
  return patches[:, reach : reach + size, reach : reach + size]


def _inputs(
  fold: Fold,
  table: VoxelTable,
  patches: Int32[AnyArray, "tile *slice y x"],
  key: PRNGKeyArray,
  *,
  network: nn.Module,
  options: TrainingOptions,
) -> Float[Array, "tile *slice y x channel"]:
  """Signals of the patches, with Gaussian noise (Cohen 2018), and B1."""
  dtype = PRECISIONS[options.precision].dtype
  inputs = _signals(fold, table, patches).astype(dtype)
  if options.input_noise:
    noise = hashed_normal(key_words(key), inputs.shape)
    if sees_b1(network):
      noise = noise.at[..., -1].set(0)
    inputs += (options.input_noise * noise).astype(dtype)
  return inputs


def _targets(
  fold: Fold,
  table: VoxelTable,
  tiles: Int32[AnyArray, "tile y x"],
  *,
  powers: tuple[float, ...],
) -> Float32[Array, "tile y x 3"]:
  """Reference maps of the tiles on the scale of [0, 1]."""
  low, high = (x[None, None, None] for x in (fold.low, fold.high))
  return (to_scale(table.maps[tiles], powers=powers) - low) / (high - low)


def _flipped(
  rows: Int32[AnyArray, "tile *slice y x"], key: PRNGKeyArray
) -> Int32[AnyArray, "tile *slice y x"]:
  """Tiles mirrored at random along y, along x, and along the slices."""
  bits = hashed_bits(key_words(key), (len(rows), *[1] * (rows.ndim - 1)))
  rows = jnp.where(bits & 1 > 0, rows[..., ::-1, :], rows)
  rows = jnp.where(bits & 2 > 0, rows[..., ::-1], rows)
  if rows.ndim == 4:
    rows = jnp.where(bits & 4 > 0, rows[:, ::-1], rows)
  return rows


def shuffle(
  state: TrainState, fold: Fold, *, steps_per_epoch: int, batch: int
) -> Int32[Array, "step centre"]:
  """Centres of every step of the epoch that the state is in."""
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
  *,
  network: nn.Module,
  optimizer: "optax.GradientTransformation",
  options: TrainingOptions,
) -> TrainState:
  """Several steps, which end within the epoch, in one loop on the device."""
  order = fold.order
  assert order is not None

  def step(_, state):
    position = state.step % len(order)
    loss_sum = jnp.where(position == 0, 0, state.loss_sum)
    after, _ = train_step(
      dataclasses.replace(state, loss_sum=loss_sum),
      fold,
      table,
      order[position],
      network=network,
      optimizer=optimizer,
      options=options,
    )
    return after

  return jax.lax.fori_loop(0, count, step, state)


def watch(
  state: TrainState,
  fold: Fold,
  table: VoxelTable,
  *,
  network: nn.Module,
  options: TrainingOptions,
) -> dict[str, Float32[Array, "2 *map"]]:
  """Metrics in the watched voxels, estimated as in reconstruction.

  But for bounds of the estimates: they show what the network itself learns.

  It is computed here and not in `train_step`, since one more result of a
  compiled program changes the rounding of the others.

  Returns:
    First in the training subjects, then in the left-out one: `watched_mae`,
    [2, map], mean absolute error of each map in physical units, and for some
    losses `watched_loss`, [2], mean of the options' `watched_loss`.
  """
  rows = fold.watched
  outputs = _watched_outputs(
    state, fold, table, rows.reshape(-1), network=network
  ).reshape(*rows.shape, -1)
  # Outputs beyond the maps are logarithms of their standard deviations.
  scaled = outputs[..., : table.maps.shape[-1]]
  low, high = (x[None, None] for x in (fold.low, fold.high))
  estimates = scaled * (high - low) + low
  estimates = from_scale(estimates, powers=options.map_powers)
  errors = jnp.abs(estimates - table.maps[rows])
  metrics = {"watched_mae": errors.mean(1)}
  name = watched_loss(options.loss)
  if name is not None:
    loss_of_maps, _ = LOSSES[name]
    targets = _targets(fold, table, rows[:, None], powers=options.map_powers)
    losses = loss_of_maps(outputs, targets[:, 0])
    inside = jnp.ones((rows.shape[1], 1), bool)
    metrics["watched_loss"] = jnp.stack(
      [weighted_mean(x, inside, options.map_weights) for x in losses]
    )
  return metrics


def _watched_outputs(
  state: TrainState,
  fold: Fold,
  table: VoxelTable,
  rows: Int32[AnyArray, "voxel"],
  *,
  network: nn.Module,
) -> Float32[Array, "voxel output"]:
  """Outputs of the network for some voxels, as in reconstruction."""
  variables = {
    "params": state.params,
    "batch_stats": state.batch_stats,
    **(fold.given or {}),
  }

  def of_block(rows):
    patches = table.grid.neighbours(
      rows, before=network.reach, after=network.reach, slices=network.slices
    )
    signals = _signals(fold, table, patches).astype(jnp.float32)
    outputs: Any = network.apply(variables, signals, train=False)
    return outputs[:, 0, 0]

  patch = math.prod(patch_shape(network.reach, network.slices))
  block = min(len(rows), max(1, _WATCHED_AT_ONCE // patch))
  # Row 0, an empty voxel, fills the last block.
  blocks = jnp.pad(rows, (0, -len(rows) % block)).reshape(-1, block)
  outputs = jax.lax.map(of_block, blocks)
  return outputs.reshape(-1, outputs.shape[-1])[: len(rows)]


def _signals(
  fold: Fold, table: VoxelTable, rows: Int32[AnyArray, "*voxel"]
) -> Float[Array, "*voxel channel"]:
  """Signals that this fold's network sees: its own, or of the shared ones."""
  signals = table.signals if fold.signals is None else fold.signals
  assert signals is not None
  values = jnp.asarray(signals)[rows]
  if fold.shift is None or fold.factor is None:
    return values
  axes = (*[None] * rows.ndim, slice(None))
  values = (values - fold.shift[axes]) * fold.factor[axes]
  # Voxels outside of the mask stay zero.
  return jnp.where((rows > 0)[..., None], values, 0)
