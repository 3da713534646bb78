"""Network inference on all voxels of a scan in one compiled call."""

import functools
import mmap
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import (
  Array,
  Bool,
  Complex64,
  Float32,
  Int32,
  Key,
)

from mrf_jax.dataset.normalise import normalise_signals
from mrf_jax.dataset.patches import make_grid
from mrf_jax.maps import MAP_NAMES
from mrf_jax.networks.outputs import split_deviations
from mrf_jax.runtime.precision import PRECISIONS, check_precision
from mrf_jax.runtime.typing import AnyArray

# Number of voxels that a network processes at once.
_BLOCK = 4096
# Number of voxels of a tile along y and x. Slices are cut to tiles, and those
# without masked voxels are left out. Smaller tiles waste less on the rim of the
# brain; larger ones share more features of neighbouring voxels.
_TILE = 8


def signal_table(
  signals: Complex64[np.ndarray, "voxel frame"], *, per: str
) -> Float32[np.ndarray, "block row channel"]:
  """Normalised signals in blocks of rows, of which row 0 is zero.

  Row 0 stands for voxels outside of the mask, row i for voxel i - 1 within it;
  rows of zeros fill the last block.
  """
  n_voxels, n_frames = signals.shape
  n_blocks = _rounded(-(-(1 + n_voxels) // _BLOCK))
  # Memory that starts on a page, which a CPU backend uses without a copy.
  memory = mmap.mmap(-1, n_blocks * _BLOCK * 2 * n_frames * 4)
  rows = np.frombuffer(memory, np.float32).reshape(-1, 2 * n_frames)
  normalise_signals(signals, per=per, out=rows[1 : 1 + n_voxels])
  return rows.reshape(n_blocks, _BLOCK, -1)


def estimate(
  network: nn.Module,
  variables: Any,
  table: Float32[AnyArray, "block row channel"],
  mask: Bool[np.ndarray, "slice y x"],
  *,
  precision: str = "float32",
) -> Float32[np.ndarray, "voxel output"]:
  """Outputs of a network for each masked voxel, on the scale of [0, 1].

  A network that sees more than a voxel, its `reach` on each side, has the
  methods `temporal`, for a voxel's own features, and `spatial`.

  Raises:
    UserError: the precision is unknown.
  """
  return _estimate(network, variables, table, mask, precision, None)[0]


def estimate_passes(
  network: nn.Module,
  variables: Any,
  table: Float32[AnyArray, "block row channel"],
  mask: Bool[np.ndarray, "slice y x"],
  *,
  keys: Key[Array, "pass"],
  precision: str = "float32",
) -> tuple[
  Float32[np.ndarray, "voxel output"], Float32[np.ndarray, "voxel output"]
]:
  """Mean and variance of passes with dropout, all in one compiled call.

  Monte Carlo dropout (Gal 2016), a pass for each of at least two keys. Each
  pass drops other activations. A voxel's own features are computed, and
  dropped, once for all neighbours that see them.

  Returns:
    Mean over the passes, on the scale of [0, 1], and variance from pass to
    pass. The logarithms of standard deviations that a network predicts are
    turned into variances first.

  Raises:
    UserError: the precision is unknown.
  """
  if len(keys) < 2:
    raise ValueError(f"{len(keys)} passes have no variance")
  return _estimate(network, variables, table, mask, precision, keys)


def _estimate(network, variables, table, mask, precision, keys):
  """Outputs [voxel, output], and their variance over keys or None."""
  check_precision(precision)
  dtype, products = PRECISIONS[precision]
  params = jax.tree.map(lambda x: x.astype(dtype), variables["params"])
  variables = {**variables, "params": params}
  n_voxels = int(np.count_nonzero(mask))
  n_blocks = -(-(1 + n_voxels) // _BLOCK)
  # Accelerators would otherwise round the factors of float32 products.
  with jax.default_matmul_precision(products):
    if not network.reach and network.slices == 1:
      by_row = _by_voxel(network, variables, table, n_blocks, keys)
      return jax.tree.map(
        lambda x: np.asarray(x).reshape(-1, x.shape[-1])[1 : 1 + n_voxels],
        by_row,
      )
    tiles, n_tile_blocks = _tiles(mask, network)
    by_tile = _by_tile(
      network, variables, table, n_blocks, tiles, n_tile_blocks, keys
    )
  rows = _centres(tiles, network)
  masked = rows > 0

  def by_voxel(outputs):
    estimates = np.empty((n_voxels, outputs.shape[-1]), np.float32)
    estimates[rows[masked] - 1] = np.asarray(outputs)[masked]
    return estimates

  return jax.tree.map(by_voxel, by_tile)


@functools.partial(jax.jit, static_argnames="network")
def _by_voxel(network, variables, table, n_blocks, keys):
  """Outputs of a network that sees single voxels, [block, voxel, output]."""
  dtype = _dtype_of(variables)

  def once(key):
    def voxels(block, i):
      x = block[:, None, None].astype(dtype)
      outputs = network.apply(variables, x, train=False, rngs=_rngs(key, i))
      return outputs[:, 0, 0].astype(jnp.float32)

    return _map_blocks(voxels, table, n_blocks)

  return _moments(once, keys)


@functools.partial(jax.jit, static_argnames="network")
def _by_tile(network, variables, table, n_blocks, tiles, n_tile_blocks, keys):
  """Outputs of a network that sees patches, [block, tile, y, x, output]."""
  dtype = _dtype_of(variables)

  def apply(method, x, key, i):
    return network.apply(
      variables, x, method=method, train=False, rngs=_rngs(key, i)
    )

  def once(key):
    def temporal(block, i):
      x = block[:, None, None].astype(dtype)
      return apply("temporal", x, key, i)[:, 0, 0]

    features = _map_blocks(temporal, table, n_blocks)
    features = features.reshape(-1, features.shape[-1])

    def spatial(block, i):
      # Other random numbers than those of the blocks of voxels.
      outputs = apply("spatial", features[block], key, len(table) + i)
      return outputs.astype(jnp.float32)

    return _map_blocks(spatial, tiles, n_tile_blocks)

  return _moments(once, keys)


def _rngs(key, number):
  """Random keys of a block in a pass with dropout; None without dropout."""
  return None if key is None else {"dropout": jax.random.fold_in(key, number)}


def _moments(once: Callable, keys):
  """Mean and variance of `once` over keys; one call and None without keys."""
  if keys is None:
    return once(None), None

  def outputs(key):
    maps = once(key)
    if maps.shape[-1] == len(MAP_NAMES):
      return maps
    maps, log_deviations = split_deviations(maps)
    return jnp.concatenate([maps, jnp.exp(2 * log_deviations)], -1)

  # Sums of differences from the first pass, because the mean of squares minus
  # the square of the mean would lose digits.
  first = outputs(keys[0])

  def add(sums, key):
    difference = outputs(key) - first
    return (sums[0] + difference, sums[1] + jnp.square(difference)), None

  zero = jnp.zeros_like(first)
  (total, squares), _ = jax.lax.scan(add, (zero, zero), keys[1:])
  shift = total / len(keys)
  mean = first + shift
  variance = (squares - len(keys) * jnp.square(shift)) / (len(keys) - 1)
  return mean, jnp.maximum(variance, 0)


def _dtype_of(variables):
  """Type of the parameters, which is that of the activations too."""
  return jax.tree.leaves(variables["params"])[0].dtype


def _map_blocks(
  function: Callable, blocks: Array, n_blocks: Int32[Array, ""]
) -> Array:
  """Applies `function` to each of the first blocks and its number.

  The results of the other blocks are zero. `n_blocks` is an argument of the
  compiled program, not a constant: scans of similar heads share a program, and
  none computes the blocks that only fill up its table.
  """
  result = jax.eval_shape(function, blocks[0], 0)

  def step(i, results):
    return results.at[i].set(function(blocks[i], i))

  results = jnp.zeros((len(blocks), *result.shape), result.dtype)
  return jax.lax.fori_loop(0, n_blocks, step, results)


def _tiles(mask, network: nn.Module) -> tuple[np.ndarray, int]:
  """Rows of `signal_table` in each tile that has masked voxels.

  Returns:
    Row numbers [block, tile, y, x], or [block, tile, slice, y, x] for a network
    that sees several slices, of the tile and of the voxels around it that its
    estimates see; and the number of blocks that are not empty.
  """
  reach, slices = network.reach, network.slices
  # The padding leaves room to round slices up to whole tiles.
  grid = make_grid([mask], padding=reach + _TILE)
  height = int(grid.area) // int(grid.width)
  planes = np.asarray(grid.rows).reshape(-1, height, int(grid.width))
  # Slices that an estimate sees on each side of its own.
  n_around = slices // 2
  # The grid has an empty slice below the first and above the last.
  planes = planes[1 - n_around : len(planes) - 1 + n_around, _TILE:, _TILE:]
  size = _TILE + 2 * reach
  shape = (slices, size, size)
  tiles = np.lib.stride_tricks.sliding_window_view(planes, shape)
  tiles = tiles[:, ::_TILE, ::_TILE].reshape(-1, *shape)
  inner = slice(reach, reach + _TILE)
  tiles = tiles[tiles[:, n_around, inner, inner].any((1, 2))]
  per_block = _BLOCK // _TILE**2
  n_blocks = -(-len(tiles) // per_block)
  blocks = np.zeros((_rounded(n_blocks) * per_block, *shape), np.int32)
  blocks[: len(tiles)] = tiles
  blocks = blocks.reshape(-1, per_block, *shape)
  return (blocks if slices > 1 else blocks[:, :, 0]), n_blocks


def _centres(tiles: np.ndarray, network: nn.Module) -> np.ndarray:
  """Rows of the voxels that each tile estimates, [block, tile, y, x]."""
  if network.slices > 1:
    tiles = tiles[:, :, network.slices // 2]
  inner = slice(network.reach, network.reach + _TILE)
  return tiles[..., inner, inner]


def _rounded(count: int) -> int:
  """Rounds a count up to three binary digits followed by zeros.

  Arrays then have few different shapes, each of which is compiled once.
  """
  step = 1 << max(0, count.bit_length() - 3)
  return -(-count // step) * step
