"""Network inference on all voxels of a scan in one compiled call."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex64, Float32, Int32, Key

from mrf_jax.dataset import signal_rows
from mrf_jax.dataset.patches import make_grid
from mrf_jax.dataset.standardise import (
  SignalStatistics,
  Standardisation,
  standardisation,
)
from mrf_jax.maps import MAP_NAMES
from mrf_jax.networks.outputs import split_deviations
from mrf_jax.runtime.loops import map_first
from mrf_jax.runtime.precision import PRECISIONS, check_precision
from mrf_jax.runtime.typing import AnyArray

# Number of voxels of a tile along y and x. Slices are cut to tiles, and those
# without masked voxels are left out. Smaller tiles waste less on the rim of the
# brain; larger ones share more features of neighbouring voxels.
_TILE = 8


class SignalTable(NamedTuple):
  """Signals of a scan in blocks of rows, and what standardises them.

  Attributes:
    rows: signals as they are, the real and the imaginary part of each frame in
      turn: row i of all is voxel i - 1. Row 0 stands for voxels outside of the
      mask, and others fill the last blocks.
    standardisation: with the axes of `rows`, of which those that nothing
      depends on have length one.
    b1: the channel of B1, for networks that see it.
  """

  rows: Float32[AnyArray, "block row channel"]
  standardisation: Standardisation
  b1: Float32[AnyArray, "block row 1"] | None = None


def signal_table(
  signals: Complex64[np.ndarray, "voxel frame"],
  *,
  per: str,
  statistics: SignalStatistics | None = None,
  b1: Float32[np.ndarray, "voxel"] | None = None,
) -> SignalTable:
  """Signals for `estimate`, which standardises them block by block.

  Signals of `load_subject` are not copied: the table has their memory. `per`
  and `statistics` are those of `normalise_signals`, `b1` is a channel besides
  them.
  """
  rows = signal_rows.signal_rows(signals)
  scale = standardisation(signals, per=per, statistics=statistics)

  def in_blocks(values):
    if len(values) == 1:
      return values[None]
    padded = np.zeros((len(rows), values.shape[1]), np.float32)
    padded[1 : 1 + len(values)] = values
    return padded.reshape(-1, signal_rows.BLOCK, values.shape[1])

  blocks = rows.reshape(-1, signal_rows.BLOCK, rows.shape[1])
  standardised = Standardisation(*map(in_blocks, scale))
  if b1 is None:
    return SignalTable(blocks, standardised)
  of_rows = np.zeros((len(rows), 1), np.float32)
  of_rows[1 : 1 + len(b1), 0] = b1
  of_blocks = of_rows.reshape(-1, signal_rows.BLOCK, 1)
  return SignalTable(blocks, standardised, of_blocks)


def estimate(
  network: nn.Module,
  variables: Any,
  table: SignalTable,
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
  table: SignalTable,
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
  block = table.rows.shape[1]
  n_blocks = -(-(1 + n_voxels) // block)
  # Accelerators would otherwise round the factors of float32 products.
  with jax.default_matmul_precision(products):
    if not network.reach and network.slices == 1:
      by_row = _by_voxel(network, variables, table, n_blocks, keys)
      return jax.tree.map(
        lambda x: np.asarray(x).reshape(-1, x.shape[-1])[1 : 1 + n_voxels],
        by_row,
      )
    tiles, n_tile_blocks = _tiles(mask, network, block)
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
    def voxels(i):
      x = _inputs(table, i).astype(dtype)
      outputs = network.apply(variables, x, train=False, rngs=_rngs(key, i))
      return outputs[:, 0, 0].astype(jnp.float32)

    return map_first(voxels, len(table.rows), n_blocks)

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
    def temporal(i):
      x = _inputs(table, i).astype(dtype)
      return apply("temporal", x, key, i)[:, 0, 0]

    features = map_first(temporal, len(table.rows), n_blocks)
    features = features.reshape(-1, features.shape[-1])

    def spatial(i):
      # Other random numbers than those of the blocks of voxels.
      number = len(table.rows) + i
      outputs = apply("spatial", features[tiles[i]], key, number)
      return outputs.astype(jnp.float32)

    return map_first(spatial, len(tiles), n_tile_blocks)

  return _moments(once, keys)


def _inputs(
  table: SignalTable, i: Int32[Array, ""]
) -> Float32[Array, "row 1 1 channel"]:
  """Standardised signals of a block, real and then imaginary parts, and B1.

  Row 0 of the table, of the voxels outside of the mask, is zero. All this is
  fused with the copy of the block that the first layer reads, in float32, so
  that no precision of the products loses a mean that is large.
  """
  scale = Standardisation(
    *(x[i if len(x) > 1 else 0] for x in table.standardisation)
  )
  block = scale(table.rows[i])
  is_outside = (jnp.arange(len(block)) == 0) & (i == 0)
  block = jnp.where(is_outside[:, None], 0, block)
  parts = block.reshape(len(block), -1, 2).swapaxes(1, 2)
  channels = parts.reshape(len(block), -1)
  if table.b1 is not None:
    channels = jnp.concatenate([channels, table.b1[i]], -1)
  return channels[:, None, None]


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


def _tiles(mask, network: nn.Module, block: int) -> tuple[np.ndarray, int]:
  """Rows of `signal_table` in each tile that has masked voxels.

  Args:
    mask: the voxels.
    network: the network.
    block: voxels that it processes at once.

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
  per_block = block // _TILE**2
  n_blocks = -(-len(tiles) // per_block)
  blocks = np.zeros(
    (signal_rows.rounded(n_blocks) * per_block, *shape), np.int32
  )
  blocks[: len(tiles)] = tiles
  blocks = blocks.reshape(-1, per_block, *shape)
  return (blocks if slices > 1 else blocks[:, :, 0]), n_blocks


def _centres(tiles: np.ndarray, network: nn.Module) -> np.ndarray:
  """Rows of the voxels that each tile estimates, [block, tile, y, x]."""
  if network.slices > 1:
    tiles = tiles[:, :, network.slices // 2]
  inner = slice(network.reach, network.reach + _TILE)
  return tiles[..., inner, inner]
