"""Maps of a scan from a trained network."""

import dataclasses
import functools
import mmap
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex64, Float32, Int32

from mrf_jax.arrays import AnyArray
from mrf_jax.dataset.normalise import MapRange, normalise_signals
from mrf_jax.dataset.patches import make_grid
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.precision import PRECISIONS, check_precision
from mrf_jax.sequence import Sequence
from mrf_jax.training.losses import split_deviations

# Voxels that a network sees at once.
_BLOCK = 4096
# Slices are cut to tiles of this many voxels along y and x, and those without
# brain are left out: smaller ones waste less on the rim of the brain, larger
# ones share more of their neighbours' features.
_TILE = 8


@dataclasses.dataclass(frozen=True)
class Model:
  """A trained network and all that a reconstruction with it needs.

  Attributes:
    method: name of the method.
    network: the Flax module.
    reach: voxels on each side of a patch's centre.
    variables: parameters and batch statistics.
    map_range: of the maps it was trained on.
    normalise_signals_per: how its inputs were standardised.
    sequence: the train of its scans.
    window: frames of their sliding window.
    stride: frames from one window to the next.
    basis: temporal components that its inputs are projected on,
      [window image, rank], or None.
  """

  method: str
  network: nn.Module
  reach: int
  variables: Any
  map_range: MapRange
  normalise_signals_per: str
  sequence: Sequence
  window: int
  stride: int
  basis: Complex64[np.ndarray, "frame rank"] | None = None


def reconstruct(
  model: Model, subject: Subject, *, precision: str = "float32"
) -> Maps:
  """Maps of a scan; see `reconstruct_with_deviations`."""
  return reconstruct_with_deviations(model, subject, precision=precision)[0]


def reconstruct_with_deviations(
  model: Model, subject: Subject, *, precision: str = "float32"
) -> tuple[Maps, Maps | None]:
  """Maps of a scan and how far off they may be, all slices in one call.

  Layers that see one voxel run once for each masked voxel, those that see its
  neighbours on all slices, without their tiles that hold no brain.

  Args:
    model: the trained network.
    subject: a scan of the model's sequence and window, with its signals.
    precision: of activations and products, one of `PRECISIONS`.

  Returns:
    Maps in physical units, [voxel] each, and their predicted standard
    deviations from the reference maps; None where the network has none.

  Raises:
    UserError: the scan's sequence or window is not the model's, its signals
      were not loaded, or the precision is unknown.
  """
  _check_scan(model, subject)
  if subject.signals is None:
    raise UserError(f"{subject.subject}: was loaded without its signals")
  signals = subject.signals
  if model.basis is not None:
    signals = signals @ model.basis
  # On the device before the call, so that the host's copy is freed.
  table = jax.device_put(signal_table(signals, per=model.normalise_signals_per))
  scaled = estimate(
    model.network,
    model.variables,
    table,
    subject.mask,
    reach=model.reach,
    precision=precision,
  )
  deviations = None
  if scaled.shape[-1] > len(MAP_NAMES):
    scaled, log_deviations = split_deviations(scaled)
    deviations = np.exp(log_deviations)
  scaled = scaled.astype(np.float64)
  maps = Maps.unstack(model.map_range.unscale(scaled).astype(np.float32))
  if deviations is None:
    return maps, None
  deviations = model.map_range.unscale_deviations(deviations, scaled)
  return maps, Maps.unstack(deviations.astype(np.float32))


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
) -> Float32[np.ndarray, "voxel 3"]:
  """Maps of a scan on the scale of [0, 1].

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
  check_precision(precision)
  dtype, products = PRECISIONS[precision]
  params = jax.tree.map(lambda x: x.astype(dtype), variables["params"])
  variables = {**variables, "params": params}
  n_voxels = int(np.count_nonzero(mask))
  n_blocks = -(-(1 + n_voxels) // _BLOCK)
  # Accelerators would multiply float32 with fewer bits.
  with jax.default_matmul_precision(products):
    if not reach:
      found = _by_voxel(network, variables, table, n_blocks)
      return np.asarray(found).reshape(-1, found.shape[-1])[1 : 1 + n_voxels]
    tiles, n_tile_blocks = _tiles(mask, reach, network.slices)
    found = _by_tile(network, variables, table, n_blocks, tiles, n_tile_blocks)
  centres = _centres(tiles, reach, network.slices)
  there = centres > 0
  estimates = np.empty((n_voxels, found.shape[-1]), np.float32)
  estimates[centres[there] - 1] = np.asarray(found)[there]
  return estimates


@functools.partial(jax.jit, static_argnames="network")
def _by_voxel(network, variables, table, n_blocks):
  """Estimates of a fingerprint-wise network, [block, voxel, 3]."""
  dtype = _dtype_of(variables)

  def voxels(block):
    x = block[:, None, None].astype(dtype)
    found = network.apply(variables, x, train=False)[:, 0, 0]
    return found.astype(jnp.float32)

  return _map_blocks(voxels, table, n_blocks)


@functools.partial(jax.jit, static_argnames="network")
def _by_tile(network, variables, table, n_blocks, tiles, n_tile_blocks):
  """Estimates of a network with patches, [block, tile, y, x, 3]."""
  dtype = _dtype_of(variables)

  def temporal(block):
    x = block[:, None, None].astype(dtype)
    return network.apply(variables, x, method="temporal", train=False)[:, 0, 0]

  features = _map_blocks(temporal, table, n_blocks)
  features = features.reshape(-1, features.shape[-1])

  def spatial(block):
    x = features[block]
    found = network.apply(variables, x, method="spatial", train=False)
    return found.astype(jnp.float32)

  return _map_blocks(spatial, tiles, n_tile_blocks)


def _dtype_of(variables):
  """Type of the parameters, and so of activations."""
  return jax.tree.leaves(variables["params"])[0].dtype


def _map_blocks(
  function: Callable, blocks: Array, n_blocks: Int32[Array, ""]
) -> Array:
  """`function` of the first blocks, one after another; zeros behind them.

  The count is no constant, so that scans of alike heads share one program and
  none of them pays for the blocks that fill its table up.
  """
  one = jax.eval_shape(function, blocks[0])

  def step(i, results):
    return results.at[i].set(function(blocks[i]))

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
  inner = slice(reach, -reach)
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
  return tiles[..., reach:-reach, reach:-reach]


def _rounded(count: int) -> int:
  """The next count of at most three binary digits and zeros behind them."""
  step = 1 << max(0, count.bit_length() - 3)
  return -(-count // step) * step


def _check_scan(model: Model, subject: Subject) -> None:
  """Refuses a scan that the model was not trained for, naming both values."""
  for name in ("window", "stride"):
    wanted, found = getattr(model, name), getattr(subject, name)
    if wanted != found:
      raise UserError(
        f"{subject.subject}: {name} is {found}, the model wants {wanted}"
      )
  if subject.sequence.n_frames != model.sequence.n_frames:
    raise UserError(
      f"{subject.subject}: {subject.sequence.n_frames} frames, the model "
      f"wants {model.sequence.n_frames}"
    )
  played, wanted = subject.sequence, model.sequence
  # The structure says which preparations are played and how it is spoiled.
  kinds = {jax.tree.structure(train) for train in (played, wanted)}
  pairs = zip(jax.tree.leaves(played), jax.tree.leaves(wanted), strict=False)
  if len(kinds) > 1 or not all(np.allclose(a, b, atol=1e-3) for a, b in pairs):
    raise UserError(
      f"{subject.subject}: its sequence is not the one the model was trained "
      "for (flip angles, timing, phases, preparation or spoiling differ)"
    )
