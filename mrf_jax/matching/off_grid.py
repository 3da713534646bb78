"""Matching off the grid: a coarse match, then Gauss–Newton on the interpolant.

The steps are in `gauss_newton.py`; here are the coarse match, the pieces of the
interpolant that a voxel passes, and the blocks that all cores share.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex64, Float, Float32, Float64, Inexact

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.matching.dot_product import (
  best_of_tile,
  not_finite,
  real_atoms,
  real_signals,
  usual_scale,
)
from mrf_jax.matching.gauss_newton import Found, refine
from mrf_jax.matching.off_grid_matcher import OffGridMatcher
from mrf_jax.runtime.threads import map_threads, one_blas_thread
from mrf_jax.runtime.typing import AnyArray
from mrf_jax.signal.subspace import projected

# Gauss–Newton steps before voxels that have settled leave, or go to another
# piece of the interpolant; and how often the others go on.
_N_STEPS, _N_ROUNDS = 3, 8
# Coordinates, from -1 to 1, so near an end are at it.
_NEAR = 1e-4
# Voxels of a block that is projected, and of one compiled call.
_PROJECTED = 512
_LEAST_BLOCK, _CPU_BLOCK, _ACCELERATOR_BLOCK = 64, 1024, 65536


class OffGridMatch(NamedTuple):
  """Result of `match_off_grid`.

  Attributes:
    maps: proton density, T1 and T2.
    deviations: their standard deviations by the noise that the signals show,
      to first order (the Cramér–Rao bound of this fit).
    b1: factors on the flip angles, [voxel].
    b1_deviations: their standard deviations; 0 where B1 was given.
  """

  maps: Maps
  deviations: Maps
  b1: Float32[np.ndarray, "voxel"]
  b1_deviations: Float32[np.ndarray, "voxel"]


def match_off_grid(
  matcher: OffGridMatcher, signals, *, b1=None
) -> OffGridMatch:
  r"""T1, T2 and PD that fit best, between the points of any grid.

  Minimises, over the parameters θ = (T1, T2) or (T1, T2, B1) and a complex
  factor c,

  .. math::

    \| s - c \, a(\theta) \|^2, \quad \mathrm{PD} = |c|,

  with the compressed signal s and the interpolated fingerprint a. Levenberg's
  damping keeps each step from making the fit worse.

  Args:
    matcher: of the acquisition of the signals.
    signals: sliding-window signals, complex [voxel, window].
    b1: factors on the flip angles, [voxel] or scalar; None fits them where the
      matcher has a range of B1.

  Returns:
    Maps, [voxel] each; a signal of zeros has PD zero.

  Raises:
    UserError: the number of windows differs, signals are not finite, or B1 is
      outside the range of the matcher.
  """
  signals = np.asarray(signals)
  if signals.ndim != 2:
    raise UserError(
      f"match: signals have shape {signals.shape}, not [voxel, image]"
    )
  matcher.acquisition.check_images(
    signals.shape[1], f"match: signals of {signals.shape[1]} images"
  )
  signals, gain = usual_scale(signals)
  voxels = _compress(signals, matcher.interpolant.basis)
  factors = _checked_b1(matcher, b1, len(signals))
  if factors is not None:
    found = _refined(matcher, voxels, _coarse_match(matcher, voxels, factors))
  else:
    # A fit of B1 has many minima, some 0.1 apart: a start at each coarse B1.
    trials = [
      _refined(
        matcher,
        voxels,
        _coarse_match(matcher, voxels, np.full(len(signals), factor)),
        is_b1_free=True,
        n_rounds=1,
      )
      for factor in matcher.b1
    ]
    best = np.argmax([trial.explained for trial in trials], 0)
    starts = np.stack([trial.at for trial in trials])
    start = starts[best, np.arange(len(signals))]
    found = _refined(matcher, voxels, start, is_b1_free=True)
  pd = found.factor / gain
  t1_ms, t2_ms, found_b1 = np.asarray(found.at, np.float32).T
  sd_factor, sd_t1_ms, sd_t2_ms, sd_b1 = found.deviations.T
  return OffGridMatch(
    Maps(pd, t1_ms, t2_ms),
    Maps(sd_factor / gain, sd_t1_ms, sd_t2_ms),
    found_b1,
    np.asarray(sd_b1),
  )


class _Voxels(NamedTuple):
  """Compressed signals, and the energies of the whole ones."""

  signals: Complex64[AnyArray, "voxel rank"]
  energy: Float32[AnyArray, "voxel"]


def _compress(
  signals: Complex64[np.ndarray, "voxel window"],
  basis: Inexact[np.ndarray, "window rank"],
) -> _Voxels:
  """Compressed signals, and the energies of the whole ones.

  Raises:
    UserError: signals are not finite.
  """
  voxels = _Voxels(
    np.empty((len(signals), basis.shape[1]), np.complex64),
    np.empty(len(signals), np.float32),
  )

  def fill(start: int) -> None:
    rows = slice(start, start + _PROJECTED)
    block = np.ascontiguousarray(signals[rows], np.complex64)
    voxels.signals[rows] = projected(block, basis)
    parts = block.view(np.float32)
    voxels.energy[rows] = np.vecdot(parts, parts)

  # On the host: an accelerator would wait for the whole signals longer than for
  # their few components.
  with one_blas_thread():
    map_threads(fill, range(0, len(signals), _PROJECTED))
  if not np.isfinite(voxels.energy).all():
    raise not_finite(signals)
  return voxels


def _checked_b1(matcher: OffGridMatcher, b1, n_voxels: int):
  """B1 of each voxel; None if it is to be fitted."""
  low, high = matcher.b1[0], matcher.b1[-1]
  if b1 is None:
    return np.full(n_voxels, low) if low == high else None
  b1 = np.asarray(b1, np.float32)
  if b1.shape not in ((), (n_voxels,)):
    raise UserError(f"match: b1 has shape {b1.shape}, not [{n_voxels}]")
  b1 = np.broadcast_to(b1, n_voxels)
  outside = ~((b1 >= low - 1e-6) & (b1 <= high + 1e-6))
  if outside.any():
    raise UserError(
      f"match: b1 of {np.count_nonzero(outside):,} of {n_voxels:,} voxels is "
      f"not between {low:g} and {high:g}"
    )
  return b1


def _coarse_match(
  matcher: OffGridMatcher, voxels: _Voxels, b1: Float[np.ndarray, "voxel"]
) -> Float64[np.ndarray, "voxel 3"]:
  """T1 and T2 (ms) of the atoms that match best, of the nearest B1; and B1."""
  coarse = matcher.coarse
  nearest = matcher.nearest_b1(b1)
  n_pairs = coarse.n_atoms // len(matcher.b1)
  at = np.stack([b1, b1, b1], 1).astype(np.float64)
  atoms = {}
  for k in np.unique(nearest):
    of_b1 = slice(k * n_pairs, (k + 1) * n_pairs)
    times = np.stack([coarse.t1_ms[of_b1], coarse.t2_ms[of_b1]], 1)
    atoms[k] = jnp.asarray(coarse.atoms[of_b1]), times

  def fill(rows: np.ndarray) -> None:
    own, times = atoms[nearest[rows[0]]]
    best = np.asarray(_best_atom(own, _padded(voxels.signals[rows], size)))
    at[rows, :2] = times[best[: len(rows)]]

  size = _block_size(len(at), len(atoms))
  map_threads(fill, _blocks(np.arange(len(at)), nearest, size))
  return at


def _blocks(rows: np.ndarray, kind: np.ndarray, size: int) -> list[np.ndarray]:
  """Rows of each compiled call, all of one kind."""
  return [
    own[start : start + size]
    for k in np.unique(kind[rows])
    for own in [rows[kind[rows] == k]]
    for start in range(0, len(own), size)
  ]


def _block_size(n_voxels: int, n_kinds: int) -> int:
  """Voxels of a compiled call: a power of two near the number of a kind."""
  on_cpu = jax.default_backend() == "cpu"
  most = _CPU_BLOCK if on_cpu else _ACCELERATOR_BLOCK
  wanted = max(_LEAST_BLOCK, n_voxels // max(n_kinds, 1))
  return min(most, 1 << (wanted - 1).bit_length())


def _padded(rows: AnyArray, size: int) -> np.ndarray:
  """Rows, and the last one again, up to the size of a compiled call."""
  missing = size - len(rows)
  return np.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1), "edge")


@jax.jit
def _best_atom(atoms, signals):
  """Number of the atom of the largest |⟨atom, signal⟩|, [voxel]."""
  is_complex = jnp.iscomplexobj(atoms)
  rows = real_signals(signals, None, is_complex=is_complex, precision="float32")
  return best_of_tile(rows, real_atoms(atoms), precision="float32")[1]


def _refined(
  matcher: OffGridMatcher,
  voxels: _Voxels,
  start: Float64[np.ndarray, "voxel 3"],
  *,
  is_b1_free: bool = False,
  n_rounds: int = _N_ROUNDS,
) -> Found:
  """Gauss–Newton from T1, T2 (ms) and B1, from piece to piece."""
  # Before there are threads that ask for them.
  pieces, noise = matcher.pieces, matcher.noise
  n_b1 = len(matcher.b1)
  n_t2 = len(pieces) // n_b1
  found = Found(
    start.copy(),
    np.empty(len(start), np.float32),
    np.empty((len(start), 4), np.float32),
    np.empty(len(start), np.float32),
    np.zeros(len(start), bool),
  )
  piece_of = matcher.piece_of(start)
  moved = piece_of.copy()
  size = _block_size(len(start), len(np.unique(piece_of)))

  def search(rows: np.ndarray) -> None:
    number = piece_of[rows[0]]
    piece = pieces[number]
    there = [
      axis.coordinates(values)
      for axis, values in zip(piece.axes, found.at[rows].T, strict=True)
    ]
    result = refine(
      piece.polynomials,
      noise,
      piece.log_ranges,
      _padded(voxels.signals[rows], size),
      _padded(voxels.energy[rows], size),
      _padded(np.stack(there, 1).astype(np.float32), size),
      n_windows=matcher.acquisition.n_windows,
      is_b1_free=is_b1_free,
      n_steps=_N_STEPS,
    )
    at, *others = (np.asarray(x)[: len(rows)] for x in result)
    # Those at an end of the piece go on beyond it.
    ways = (at > 1 - _NEAR).astype(int) - (at < _NEAR - 1)
    of_t2, of_b1 = divmod(number, n_b1)
    of_t2 = np.clip(of_t2 + ways[:, 1], 0, n_t2 - 1)
    of_b1 = np.clip(of_b1 + is_b1_free * ways[:, 2], 0, n_b1 - 1)
    moved[rows] = of_t2 * n_b1 + of_b1
    values = [axis.values(v) for axis, v in zip(piece.axes, at.T, strict=True)]
    found.at[rows] = np.stack(values, 1)
    for of_all, of_rows in zip(found[1:], others, strict=True):
      of_all[rows] = of_rows
    for k, axis in enumerate(piece.axes):
      found.deviations[rows, 1 + k] *= axis.slopes(at[:, k])

  moving = np.arange(len(start))
  came_from = np.full(len(start), -1)
  for _ in range(n_rounds):
    map_threads(search, _blocks(moving, piece_of, size))
    # At an end from both sides, the best is there.
    goes_on = (moved != piece_of) & ~(found.is_settled & (moved == came_from))
    moving = np.flatnonzero(goes_on | ~found.is_settled)
    came_from = np.where(goes_on, piece_of, came_from)
    piece_of = np.where(goes_on, moved, piece_of)
    moved = piece_of.copy()
    if not moving.size:
      break
  return found
