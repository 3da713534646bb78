"""Noise of a scan, from voxels far from its object."""

import numpy as np
from jaxtyping import Float32

from mrf_jax.dataset.mask import default_mask
from mrf_jax.errors import UserError

# How far from the object nothing of it is left, as a share of the field of view
# along x and y; and the voxels that tell the noise.
_DISTANCE, _LEAST_VOXELS = 0.06, 200
# A darker object is none, or there is no dark region.
_MOST = 0.5
# Mean magnitude of complex noise over the standard deviation of a part of it.
_RAYLEIGH = np.sqrt(np.pi / 2)


def dark_noise_level(
  magnitude: Float32[np.ndarray, "x y slice"],
) -> tuple[float, int]:
  """Noise of images relative to their signal, by voxels without signal.

  Artefacts of undersampling reach them, too: it is an upper limit.

  Args:
    magnitude: mean magnitude of all images of a scan.

  Returns:
    The standard deviation of the real part, and of the imaginary one, relative
    to the mean magnitude in the largest bright object; and the number of voxels
    that tell it, of which the median counts.

  Raises:
    UserError: there is no object, or no dark region.
  """
  from scipy import ndimage

  bright = default_mask(magnitude).transpose(2, 1, 0)
  reach = int(np.ceil(_DISTANCE * max(magnitude.shape[:2])))
  plane = ndimage.generate_binary_structure(2, 1)[..., None]
  near = ndimage.binary_dilation(bright, plane, iterations=reach)
  # Zeros were filled in: no receiver is without noise.
  dark = ~near & (magnitude > 0)
  count = int(dark.sum())
  if count < _LEAST_VOXELS:
    raise UserError(
      f"there is no dark region: {count} voxels that are not 0 are more than "
      f"{reach} voxels from the object, {_LEAST_VOXELS} are needed"
    )
  noise_sd = np.median(magnitude[dark]) / _RAYLEIGH
  level = float(noise_sd / magnitude[bright].mean())
  if level > _MOST:
    raise UserError(
      f"there is no dark region: {count:,} voxels far from the object have "
      f"{level * _RAYLEIGH:.0%} of its mean magnitude"
    )
  return level, count
