"""Gridding with the coils inside the kernel: one transform serves all coils.

A sample k of coil c sees the sum of s_c(r) e^(-2πi k·r) x(r) over the voxels r.
Sensitivities are smooth: in the box of a mask they are a few polynomials, which
fit into the taps by which a sample reads the Fourier grid (`taps.py`). The
field of view beyond the box is not transformed either.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.fft
from jaxtyping import Bool, Complex64, Complex128, Float32, Inexact, Int
from numpy.lib.stride_tricks import sliding_window_view
from numpy.polynomial.chebyshev import chebvander

from mrf_jax.kspace.nufft import norm_factor
from mrf_jax.kspace.taps import CELLS, Taps, make_taps

# Polynomials along each axis that are tried.
_POLYNOMIALS = (1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 16)
# Voxels inside the mask that they are fitted to, for each product of two
# polynomials; those at its rim are too, where the largest errors would be.
_FITTED = 2
# Singular values of the fit, relative to the largest.
_CUTOFF = 1e-7
# Samples at once, whose intermediate results stay in the cache.
_SAMPLES = 128


@dataclasses.dataclass(frozen=True)
class CoilGridding:
  """The encoding of the masked voxels of a slice by its coils.

  Attributes:
    along_y: taps along y.
    along_x: taps along x.
    coefficients: of the products of polynomials in y and x, with the imaginary
      units of the taps and the norm of the transform, [coil, product].
    places: cell of each voxel in the flat grid, [voxel].
    apodisation: of each voxel, [voxel].
    origin: voxel along x and y from which phases count.
    error: bound on the error of s_c(r) e^(-2πi k·r) at any voxel and sample,
      all coils together, relative to their mean sensitivity.
  """

  along_y: Taps
  along_x: Taps
  coefficients: Complex64[np.ndarray, "coil product"]
  places: Int[np.ndarray, "voxel"]
  apodisation: Float32[np.ndarray, "voxel"]
  origin: int
  error: float

  def of_samples(
    self, positions: Float32[np.ndarray, "sample 2"]
  ) -> "SampleGridding":
    """The encoding by samples at positions in cycles per voxel, (x, y)."""
    x, y = positions.astype(np.float64).T
    turns = self.along_y.phases(y, self.origin)
    turns = turns * self.along_x.phases(x, self.origin)
    return SampleGridding(
      self, *self.along_y.at(y), *self.along_x.at(x), turns.astype(np.complex64)
    )


@dataclasses.dataclass(frozen=True)
class SampleGridding:
  """The encoding of a slice by some samples.

  Attributes:
    whole: the encoding of the slice.
    first_y: first cell of each sample along y, in the grid with its rim.
    taps_y: its taps along y.
    first_x: first cell along x.
    taps_x: taps along x.
    turns: phases of the samples at the centre of the box.
  """

  whole: CoilGridding
  first_y: Int[np.ndarray, "sample"]
  taps_y: Float32[np.ndarray, "sample cell_y polynomial_y"]
  first_x: Int[np.ndarray, "sample"]
  taps_x: Float32[np.ndarray, "sample cell_x polynomial_x"]
  turns: Complex64[np.ndarray, "sample"]

  def forward(
    self, images: Inexact[np.ndarray, "voxel frame"]
  ) -> Complex64[np.ndarray, "frame coil sample"]:
    """K-space of images that are zero outside the mask."""
    whole, n_frames = self.whole, images.shape[1]
    height, width = whole.along_y.n_grid, whole.along_x.n_grid
    n_y, n_x = whole.along_y.n_cells, whole.along_x.n_cells
    box = np.zeros((height * width, n_frames), np.complex64)
    box[whole.places] = images * whole.apodisation[:, None]
    grid = scipy.fft.fft2(
      box.reshape(height, width, n_frames),
      axes=(0, 1),
      workers=1,
      overwrite_x=True,
    )
    rimmed = _with_rim(grid, n_y, n_x)
    # Real and imaginary parts are columns like those of other frames.
    n_columns = 2 * n_frames
    flat = rimmed.view(np.float32).reshape(len(rimmed), -1)
    cells = sliding_window_view(flat, (n_y, n_x * n_columns))
    n_coils = len(whole.coefficients)
    k_space = np.empty((n_frames, n_coils, len(self.turns)), np.complex64)
    for rows in self._parts():
      read = cells[self.first_y[rows], self.first_x[rows] * n_columns]
      read = read.reshape(-1, n_y, n_x, n_columns)
      of_x = np.matmul(self.taps_x[rows].swapaxes(1, 2)[:, None], read)
      of_x = of_x.reshape(len(read), n_y, -1)
      products = np.matmul(self.taps_y[rows].swapaxes(1, 2), of_x)
      products = products.view(np.complex64).reshape(len(read), -1, n_frames)
      of_coils = np.matmul(whole.coefficients, products)
      k_space[:, :, rows] = of_coils.transpose(2, 1, 0) * self.turns[rows]
    return k_space

  def adjoint(
    self, k_space: Complex64[np.ndarray, "frame coil sample"]
  ) -> Complex64[np.ndarray, "voxel frame"]:
    """Adjoint transform in the mask, coils combined by conj(s)."""
    whole, n_frames = self.whole, len(k_space)
    height, width = whole.along_y.n_grid, whole.along_x.n_grid
    n_y, n_x = whole.along_y.n_cells, whole.along_x.n_cells
    rimmed = np.zeros((height + n_y, width + n_x, 2 * n_frames), np.float32)
    to_products, back = whole.coefficients.conj().T, self.turns.conj()
    n_polynomials = self.taps_y.shape[2]
    for rows in self._parts():
      of_coils = np.ascontiguousarray(
        (k_space[:, :, rows] * back[rows]).transpose(2, 1, 0)
      )
      products = np.matmul(to_products, of_coils).view(np.float32)
      products = products.reshape(len(products), n_polynomials, -1)
      of_y = np.matmul(self.taps_y[rows], products)
      of_y = of_y.reshape(len(of_y), n_y, -1, 2 * n_frames)
      values = np.matmul(self.taps_x[rows][:, None], of_y)
      first = zip(self.first_y[rows], self.first_x[rows], strict=True)
      for (y, x), value in zip(first, values, strict=True):
        rimmed[y : y + n_y, x : x + n_x] += value
    grid = _without_rim(rimmed.view(np.complex64), n_y, n_x)
    images = scipy.fft.ifft2(
      grid, axes=(0, 1), norm="forward", workers=1, overwrite_x=True
    )
    voxels = images.reshape(-1, n_frames)[whole.places]
    return voxels * whole.apodisation[:, None]

  def _parts(self) -> Iterator[slice]:
    """Slices of the samples that are worked on at once."""
    for start in range(0, len(self.turns), _SAMPLES):
      yield slice(start, start + _SAMPLES)


def make_coil_gridding(
  mask: Bool[np.ndarray, "y x"],
  sensitivities: Complex64[np.ndarray, "coil y x"],
  *,
  largest_error: float,
) -> CoilGridding | None:
  """The encoding of masked voxels, as accurate as asked for.

  Args:
    mask: voxels of the object, matrix × matrix; voxel (matrix // 2,
      matrix // 2) is the centre.
    sensitivities: of each coil.
    largest_error: bound that `error` has to meet.

  Returns:
    The encoding; None if the mask is empty, or the sensitivities are not
    finite, zero everywhere, or too rough for so small an error.
  """
  from scipy import ndimage

  ys, xs = np.nonzero(mask)
  values = sensitivities[:, ys, xs].astype(np.complex128)
  mean = np.sqrt(np.sum(np.abs(values) ** 2) / max(ys.size, 1))
  if not 0 < mean < np.inf:
    return None
  y_ends, x_ends = ((int(v.min()), int(v.max())) for v in (ys, xs))
  most = largest_error * float(mean)
  rim = (mask & ~ndimage.binary_erosion(mask))[mask]
  fit = _fit((ys, xs), rim, values, most / 2)
  if fit is None:
    return None
  coefficients, error_of_fit = fit
  n = coefficients.shape[1]
  # Taps of no more cells than polynomials are never accurate.
  for n_cells in (cells for cells in CELLS if cells > n):
    along_y = make_taps(*y_ends, n_polynomials=n, n_cells=n_cells)
    along_x = make_taps(*x_ends, n_polynomials=n, n_cells=n_cells)
    # |a b - a' b'| ≤ |a - a'| |b| + |a'| |b - b'|; polynomials are at most 1.
    of_y, of_x = along_y.errors[:, None], along_x.errors
    of_product = of_y + of_x + of_y * of_x
    of_coils = np.tensordot(np.abs(coefficients), of_product, 2)
    error = error_of_fit + float(np.linalg.norm(of_coils))
    if error <= most:
      places = along_y.cells_of(ys) * along_x.n_grid + along_x.cells_of(xs)
      apodisation = along_y.apodisation_of(ys) * along_x.apodisation_of(xs)
      turns = 1j ** np.arange(n)
      factors = turns[:, None] * turns / norm_factor(len(mask))
      return CoilGridding(
        along_y,
        along_x,
        (coefficients * factors).reshape(len(values), -1).astype(np.complex64),
        places,
        apodisation.astype(np.float32),
        len(mask) // 2,
        error / float(mean),
      )
  return None


def _fit(
  voxels: tuple[Int[np.ndarray, "voxel"], Int[np.ndarray, "voxel"]],
  rim: Bool[np.ndarray, "voxel"],
  values: Complex128[np.ndarray, "coil voxel"],
  largest_error: float,
) -> tuple[Complex128[np.ndarray, "coil y x"], float] | None:
  """Coefficients of as few polynomials as are within an error.

  Returns:
    They, and the largest error of all coils together at any voxel; None if no
    number of polynomials suffices.
  """
  places = [_unit(v) for v in voxels]
  for n in _POLYNOMIALS:
    in_y, in_x = (chebvander(place, n - 1) for place in places)
    n_inside = min(rim.size, _FITTED * n**2)
    some = np.linspace(0, rim.size - 1, n_inside).astype(int)
    some = np.union1d(some, np.flatnonzero(rim))
    products = np.einsum("vp,vq->vpq", in_y[some], in_x[some])
    products = products.reshape(some.size, -1)
    found, *_ = np.linalg.lstsq(products, values.T[some], rcond=_CUTOFF)
    if _largest(products @ found - values.T[some]) > largest_error:
      continue
    found = found.T.reshape(-1, n, n)
    fitted = [np.sum((in_y @ of_coil) * in_x, 1) for of_coil in found]
    error = _largest(np.stack(fitted, 1) - values.T)
    if error <= largest_error:
      return found, error
  return None


def _largest(errors: Complex128[np.ndarray, "voxel coil"]) -> float:
  """Largest error of a voxel, all coils together."""
  return float(np.linalg.norm(errors, axis=1).max())


def _unit(voxels: Int[np.ndarray, "voxel"]) -> np.ndarray:
  """Voxels as coordinates of polynomials, as in `make_taps`."""
  centre = (voxels.min() + voxels.max()) // 2
  return (voxels - centre) / max(voxels.max() - centre, 1)


def _with_rim(grid: np.ndarray, n_y: int, n_x: int) -> np.ndarray:
  """A periodic grid, continued by half of the cells of a sample at each end."""
  for axis, n in enumerate((n_y, n_x)):
    around = np.arange(-(n // 2), grid.shape[axis] + n // 2)
    grid = grid.take(around, axis, mode="wrap")
  return grid


def _without_rim(rimmed: np.ndarray, n_y: int, n_x: int) -> np.ndarray:
  """The adjoint of `_with_rim`; changes its argument."""
  for axis, n in enumerate((n_y, n_x)):
    grid, half = np.moveaxis(rimmed, axis, 0), n // 2
    grid[half : 2 * half] += grid[-half:]
    grid[-2 * half : -half] += grid[:half]
    rimmed = np.moveaxis(grid[half:-half], 0, axis)
  return np.ascontiguousarray(rimmed)
