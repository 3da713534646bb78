"""What a network says of all voxels of a scan, in one compiled call."""

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
  PRNGKeyArray,
)

from mrf_jax.dataset.normalise import normalise_signals
from mrf_jax.dataset.patches import make_grid
from mrf_jax.maps import MAP_NAMES
from mrf_jax.networks.outputs import split_deviations
from mrf_jax.runtime.precision import PRECISIONS, check_precision
from mrf_jax.typing import AnyArray

# Voxels that a network sees at once.
_BLOCK = 4096
# Slices are cut to tiles of this many voxels along y and x, and those without
# brain are left out: smaller ones waste less on the rim of the brain, larger
# ones share more of their neighbours' features.
_TILE = 8


def signal_table(
  signals: Complex64[np.ndarray, "voxel frame"], *, per: str
) -> Float32[np.ndarray, "block voxel 2T"]:
  """Normalised signals in blocks, under a row of zeros and over more of them.

  Args:
    signals: sliding-window images of a scan's masked voxels.
    per: what is standardised by itself; see `normalise_signals`.
  """
  n_voxels, n_frames = signals.shape
  n_blocks = _rounded(-(-(1 + n_voxels) // _BLOCK))
  # Zeros that start on a page: a CPU backend takes these without a copy.
  memory = mmap.mmap(-1, n_blocks * _BLOCK * 2 * n_frames * 4)
  rows = np.frombuffer(memory, np.float32).reshape(-1, 2 * n_frames)
  normalise_signals(signals, per=per, out=rows[1 : 1 + n_voxels])
  return rows.reshape(n_blocks, _BLOCK, -1)


def estimate(
  network: nn.Module,
  variables: Any,
  table: Float32[AnyArray, "block voxel 2T"],
  mask: Bool[np.ndarray, "slice y x"],
  *,
  reach: int,
  precision: str = "float32",
) -> Float32[np.ndarray, "voxel output"]:
  """What a network says of every voxel of a scan, on the scale of [0, 1].

  Args:
    network: the Flax module; where it reaches beyond a voxel it has the halves
      `temporal` and `spatial`.
    variables: its parameters and batch statistics.
    table: of `signal_table`.
    mask: the voxels, [slice, y, x].
    reach: voxels on each side of a patch's centre.
    precision: of activations and products, one of `PRECISIONS`.

  Raises:
    UserError: the precision is unknown.
  """
  found, _ = _estimate(network, variables, table, mask, reach, precision, None)
  return found


def estimate_passes(
  network: nn.Module,
  variables: Any,
  table: Float32[AnyArray, "block voxel 2T"],
  mask: Bool[np.ndarray, "slice y x"],
  *,
  reach: int,
  keys: PRNGKeyArray,
  precision: str = "float32",
) -> tuple[
  Float32[np.ndarray, "voxel output"], Float32[np.ndarray, "voxel output"]
]:
  """Mean and variance of passes with dropout, all in one compiled call.

  Monte Carlo dropout (Gal 2016). Every pass drops other activations, the same
  of a voxel's own features for all neighbours that see them.

  Args:
    network: the Flax module, with dropout.
    variables: its parameters and batch statistics.
    table: of `signal_table`.
    mask: the voxels, [slice, y, x].
    reach: voxels on each side of a patch's centre.
    keys: a random key for each pass, at least two.
    precision: of activations and products, one of `PRECISIONS`.

  Returns:
    Mean over the passes, on the scale of [0, 1], and the variance from pass to
    pass. Where the network predicts logarithms of deviations, variances stand
    in their place.

  Raises:
    UserError: the precision is unknown.
  """
  if len(keys) < 2:
    raise ValueError(f"{len(keys)} passes have no variance")
  return _estimate(network, variables, table, mask, reach, precision, keys)


def _estimate(network, variables, table, mask, reach, precision, keys):
  """Outputs [voxel, output], and their variance where there are keys."""
  check_precision(precision)
  dtype, products = PRECISIONS[precision]
  params = jax.tree.map(lambda x: x.astype(dtype), variables["params"])
  variables = {**variables, "params": params}
  n_voxels = int(np.count_nonzero(mask))
  n_blocks = -(-(1 + n_voxels) // _BLOCK)
  # Accelerators would multiply float32 with fewer bits.
  with jax.default_matmul_precision(products):
    if not reach and network.slices == 1:
      found = _by_voxel(network, variables, table, n_blocks, keys)
      return jax.tree.map(
        lambda x: np.asarray(x).reshape(-1, x.shape[-1])[1 : 1 + n_voxels],
        found,
      )
    tiles, n_tile_blocks = _tiles(mask, reach, network.slices)
    found = _by_tile(
      network, variables, table, n_blocks, tiles, n_tile_blocks, keys
    )
  centres = _centres(tiles, reach, network.slices)
  there = centres > 0

  def by_voxel(outputs):
    estimates = np.empty((n_voxels, outputs.shape[-1]), np.float32)
    estimates[centres[there] - 1] = np.asarray(outputs)[there]
    return estimates

  return jax.tree.map(by_voxel, found)


@functools.partial(jax.jit, static_argnames="network")
def _by_voxel(network, variables, table, n_blocks, keys):
  """Outputs of a fingerprint-wise network, [block, voxel, output]."""
  dtype = _dtype_of(variables)

  def once(key):
    def voxels(block, i):
      x = block[:, None, None].astype(dtype)
      found = network.apply(variables, x, train=False, rngs=_rngs(key, i))
      return found[:, 0, 0].astype(jnp.float32)

    return _map_blocks(voxels, table, n_blocks)

  return _moments(once, keys)


@functools.partial(jax.jit, static_argnames="network")
def _by_tile(network, variables, table, n_blocks, tiles, n_tile_blocks, keys):
  """Outputs of a network with patches, [block, tile, y, x, output]."""
  dtype = _dtype_of(variables)

  def apply(half, x, key, i):
    return network.apply(
      variables, x, method=half, train=False, rngs=_rngs(key, i)
    )

  def once(key):
    def temporal(block, i):
      x = block[:, None, None].astype(dtype)
      return apply("temporal", x, key, i)[:, 0, 0]

    features = _map_blocks(temporal, table, n_blocks)
    features = features.reshape(-1, features.shape[-1])

    def spatial(block, i):
      # Numbers of their own, behind those of the first half's blocks.
      found = apply("spatial", features[block], key, len(table) + i)
      return found.astype(jnp.float32)

    return _map_blocks(spatial, tiles, n_tile_blocks)

  return _moments(once, keys)


def _rngs(key, number):
  """Of the blocks of a pass, or none where nothing is dropped."""
  return None if key is None else {"dropout": jax.random.fold_in(key, number)}


def _moments(once: Callable, keys):
  """Mean and variance of what `once` says for each key; once without keys."""
  if keys is None:
    return once(None), None

  def outputs(key):
    found = once(key)
    if found.shape[-1] == len(MAP_NAMES):
      return found
    maps, log_deviations = split_deviations(found)
    return jnp.concatenate([maps, jnp.exp(2 * log_deviations)], -1)

  # Sums of differences from the first: those of squares would lose digits.
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
  """Type of the parameters, and so of activations."""
  return jax.tree.leaves(variables["params"])[0].dtype


def _map_blocks(
  function: Callable, blocks: Array, n_blocks: Int32[Array, ""]
) -> Array:
  """`function` of the first blocks and their numbers; zeros behind them.

  The count is no constant, so that scans of alike heads share one program and
  none of them pays for the blocks that fill its table up.
  """
  one = jax.eval_shape(function, blocks[0], 0)

  def step(i, results):
    return results.at[i].set(function(blocks[i], i))

  results = jnp.zeros((len(blocks), *one.shape), one.dtype)
  return jax.lax.fori_loop(0, n_blocks, step, results)


def _tiles(mask, reach: int, slices: int) -> tuple[np.ndarray, int]:
  """Row numbers of the tiles that hold brain, and how many blocks they fill.

  Returns:
    [block, tile, y, x], each with the voxels around it that its estimates see;
    [block, tile, slice, y, x] where they see several slices.
  """
  # Room for the rounding up to whole tiles.
  grid = make_grid([mask], padding=reach + _TILE)
  height = int(grid.area) // int(grid.width)
  planes = np.asarray(grid.rows).reshape(-1, height, int(grid.width))
  beside = slices // 2
  # A void slice stands on either side.
  planes = planes[1 - beside : len(planes) - 1 + beside, _TILE:, _TILE:]
  size = _TILE + 2 * reach
  shape = (slices, size, size)
  tiles = np.lib.stride_tricks.sliding_window_view(planes, shape)
  tiles = tiles[:, ::_TILE, ::_TILE].reshape(-1, *shape)
  inner = slice(reach, reach + _TILE)
  tiles = tiles[tiles[:, beside, inner, inner].any((1, 2))]
  per_block = _BLOCK // _TILE**2
  n_blocks = -(-len(tiles) // per_block)
  blocks = np.zeros((_rounded(n_blocks) * per_block, *shape), np.int32)
  blocks[: len(tiles)] = tiles
  blocks = blocks.reshape(-1, per_block, *shape)
  return (blocks if slices > 1 else blocks[:, :, 0]), n_blocks


def _centres(tiles: np.ndarray, reach: int, slices: int) -> np.ndarray:
  """Row numbers of the voxels that tiles estimate, [block, tile, y, x]."""
  if slices > 1:
    tiles = tiles[:, :, slices // 2]
  inner = slice(reach, reach + _TILE)
  return tiles[..., inner, inner]


def _rounded(count: int) -> int:
  """The next count of at most three binary digits and zeros behind them."""
  step = 1 << max(0, count.bit_length() - 3)
  return -(-count // step) * step
