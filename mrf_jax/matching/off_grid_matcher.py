"""What matching off the grid needs of an acquisition: atoms as polynomials."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Inexact, Int

from mrf_jax.errors import UserError
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
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.chebyshev import (
  Axis,
  along_axis,
  tail_norms,
  to_polynomials,
)

# Step of the coarse grid in B1.
_B1_STEP = 0.06


@dataclasses.dataclass(frozen=True)
class Piece:
  """Fingerprints of one range of T2 and one of B1.

  Attributes:
    axes: of T1, T2 (ms) and B1.
    polynomials: coefficients of the Chebyshev polynomials, of one shape in all
      pieces.
  """

  axes: tuple[Axis, ...]
  polynomials: Inexact[np.ndarray, "n1 n2 n3 rank"]

  @property
  def log_ranges(self) -> Float32[np.ndarray, "2 2"]:
    """Middle and half length of log T1 and of log T2."""
    ends = np.log([(axis.low, axis.high) for axis in self.axes[:2]])
    return np.stack([ends.mean(1), np.ptp(ends, 1) / 2], 1).astype(np.float32)


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
  def pieces(self) -> list[Piece]:
    """Pieces of the interpolant, by range of T2, then by the nearest `b1`.

    Over a short range of B1 a few polynomials suffice, where the whole range
    may need a hundred.
    """
    middles = (self.b1[1:] + self.b1[:-1]) / 2
    edges = [self.b1[0], *middles, self.b1[-1]]
    pieces = [
      _piece(panel, float(low), float(high), self.interpolant.error)
      for panel in self.interpolant.panels
      for low, high in itertools.pairwise(edges)
    ]
    return _of_one_shape(pieces)

  def piece_of(
    self, at: Float[np.ndarray, "voxel 3"]
  ) -> Int[np.ndarray, "voxel"]:
    """Number of the piece that T1, T2 (ms) and B1 are in."""
    return self.interpolant.panel_of(at[:, 1]) * len(self.b1) + self.nearest_b1(
      at[:, 2]
    )

  def nearest_b1(self, b1) -> Int[np.ndarray, "voxel"]:
    """Number of the nearest value of `b1`."""
    return np.searchsorted((self.b1[1:] + self.b1[:-1]) / 2, b1)

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
  step_percent: float = 20.0,
  largest_error: float = 1e-4,
) -> OffGridMatcher:
  """Simulates what `match_off_grid` needs.

  Args:
    acquisition: pulse sequence and sliding window of the scans.
    t1_ms: least and largest T1, ms.
    t2_ms: least and largest T2, ms.
    b1: least and largest factor on the flip angles.
    rank: temporal components.
    step_percent: step of T1 and T2 in the grid at which the search begins.
    largest_error: of interpolated fingerprints, relative to their norms.

  Raises:
    UserError: a range is not possible; see also `make_atom_interpolant`.
  """
  if not 0 < b1[0] <= b1[1] < np.inf:
    raise UserError(f"match: no B1 lies between {b1[0]:g} and {b1[1]:g}")
  t1, t2 = (grid_axis(*v, step_percent=step_percent) for v in (t1_ms, t2_ms))
  n_b1 = 1 + int(np.ceil((b1[1] - b1[0]) / _B1_STEP))
  factors = np.linspace(*b1, n_b1).astype(np.float32)
  interpolant = make_atom_interpolant(
    acquisition, t1, t2, factors, rank=rank, largest_error=largest_error
  )
  axes = [factors, t1, t2]
  coarse = dictionary_of(interpolant, acquisition, axes, atoms_of_axes(*axes))
  return OffGridMatcher(acquisition, interpolant, coarse, factors)


def _piece(panel: Panel, low: float, high: float, error: float) -> Piece:
  """A range of T2 between two values of B1, with the polynomials it needs."""
  *others, whole = panel.axes
  values = panel.values
  b1 = whole
  if not whole.is_single:
    b1 = Axis(low, high)
    n_nodes = values.shape[2]
    weights = whole.weights(b1.nodes(n_nodes), n_nodes)
    values = along_axis(weights, values, 2)
  coefficients = _coefficients(values, axis=2)
  # Those beyond add no more than the interpolation errs by already.
  rest = tail_norms(coefficients, axis=2).max((0, 1))
  least = np.linalg.norm(panel.values, axis=-1).min()
  count = max(1, int(np.count_nonzero(rest > error * least)))
  coefficients = coefficients[:, :, :count]
  for axis in (0, 1):
    coefficients = _coefficients(coefficients, axis=axis)
  dtype = panel.values.dtype
  return Piece((*others, b1), coefficients.astype(dtype))


def _coefficients(values: np.ndarray, *, axis: int) -> np.ndarray:
  """Coefficients of polynomials along an axis of values at its nodes."""
  return along_axis(to_polynomials(values.shape[axis]), values, axis)


def _of_one_shape(pieces: Sequence[Piece]) -> list[Piece]:
  """The pieces with zeros up to the largest, so that one program runs all."""
  shape = np.max([piece.polynomials.shape for piece in pieces], 0)
  return [
    dataclasses.replace(
      piece,
      polynomials=np.pad(
        piece.polynomials,
        [
          (0, most - n)
          for most, n in zip(shape, piece.polynomials.shape, strict=True)
        ],
      ),
    )
    for piece in pieces
  ]


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
