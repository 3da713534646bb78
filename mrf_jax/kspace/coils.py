"""Coil sensitivities from images, voxel by voxel or as polynomials."""

import numpy as np
from jaxtyping import Bool, Complex64, Complex128

# Steps of the power iteration. They are enough because the two largest
# eigenvalues, of signal and of noise, are far apart wherever there is signal.
_ITERATIONS = 12
# Total degree of the polynomials of a slice. Of the sensitivities of a
# simulated head coil degree 4 leaves 2.9 % (root of the mean square), degree 6
# 0.9 % and degree 8 0.3 %; with noise, degree 6 errs least.
_DEGREE = 6
# Fits of the polynomials, each to a better image of the object.
_FITS = 3


def estimate_sensitivities(
  images: Complex64[np.ndarray, "image coil y x"], *, block: int = 7
) -> Complex64[np.ndarray, "coil y x"]:
  """Relative sensitivities by adaptive combination (Walsh 2000).

  The sensitivities of a voxel are the first eigenvector of the covariance of
  the coils, over all images and a block of voxels around it. They have unit
  norm over the coils in every voxel, and phase zero in the coil with the most
  signal: images combined with them keep the phase of that coil, and the shading
  of all coils together.

  Args:
    images: images of the same object, such as windows of one scan.
    block: voxels along each side of a block.

  Returns:
    The sensitivities.
  """
  from scipy import ndimage

  n_coils = images.shape[1]
  shape = images.shape[2:]
  covariance = np.empty((n_coils, n_coils, *shape), np.complex64)
  for a in range(n_coils):
    for b in range(a, n_coils):
      product = np.einsum("iyx,iyx->yx", images[:, a], images[:, b].conj())
      smooth = ndimage.uniform_filter(
        product.real, block
      ) + 1j * ndimage.uniform_filter(product.imag, block)
      covariance[a, b] = smooth
      covariance[b, a] = smooth.conj()
  matrices = covariance.transpose(2, 3, 0, 1)  # [y, x, coil, coil]
  energy = np.einsum("yxcc->c", matrices).real
  strongest = int(np.argmax(energy))
  vectors = np.ascontiguousarray(matrices[..., strongest])
  for _ in range(_ITERATIONS):
    vectors = _unit(np.einsum("yxcd,yxd->yxc", matrices, vectors))
  phase = vectors[..., strongest, None]
  phase = np.where(phase == 0, 1, phase)
  vectors = vectors * (phase.conj() / np.abs(phase))
  return np.ascontiguousarray(vectors.transpose(2, 0, 1), np.complex64)


def _unit(vectors: np.ndarray) -> np.ndarray:
  """Vectors of norm one; a zero vector becomes equal in all coils."""
  norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
  equal = np.full_like(vectors, vectors.shape[-1] ** -0.5)
  return np.where(norm > 0, vectors / np.where(norm > 0, norm, 1), equal)


def fit_sensitivities(
  images: Complex64[np.ndarray, "coil y x"], mask: Bool[np.ndarray, "y x"]
) -> Complex64[np.ndarray, "coil y x"]:
  """Relative sensitivities that are smooth over a slice.

  Image of the object and sensitivities, polynomials in x and y, are fitted to
  the images of the coils in turns, as in JSENSE (Ying 2007). Only the product
  of both is known: as in `estimate_sensitivities`, the sensitivities have unit
  norm over the coils. Their phase is zero in the sum of the coils that has the
  most signal, in which the first coil counts with phase zero. That changes
  smoothly over the slice and hardly from scan to scan.

  Args:
    images: images of the coils, of the same object.
    mask: its voxels.

  Returns:
    The sensitivities, zero outside the mask.

  Raises:
    ValueError: there is no voxel with signal.
  """
  values = images[:, mask].astype(np.complex128)
  largest = np.abs(values).max(initial=0.0)
  if not 0 < largest < np.inf:
    raise ValueError("images of coils need voxels with finite signals")
  values /= largest
  polynomials = _polynomials(mask)
  # The sum of coils with the most signal, up to its phase.
  weights = np.linalg.eigh(values @ values.conj().T)[1][:, -1]
  first = weights[np.flatnonzero(np.abs(weights) > 1e-3)[0]]
  weights *= abs(first) / first
  reference = weights.conj() @ values
  unit = np.linalg.norm(values, axis=0) * np.exp(1j * np.angle(reference))
  for _ in range(_FITS):
    fitted = _fit(polynomials, unit, values)
    fitted /= np.maximum(np.linalg.norm(fitted, axis=0), 1e-9)
    unit = np.sum(fitted.conj() * values, 0)
  fitted *= np.exp(-1j * np.angle(weights.conj() @ fitted))
  found = np.zeros(images.shape, np.complex64)
  found[:, mask] = fitted
  return found


def _fit(
  polynomials: np.ndarray,
  image: Complex128[np.ndarray, "voxel"],
  values: Complex128[np.ndarray, "coil voxel"],
) -> Complex128[np.ndarray, "coil voxel"]:
  """Polynomials which times an image are nearest to the images of coils."""
  weighted = polynomials * np.abs(image)[:, None]
  # Least squares of (polynomials × image) · coefficients = values.
  turned = (values * np.exp(-1j * np.angle(image))).T
  found, *_ = np.linalg.lstsq(weighted, turned, rcond=1e-9)
  return (polynomials @ found).T


def _polynomials(mask: Bool[np.ndarray, "y x"]) -> np.ndarray:
  """Products of Chebyshev polynomials up to a total degree, [voxel, product].

  Small masks get fewer, so that noise is averaged over ten voxels at least.
  """
  from numpy.polynomial.chebyshev import chebvander

  y, x = (v.astype(float) for v in np.nonzero(mask))
  degree = _DEGREE
  while degree and 5 * (degree + 1) * (degree + 2) > y.size:
    degree -= 1
  of_y, of_x = (
    chebvander(2 * (v - v.min()) / max(np.ptp(v), 1) - 1, degree)
    for v in (y, x)
  )
  return np.stack(
    [
      of_y[:, i] * of_x[:, j]
      for i in range(degree + 1)
      for j in range(degree + 1 - i)
    ],
    1,
  )
