"""Matching off the grid: a coarse match, then Gauss–Newton on the interpolant.

The steps are in `gauss_newton.py`; here are the coarse match, the ranges of T2
that a voxel passes, and the blocks that all cores share.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex64, Float, Float32, Float64, Inexact

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.matching.atom_interpolant import (
  AtomInterpolant,
  Panel,
  make_atom_interpolant,
)
from mrf_jax.matching.dictionary import (
  Dictionary,
  atoms_of_axes,
  dictionary_of,
  grid_axis,
)
from mrf_jax.matching.dot_product import (
  best_of_tile,
  not_finite,
  real_atoms,
  real_signals,
  usual_scale,
)
from mrf_jax.matching.gauss_newton import Found, refine
from mrf_jax.runtime.threads import map_threads
from mrf_jax.runtime.typing import AnyArray
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.chebyshev import Axis, to_polynomials

# Step of the coarse grid in T1 and T2, %, and in B1.
_STEP_PERCENT, _B1_STEP = 15.0, 0.06
# Gauss–Newton steps in one range of T2, ranges that a voxel may pass, and steps
# from each start where there are several.
_N_STEPS, _N_ROUNDS, _N_TRIAL_STEPS = 5, 3, 3
# Coordinates, from -1 to 1, so near an end are at it.
_NEAR = 1e-4
# Voxels of one compiled call.
_CPU_BLOCK, _ACCELERATOR_BLOCK = 1024, 65536


@dataclasses.dataclass(frozen=True)
class OffGridMatcher:
  """What matching off the grid needs of an acquisition.

  Attributes:
    acquisition: pulse sequence and sliding window.
    interpolant: its atoms.
    coarse: dictionary at which the search begins.
    b1: values of B1 in it.
  """

  acquisition: Acquisition
  interpolant: AtomInterpolant
  coarse: Dictionary
  b1: Float32[np.ndarray, "b1"]

  @functools.cached_property
  def polynomials(self) -> list[np.ndarray]:
    """Coefficients of the ranges of T2, [T1, T2, B1, rank] of one shape."""
    return _polynomials(self.interpolant.panels)

  @functools.cached_property
  def noise(self) -> Inexact[np.ndarray, "rank rank"]:
    """Covariance of compressed noise of variance one in each window."""
    return _noise_covariance(self.acquisition, self.interpolant.basis)


def make_off_grid_matcher(
  acquisition: Acquisition,
  t1_ms: tuple[float, float],
  t2_ms: tuple[float, float],
  b1: tuple[float, float] = (1.0, 1.0),
  *,
  rank: int,
  largest_error: float = 1e-4,
) -> OffGridMatcher:
  """Simulates what `match_off_grid` needs.

  Args:
    acquisition: pulse sequence and sliding window of the scans.
    t1_ms: least and largest T1, ms.
    t2_ms: least and largest T2, ms.
    b1: least and largest factor on the flip angles.
    rank: temporal components.
    largest_error: of interpolated fingerprints, relative to their norms.

  Raises:
    UserError: a range is not possible; see also `make_atom_interpolant`.
  """
  if not 0 < b1[0] <= b1[1] < np.inf:
    raise UserError(f"match: no B1 lies between {b1[0]:g} and {b1[1]:g}")
  t1, t2 = (
    grid_axis(*ends, step_percent=_STEP_PERCENT) for ends in (t1_ms, t2_ms)
  )
  n_b1 = 1 + int(np.ceil((b1[1] - b1[0]) / _B1_STEP))
  factors = np.linspace(*b1, n_b1).astype(np.float32)
  interpolant = make_atom_interpolant(
    acquisition, t1, t2, factors, rank=rank, largest_error=largest_error
  )
  axes = [factors, t1, t2]
  coarse = dictionary_of(interpolant, acquisition, axes, atoms_of_axes(*axes))
  return OffGridMatcher(acquisition, interpolant, coarse, factors)


class OffGridMatch(NamedTuple):
  """Result of `match_off_grid`.

  Attributes:
    maps: proton density, T1 and T2.
    deviations: their standard deviations by the noise that the signals show,
      to first order (the Cramér–Rao bound of this fit).
    b1: factors on the flip angles, [voxel].
  """

  maps: Maps
  deviations: Maps
  b1: Float32[np.ndarray, "voxel"]


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
        n_steps=_N_TRIAL_STEPS,
      )
      for factor in matcher.b1
    ]
    best = np.argmax([trial.explained for trial in trials], 0)
    starts = np.stack([trial.at for trial in trials])
    start = starts[best, np.arange(len(signals))]
    found = _refined(
      matcher, voxels, start, is_b1_free=True, n_steps=2 * _N_STEPS
    )
  pd = found.factor / gain
  t1_ms, t2_ms, found_b1 = np.asarray(found.at, np.float32).T
  sd_factor, sd_t1_ms, sd_t2_ms = found.deviations.T
  return OffGridMatch(
    Maps(pd, t1_ms, t2_ms),
    Maps(sd_factor / gain, sd_t1_ms, sd_t2_ms),
    found_b1,
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
  rank = basis.shape[1]
  voxels = _Voxels(
    np.empty((len(signals), rank), np.complex64),
    np.empty(len(signals), np.float32),
  )

  def fill(rows: np.ndarray) -> None:
    found = _project(_padded(signals[rows]), basis)
    for of_all, of_rows in zip(voxels, found, strict=True):
      of_all[rows] = np.asarray(of_rows)[: len(rows)]

  map_threads(fill, _blocks(np.arange(len(signals))))
  if not np.isfinite(voxels.energy).all():
    raise not_finite(signals)
  return voxels


@jax.jit
def _project(
  signals: Complex64[Array, "voxel window"],
  basis: Inexact[Array, "window rank"],
) -> _Voxels:
  """Compressed signals and the energies of the whole ones, of some voxels."""
  if jnp.iscomplexobj(basis):
    compressed = jnp.matmul(signals, basis, precision="highest")
  else:
    parts = [
      jnp.matmul(part, basis, precision="highest")
      for part in (signals.real, signals.imag)
    ]
    compressed = jax.lax.complex(*parts)
  return _Voxels(compressed, jnp.sum(signals.real**2 + signals.imag**2, 1))


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
  nearest = np.abs(b1[:, None] - matcher.b1).argmin(1)
  n_pairs = coarse.n_atoms // len(matcher.b1)
  at = np.stack([b1, b1, b1], 1).astype(np.float64)
  for k in np.unique(nearest):
    atoms = slice(k * n_pairs, (k + 1) * n_pairs)
    own = jnp.asarray(coarse.atoms[atoms])
    times = np.stack([coarse.t1_ms[atoms], coarse.t2_ms[atoms]], 1)

    def fill(rows: np.ndarray, own=own, times=times) -> None:
      best = np.asarray(_best_atom(own, _padded(voxels.signals[rows])))
      at[rows, :2] = times[best[: len(rows)]]

    map_threads(fill, _blocks(np.flatnonzero(nearest == k)))
  return at


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
  """Rows of each compiled call."""
  size = _block_size()
  return [rows[start : start + size] for start in range(0, len(rows), size)]


def _block_size() -> int:
  on_cpu = jax.default_backend() == "cpu"
  return _CPU_BLOCK if on_cpu else _ACCELERATOR_BLOCK


def _padded(rows: AnyArray) -> np.ndarray:
  """Rows, and the last one again, up to the size of a compiled call."""
  missing = _block_size() - len(rows)
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
  n_steps: int = _N_STEPS,
) -> Found:
  """Gauss–Newton from T1, T2 (ms) and B1, through the ranges of T2."""
  panels = matcher.interpolant.panels
  # Before there are threads that ask for them.
  polynomials, noise = matcher.polynomials, matcher.noise
  found = Found(
    start.copy(),
    np.empty(len(start), np.float32),
    np.empty((len(start), 3), np.float32),
    np.empty(len(start), np.float32),
  )
  panel_of = matcher.interpolant.panel_of(start[:, 1])
  moved = panel_of.copy()

  def search(rows: np.ndarray) -> None:
    k = panel_of[rows[0]]
    axes = panels[k].axes
    there = [
      axis.coordinates(values)
      for axis, values in zip(axes, found.at[rows].T, strict=True)
    ]
    result = refine(
      polynomials[k],
      noise,
      np.array([_log_range(axis) for axis in axes[:2]], np.float32),
      _padded(voxels.signals[rows]),
      _padded(voxels.energy[rows]),
      _padded(np.stack(there, 1).astype(np.float32)),
      n_windows=matcher.acquisition.n_windows,
      is_b1_free=is_b1_free,
      n_steps=n_steps,
    )
    at, *others = (np.asarray(x)[: len(rows)] for x in result)
    moved[rows] += at[:, 1] > 1 - _NEAR
    moved[rows] -= at[:, 1] < _NEAR - 1
    values = [axis.values(v) for axis, v in zip(axes, at.T, strict=True)]
    found.at[rows] = np.stack(values, 1)
    for of_all, of_rows in zip(found[1:], others, strict=True):
      of_all[rows] = of_rows
    found.deviations[rows, 1:] *= found.at[rows, :2]

  moving = np.arange(len(start))
  for _ in range(_N_ROUNDS):
    map_threads(
      search,
      [
        rows
        for k in np.unique(panel_of[moving])
        for rows in _blocks(moving[panel_of[moving] == k])
      ],
    )
    np.clip(moved, 0, len(panels) - 1, out=moved)
    moving = np.flatnonzero(moved != panel_of)
    panel_of[:] = moved
    if not moving.size:
      break
  return found


def _log_range(axis: Axis) -> tuple[float, float]:
  """Middle and half of the length of a logarithmic axis."""
  low, high = np.log(axis.low), np.log(axis.high)
  return (low + high) / 2, (high - low) / 2


def _polynomials(panels: Sequence[Panel]) -> list[np.ndarray]:
  """Coefficients of the panels' polynomials, padded to one shape."""
  shape = np.max([panel.values.shape for panel in panels], 0)
  padded = []
  for panel in panels:
    values = panel.values
    for k in range(values.ndim - 1):
      matrix = to_polynomials(values.shape[k]).astype(values.real.dtype)
      values = np.moveaxis(np.tensordot(matrix, values, (1, k)), 0, k)
    missing = [
      (0, most - n) for most, n in zip(shape, values.shape, strict=True)
    ]
    padded.append(np.pad(values, missing))
  return padded


def _noise_covariance(
  acquisition: Acquisition, basis: np.ndarray
) -> np.ndarray:
  """Covariance of compressed noise of variance one in each window."""
  n_windows = acquisition.n_windows
  apart = acquisition.stride * np.abs(
    np.subtract.outer(np.arange(n_windows), np.arange(n_windows))
  )
  # Windows share frames, whose noise is independent.
  of_windows = np.clip(1 - apart / acquisition.window, 0, None)
  return (basis.conj().T @ of_windows @ basis).astype(basis.dtype)
