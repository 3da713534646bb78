"""Spatiotemporal dictionary matching against an atlas of scans (Gómez 2016).

For one displacement between scan and atlas, the inner product of two patches is
a box sum of the inner products of their voxels. This is exact, and its cost
does not grow with the size of the patch.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Complex64, Float32, Int32

from mrf_jax.matching.atlas_checks import check_arrays, check_parameters
from mrf_jax.runtime.threads import map_threads
from mrf_jax.runtime.typing import AnyArray

# Voxels (slice, y, x) of one compiled call, whose arrays stay in the caches.
_TILE = (16, 16, 48)
# Channels summed in one fused loop; more would not fit into the registers.
_CHANNEL_CHUNK = 5


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AtlasScan:
  """A scan on a voxel grid; its masked voxels are the atoms.

  Attributes:
    signals: frames or temporal components, [channel, slice, y, x].
    maps: maps scaled to [0, 1], [map, slice, y, x].
    mask: the voxels that are atoms, [slice, y, x]; all others count as zero.
  """

  signals: Complex64[AnyArray, "channel slice y x"]
  maps: Float32[AnyArray, "map slice y x"]
  mask: Bool[AnyArray, "slice y x"]


def match_atlas(
  signals,
  mask,
  atlas: Sequence[AtlasScan],
  *,
  window: tuple[int, int, int] = (11, 11, 3),
  patch: tuple[int, int, int] = (3, 3, 3),
  n_neighbours: int = 5,
  alpha: float = 0.5,
  n_iterations: int = 2,
  text: str | None = None,
) -> Float32[np.ndarray, "map slice y x"]:
  r"""Maps of the atlas patches that match best (Gómez 2016).

  An atom is the patch around a masked atlas voxel. Candidates of a voxel are
  the atoms of all scans in a window around its position. The score of a
  candidate d with the maps m, for the patch s of the signals, is

  .. math::

    (1 - \alpha) \, |\langle d, s \rangle| + \alpha \, \langle m, \hat q \rangle

  with all patches of norm one, and α = 0 in the first iteration. The estimate
  :math:`\hat q` is the mean of the maps of the best candidates, with their
  scores as weights. Of equal scores the first
  candidate is taken, in the order scan, slice, y, x. A voxel without candidates
  gets the mean of the atlas.

  Args:
    signals: frames or temporal components, complex [channel, slice, y, x].
    mask: voxels to estimate, bool [slice, y, x]; all others count as zero.
    atlas: scans on the same grid, with the same channels.
    window: candidate positions along x, y and slice, W.
    patch: voxels of a patch along x, y and slice, P.
    n_neighbours: candidates that are averaged, C.
    alpha: weight of the maps from the second iteration on, α.
    n_iterations: number of iterations.
    text: label of the progress bar; None shows none.

  Returns:
    Estimated maps, zero outside the mask, [map, slice, y, x].

  Raises:
    UserError: a parameter is out of range, or the arrays do not fit together
      or are not finite, or maps are not within [0, 1].
  """
  check_parameters(window, patch, n_neighbours, alpha, n_iterations)
  signals, mask = np.asarray(signals), np.asarray(mask, bool)
  atlas = [
    AtlasScan(
      np.asarray(s.signals), np.asarray(s.maps), np.asarray(s.mask, bool)
    )
    for s in atlas
  ]
  check_arrays(signals, mask, atlas)
  size, tiles = _tiles(mask)
  peaks = [_peak(values) for values in (signals, *(s.signals for s in atlas))]
  search = functools.partial(
    _search_tile,
    signals=signals,
    mask=mask,
    atlas=atlas,
    peaks=peaks,
    mean=_mean_maps(atlas),
    size=size,
    # Volumes are [slice, y, x].
    window=tuple(window[::-1]),
    patch=tuple(patch[::-1]),
    n_neighbours=n_neighbours,
    alpha=np.float32(alpha),
  )
  estimate = np.zeros((len(atlas[0].maps), *mask.shape), np.float32)
  for iteration in range(n_iterations):
    label = text and f"{text}, iteration {iteration + 1} of {n_iterations}"
    # All tiles are done before any of them overwrites the last estimate.
    last = estimate if iteration else None
    results = map_threads(
      functools.partial(search, estimate=last), tiles, text=label
    )
    for start, values in zip(tiles, results, strict=True):
      z, y, x = map(slice, start, start + size)
      target = estimate[:, z, y, x]  # less than a tile at the far sides
      target[...] = values[:, *map(slice, target.shape[1:])]
  return estimate


def _search_tile(
  start,
  *,
  signals,
  mask,
  atlas,
  peaks,
  mean,
  estimate,
  size,
  window,
  patch,
  n_neighbours,
  alpha,
):
  """Estimated maps of one tile, [map, slice, y, x]."""
  reach, margin = (np.array(n) // 2 for n in (window, patch))
  corner, patches = start - margin, size + 2 * margin
  query = _cut_signals(signals, mask, peaks[0], corner, patches)
  if estimate is not None:
    estimate = _cut(estimate, corner, patches)
  best = (
    np.full((n_neighbours, *size), -1, np.float32),
    np.zeros((n_neighbours, *size), np.int32),
  )
  for number, (scan, peak) in enumerate(zip(atlas, peaks[1:], strict=True)):
    where = corner - reach, patches + 2 * reach
    pair = None
    if estimate is not None:
      pair = estimate, _cut(scan.maps, *where) * _cut(scan.mask, *where)
    best = _search_scan(
      best,
      query,
      _cut_signals(scan.signals, scan.mask, peak, *where),
      _cut(scan.mask, start - reach, size + 2 * reach),
      np.int32(number),
      pair,
      alpha,
      window=window,
      patch=patch,
    )
  maps = [_cut(s.maps, start - reach, size + 2 * reach) for s in atlas]
  values = _weighted_mean(best, np.stack(maps, 1), mean, window=window)
  return values * _cut(mask, start, size)


@functools.partial(jax.jit, static_argnames=("window", "patch"))
def _search_scan(
  best: tuple[Float32[Array, "best z y x"], Int32[Array, "best z y x"]],
  query: Float32[Array, "chunk part channel zp yp xp"],
  atoms: Float32[Array, "chunk part channel zw yw xw"],
  mask: Bool[Array, "zc yc xc"],
  number: Int32[Array, ""],
  pair: tuple[Float32[Array, "map zp yp xp"], Float32[Array, "map zw yw xw"]]
  | None,
  alpha: Float32[Array, ""],
  *,
  window: tuple[int, int, int],
  patch: tuple[int, int, int],
) -> tuple[Float32[Array, "best z y x"], Int32[Array, "best z y x"]]:
  """Adds the candidates of one scan to the best ones, as scores and numbers.

  Axes z, y, x span the tile; zp, yp, xp add the margin of its patches; zw, yw,
  xw add the reach of the window too; zc, yc, xc add that reach only. The number
  of a candidate is scan · displacements + displacement.
  """
  n_best, *size = best[0].shape
  displacements = jnp.asarray(list(np.ndindex(*window)), jnp.int32)
  query_scale = _inverse_norm(jnp.sum(query**2, (0, 1, 2)), patch)
  atom_scale = _inverse_norm(jnp.sum(atoms**2, (0, 1, 2)), patch)
  # Candidates outside the mask have a negative scale.
  atom_scale = jnp.where(mask, atom_scale, -1)
  if pair is not None:
    estimate, maps = pair
    estimate_scale = _inverse_norm(jnp.sum(estimate**2, 0), patch)
    map_scale = _inverse_norm(jnp.sum(maps**2, 0), patch)

  def add_displacement(k, best):
    step = tuple(displacements[k])
    scale = lax.dynamic_slice(atom_scale, step, size)
    real, imag = _inner_products(query, atoms, step)
    real, imag = _box_sum(real, patch), _box_sum(imag, patch)
    score = jnp.sqrt(real**2 + imag**2) * query_scale * scale
    if pair is not None:
      product = lax.optimization_barrier(
        sum(
          q * lax.dynamic_slice(map_, step, q.shape)
          for q, map_ in zip(estimate, maps, strict=True)
        )
      )
      map_score = _box_sum(product, patch) * estimate_scale
      map_score *= lax.dynamic_slice(map_scale, step, size)
      score = (1 - alpha) * score + alpha * map_score
    # Without the barrier the score may be computed again for every rank.
    score = lax.optimization_barrier(jnp.where(scale < 0, -1, score))
    candidate = number * len(displacements) + k
    return _insert(best, score, candidate.astype(jnp.int32))

  # Separate arrays for each rank: stacked ones would be copied each time.
  scores, numbers = (tuple(part[i] for i in range(n_best)) for part in best)
  scores, numbers = lax.fori_loop(
    0, len(displacements), add_displacement, (scores, numbers)
  )
  return jnp.stack(scores), jnp.stack(numbers)


def _inner_products(query, atoms, step):
  """Real and imaginary part of ⟨atom, query⟩ of each voxel, [zp, yp, xp]."""
  shape = query.shape[3:]

  def add_chunk(i, products):
    real, imag = products
    for c in range(query.shape[2]):
      # Slices of single channels are read in place, without a copy.
      x_real, x_imag = (
        lax.dynamic_slice(query, (i, p, c, 0, 0, 0), (1, 1, 1, *shape))
        for p in range(2)
      )
      a_real, a_imag = (
        lax.dynamic_slice(atoms, (i, p, c, *step), (1, 1, 1, *shape))
        for p in range(2)
      )
      real += (a_real * x_real + a_imag * x_imag).reshape(shape)
      imag += (a_real * x_imag - a_imag * x_real).reshape(shape)
    return real, imag

  zeros = jnp.zeros(shape, jnp.float32)
  products = lax.fori_loop(0, len(query), add_chunk, (zeros, zeros))
  # Without the barrier each product may be computed again for every box.
  return lax.optimization_barrier(products)


def _box_sum(values, patch):
  """Sums over the patch around each voxel that has a complete patch."""
  for axis, n in enumerate(patch):
    length = values.shape[axis] - n + 1
    values = sum(
      lax.slice_in_dim(values, k, k + length, axis=axis) for k in range(n)
    )
  return values


def _inverse_norm(energy, patch):
  """One over the norm of the patch around each voxel, 0 for empty patches."""
  energy = _box_sum(energy, patch)
  return jnp.where(
    energy > 0, 1 / jnp.sqrt(jnp.where(energy > 0, energy, 1)), 0
  )


def _insert(best, score, candidate):
  """Inserts one candidate a voxel into the ranks; equal scores keep order."""
  scores, numbers = best
  above = jnp.full_like(score, jnp.inf)
  above_number = numbers[0]
  new_scores, new_numbers = [], []
  for old, old_number in zip(scores, numbers, strict=True):
    new_scores.append(jnp.maximum(old, jnp.minimum(above, score)))
    pushed = jnp.where(score > above, above_number, candidate)
    new_numbers.append(jnp.where(score > old, pushed, old_number))
    above, above_number = old, old_number
  return tuple(new_scores), tuple(new_numbers)


def _weighted_mean(
  best: tuple[Float32[AnyArray, "best z y x"], Int32[AnyArray, "best z y x"]],
  maps: Float32[np.ndarray, "map scan zc yc xc"],
  mean: Float32[np.ndarray, "map"],
  *,
  window: tuple[int, int, int],
) -> Float32[np.ndarray, "map z y x"]:
  """Mean of the maps of the best candidates, with their scores as weights."""
  scores, numbers = (np.asarray(part) for part in best)
  scan, *steps = np.unravel_index(numbers, (maps.shape[1], *window))
  centre = np.indices(scores.shape[1:])[:, None]
  position = (i + step for i, step in zip(centre, steps, strict=True))
  values = maps[:, scan, *position]  # [map, best, z, y, x]
  # Candidates whose scores are all zero have equal weights; missing candidates
  # have the score -1.
  weights = np.maximum(scores, 0)
  weights = np.where(weights.any(0), weights, scores >= 0)
  total = weights.sum(0)
  shares = weights / np.where(total > 0, total, 1)
  average = (values * shares).sum(1)
  return np.where(total > 0, average, mean[:, None, None, None])


def _tiles(mask) -> tuple[np.ndarray, list[np.ndarray]]:
  """Size of the tiles of a grid, and first voxels of those in the mask."""
  depth, height, width = size = np.minimum(_TILE, mask.shape)
  starts = []
  for z in range(0, mask.shape[0], depth):
    for y in range(0, mask.shape[1], height):
      line = mask[z : z + depth, y : y + height].any((0, 1))
      filled = np.flatnonzero(line)
      if len(filled):
        columns = range(filled[0], filled[-1] + 1, width)
        starts += [np.array([z, y, x]) for x in columns]
  return size, starts


def _cut(volume, start, size) -> np.ndarray:
  """A block of a volume, zero outside the volume, [..., slice, y, x]."""
  block = np.zeros((*volume.shape[:-3], *size), volume.dtype)
  low = np.maximum(start, 0)
  high = np.maximum(low, np.minimum(start + size, volume.shape[-3:]))
  z, y, x = map(slice, low - start, high - start)
  from_z, from_y, from_x = map(slice, low, high)
  block[..., z, y, x] = volume[..., from_z, from_y, from_x]
  return block


def _cut_signals(signals, mask, peak, start, size) -> np.ndarray:
  """Scaled signals of a block, [chunk, part, channel, slice, y, x]."""
  block = _cut(signals, start, size)
  n_channels = len(block)
  chunk = min(_CHANNEL_CHUNK, n_channels)
  n_chunks = -(-n_channels // chunk)
  parts = np.zeros((2, n_chunks * chunk, *size), np.float32)
  scale = _cut(mask, start, size) / peak
  np.multiply(block.real, scale, out=parts[0, :n_channels], casting="same_kind")
  np.multiply(block.imag, scale, out=parts[1, :n_channels], casting="same_kind")
  parts = parts.reshape(2, n_chunks, chunk, *size)
  return np.ascontiguousarray(parts.swapaxes(0, 1))


def _peak(signals) -> float:
  """Largest real or imaginary part; one for signals of zeros."""
  largest = [
    np.abs(part).max() for frame in signals for part in (frame.real, frame.imag)
  ]
  return float(max(largest)) or 1.0


def _mean_maps(atlas) -> np.ndarray:
  """Mean of each map over the masked voxels of all scans, [map]."""
  voxels = [scan.maps[:, scan.mask] for scan in atlas]
  return np.concatenate(voxels, 1).mean(1, dtype=np.float64).astype(np.float32)
