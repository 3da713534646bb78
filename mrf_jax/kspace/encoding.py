"""Encoding of a slice by its coils and the samples of k-space.

The coils are inside the gridding kernel (`coil_gridding.py`) where that is
accurate enough, else each has a NUFFT of its own.
"""

import dataclasses
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Inexact

from mrf_jax.kspace.coil_gridding import make_coil_gridding
from mrf_jax.kspace.nufft import nufft
from mrf_jax.runtime.threads import one_blas_thread

# Largest error of the encoding at any voxel and sample, relative to the mean
# sensitivity. Images are then within about 1e-5, as by the NUFFT at its
# tolerance of 1e-4.
LARGEST_ERROR = 1e-4


class SampleEncoding(Protocol):
  """The encoding of masked voxels by some samples.

  As in mri-nufft, it is divided by the root of four times the voxels of an
  image.
  """

  def forward(
    self, images: Inexact[np.ndarray, "voxel frame"]
  ) -> Complex64[np.ndarray, "frame coil sample"]:
    """K-space of images that are zero outside the mask."""
    ...

  def adjoint(
    self, k_space: Complex64[np.ndarray, "frame coil sample"]
  ) -> Complex64[np.ndarray, "voxel frame"]:
    """Adjoint transform in the mask, coils combined by conj(s)."""
    ...


class Encoding(Protocol):
  """The encoding of masked voxels by coils."""

  def of_samples(
    self, positions: Float32[np.ndarray, "sample 2"]
  ) -> SampleEncoding:
    """The encoding by samples at positions in cycles per voxel, (x, y)."""
    ...


def make_encoding(
  mask: Bool[np.ndarray, "y x"],
  sensitivities: Complex64[np.ndarray, "coil y x"],
  *,
  largest_error: float = LARGEST_ERROR,
) -> Encoding:
  """The fastest encoding that is accurate enough.

  Args:
    mask: voxels of the object, matrix × matrix; voxel (matrix // 2,
      matrix // 2) is the centre.
    sensitivities: of each coil.
    largest_error: of gridding with the coils inside, see
      `CoilGridding.error`. If it cannot be met, the NUFFT serves.
  """
  with one_blas_thread():
    gridding = make_coil_gridding(
      mask, sensitivities, largest_error=largest_error
    )
  return gridding or NufftEncoding(mask, sensitivities)


@dataclasses.dataclass(frozen=True)
class NufftEncoding:
  """An encoding by a NUFFT for each coil and frame.

  Attributes:
    mask: voxels of the object.
    sensitivities: of each coil.
  """

  mask: Bool[np.ndarray, "y x"]
  sensitivities: Complex64[np.ndarray, "coil y x"]

  def of_samples(
    self, positions: Float32[np.ndarray, "sample 2"]
  ) -> "SampleNufft":
    """The encoding by samples at positions in cycles per voxel, (x, y)."""
    return SampleNufft(self, positions)


@dataclasses.dataclass(frozen=True)
class SampleNufft:
  """A NUFFT of some samples.

  Attributes:
    whole: the encoding of the slice.
    positions: of the samples, cycles per voxel within ±0.5, (x, y).
  """

  whole: NufftEncoding
  positions: Float32[np.ndarray, "sample 2"]

  def forward(
    self, images: Inexact[np.ndarray, "voxel frame"]
  ) -> Complex64[np.ndarray, "frame coil sample"]:
    """K-space of images that are zero outside the mask."""
    mask = self.whole.mask
    full = np.zeros((images.shape[1], 1, *mask.shape), np.complex64)
    full[:, 0, mask] = images.T
    swapped = np.ascontiguousarray(full.swapaxes(2, 3))
    return self._operator(len(full)).op(swapped)

  def adjoint(
    self, k_space: Complex64[np.ndarray, "frame coil sample"]
  ) -> Complex64[np.ndarray, "voxel frame"]:
    """Adjoint transform in the mask, coils combined by conj(s)."""
    samples = np.ascontiguousarray(k_space)
    images = self._operator(len(samples)).adj_op(samples)[:, 0]
    return images.swapaxes(1, 2)[:, self.whole.mask].T

  def _operator(self, n_frames: int):
    """The operator of mri-nufft for so many frames."""
    return nufft(
      self.positions,
      len(self.whole.mask),
      n_coils=len(self.whole.sensitivities),
      n_batches=n_frames,
      sensitivities=self.whole.sensitivities,
    )
