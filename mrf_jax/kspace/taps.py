"""Polynomials times waves, from a few cells of a Fourier grid."""

import dataclasses

import numpy as np
import scipy.fft
from jaxtyping import Complex128, Float32, Float64, Int
from numpy.polynomial.chebyshev import chebvander

from mrf_jax.signal.chebyshev import Axis

# Cells of the grid for each voxel of the box. Two would save a cell or two of
# the taps, and cost more in transforms.
_OVERSAMPLING = 1.5
# Cells that are worth trying. They are even, so that half of them lie on each
# side of a sample.
CELLS = (4, 6, 8, 10, 12, 14, 16, 18, 20)
# Places of a sample between two cells at which taps are solved for, and those,
# between them too, at which their error is taken.
_N_NODES, _N_CHECKS = 12, 33
_OFFSETS = Axis(-0.5, 0.5)
# Singular values of the least squares, relative to the largest.
_CUTOFF = 1e-9


@dataclasses.dataclass(frozen=True)
class Taps:
  r"""How each sample reads a Fourier grid, along one axis of a box.

  The box is 2 h + 1 voxels long and n its voxels, from its centre. Polynomial p
  times the wave of a sample, at k cycles per voxel, is a sum over some cells g
  of a grid of G around k G:

  .. math::

    T_p(n / h) \, e^{-2 \pi i k n} \approx
    d_n \, i^p \sum_g \tau_{pg}(k) \, e^{-2 \pi i g n / G}

  T are Chebyshev polynomials, d is the apodisation and the taps τ, which are
  real, are those of least squares (Fessler & Sutton 2003 for p = 0).

  Attributes:
    centre: voxel of the image at the centre of the box.
    half: h, voxels on each side of it.
    n_grid: G, cells of the grid.
    apodisation: d, [voxel].
    table: taps at the nodes of the place between two cells,
      [node, cell, polynomial].
    errors: largest error of each polynomial at any voxel and place,
      [polynomial].
  """

  centre: int
  half: int
  n_grid: int
  apodisation: Float64[np.ndarray, "voxel"]
  table: Float64[np.ndarray, "node cell polynomial"]
  errors: Float64[np.ndarray, "polynomial"]

  @property
  def n_cells(self) -> int:
    """Cells that a sample reads."""
    return self.table.shape[1]

  def at(
    self, positions: Float64[np.ndarray, "sample"]
  ) -> tuple[
    Int[np.ndarray, "sample"], Float32[np.ndarray, "sample cell polynomial"]
  ]:
    """First cell and taps of samples, whose positions are cycles per voxel.

    The first cell counts from `n_cells // 2` cells before the grid, which is
    periodic.
    """
    cells = (positions % 1.0) * self.n_grid
    first = np.minimum(cells.astype(int), self.n_grid - 1)
    weights = _OFFSETS.weights(cells - first - 0.5, len(self.table))
    taps = weights @ self.table.reshape(len(self.table), -1)
    shape = (len(positions), *self.table.shape[1:])
    return first + 1, taps.reshape(shape).astype(np.float32)

  def cells_of(
    self, voxels: Int[np.ndarray, "point"]
  ) -> Int[np.ndarray, "point"]:
    """Cells of the grid that voxels of the image lie in before a transform."""
    return (voxels - self.centre) % self.n_grid

  def apodisation_of(
    self, voxels: Int[np.ndarray, "point"]
  ) -> Float64[np.ndarray, "point"]:
    """Factors on voxels of the image."""
    return self.apodisation[voxels - self.centre + self.half]

  def phases(
    self, positions: Float64[np.ndarray, "sample"], origin: int
  ) -> Complex128[np.ndarray, "sample"]:
    """Phases of samples at the centre of the box, from the voxel `origin`."""
    return np.exp(-2j * np.pi * positions * (self.centre - origin))


def make_taps(
  first: int, last: int, *, n_polynomials: int, n_cells: int
) -> Taps:
  """Taps of a box from its first to its last voxel.

  Args:
    first: first voxel.
    last: last voxel.
    n_polynomials: polynomials, the constant one among them.
    n_cells: cells that a sample reads, an even number.
  """
  centre = (first + last) // 2
  half = last - centre
  voxels = np.arange(-half, half + 1)
  # Fewer cells than twice those of a sample would overlap at both rims.
  n_grid = max(int(np.ceil(_OVERSAMPLING * len(voxels))), 2 * n_cells)
  n_grid = scipy.fft.next_fast_len(n_grid)
  apodisation = _apodisation(voxels / n_grid, n_cells - 2)
  polynomials = chebvander(voxels / max(half, 1), n_polynomials - 1)
  cells = np.arange(n_cells) - (n_cells - 1) / 2
  waves = np.exp(-2j * np.pi * np.outer(voxels / n_grid, cells))
  waves *= apodisation[:, None]
  turns = 1j ** np.arange(n_polynomials)

  def wanted(offsets: np.ndarray) -> np.ndarray:
    """The left side at some places between two cells, [voxel, place, p]."""
    of_offset = np.exp(-2j * np.pi * np.outer(voxels / n_grid, offsets))
    return of_offset[:, :, None] * (polynomials / turns)[:, None]

  # The least squares solution is real, by the symmetry of the box.
  solve = np.linalg.pinv(waves, rcond=_CUTOFF)
  nodes = wanted(_OFFSETS.nodes(_N_NODES))
  table = np.tensordot(solve, nodes, 1).real.swapaxes(0, 1)
  places = np.linspace(-0.5, 0.5, _N_CHECKS)
  taps = np.tensordot(_OFFSETS.weights(places, _N_NODES), table, 1)
  taps = taps.astype(np.float32)
  found = np.tensordot(waves, taps, (1, 1))
  errors = np.abs(found - wanted(places)).max((0, 1))
  return Taps(centre, half, n_grid, apodisation, table, errors)


def _apodisation(places: np.ndarray, width: int) -> np.ndarray:
  """Inverse transform of a Kaiser-Bessel kernel (Beatty 2005).

  At places in units of the grid's period; the kernel is so many cells wide.
  """
  beta = np.pi * width * (1 - 0.5 / _OVERSAMPLING)
  root = np.sqrt(np.maximum(beta**2 - (np.pi * width * places) ** 2, 1e-12))
  return np.sinh(beta) / beta * root / np.sinh(root)
