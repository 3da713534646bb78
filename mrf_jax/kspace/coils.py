"""Coil sensitivities estimated from images (Walsh 2000)."""

import numpy as np
from jaxtyping import Complex64

# Steps of the power iteration. They are enough because the two largest
# eigenvalues, of signal and of noise, are far apart wherever there is signal.
_ITERATIONS = 12


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
