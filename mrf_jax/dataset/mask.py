"""Masks of the head from the brightness of images."""

import numpy as np
from jaxtyping import Bool, Float32

from mrf_jax.errors import UserError

# Values below this share of the maximum count as this share: their logarithms
# would reach minus infinity.
_FLOOR = 1e-3
# Percentile of the voxels that are not 0, and the share of the maximum below
# which it is dark.
_DARK_PERCENTILE, _MOST_DARK = 1.0, 0.3
# Voxels of the opening, which cuts off thin structures (eye muscles, noise).
_OPENING = 1


def otsu_threshold(image: np.ndarray) -> float:
  """Grey value that separates background and object (Otsu 1979).

  It has the largest variance between the two classes, w0 w1 (m0 - m1)² (eq.
  14), over a histogram of 256 bins. The logarithms are binned: tissues differ
  by factors, and bright fluid would otherwise raise the threshold above white
  matter.
  """
  image = np.log(np.maximum(image, _FLOOR * image.max()))
  counts, edges = np.histogram(image, bins=256)
  centres = (edges[:-1] + edges[1:]) / 2
  below = np.cumsum(counts)[:-1]  # voxels in bins up to each threshold
  above = image.size - below
  sum_below = np.cumsum(counts * centres)[:-1]
  sum_above = np.sum(counts * centres) - sum_below
  # m0 - m1
  contrast = sum_below / np.maximum(below, 1) - sum_above / np.maximum(above, 1)
  return np.exp(edges[1 + np.argmax(below * above * contrast**2)])


def _without_filled(
  magnitude: Float32[np.ndarray, "x y slice"],
) -> Float32[np.ndarray, "x y slice"]:
  """The image, whose zeros are as bright as its darkest voxels, if dark.

  Scanners fill corners with zeros, beside which noise would be bright.
  """
  is_filled = magnitude == 0
  dark = np.percentile(magnitude[~is_filled], _DARK_PERCENTILE)
  if not is_filled.any() or dark > _MOST_DARK * magnitude.max():
    return magnitude
  return np.where(is_filled, np.float32(dark), magnitude)


def default_mask(
  magnitude: Float32[np.ndarray, "x y slice"],
) -> Bool[np.ndarray, "slice y x"]:
  """Mask of the largest bright object in a mean image.

  The voxels above `otsu_threshold`, opened by one voxel in the plane; of these
  the largest connected part, with the holes of each slice filled. In a head
  scan it covers the whole head with its skin: a brain mask made elsewhere is
  better.

  Raises:
    UserError: the image shows no object.
  """
  from scipy import ndimage

  low, high = float(magnitude.min()), float(magnitude.max())
  if not 0 <= low < high:
    raise UserError(
      f"the mean image spans {low:g} to {high:g}, which shows no object; "
      "a mask is needed"
    )
  darkest = _without_filled(magnitude)
  bright = (darkest >= otsu_threshold(darkest)).transpose(2, 1, 0)
  cross = ndimage.generate_binary_structure(2, 1)[None]
  opened = ndimage.binary_opening(bright, cross, iterations=_OPENING)
  labels, n_parts = ndimage.label(opened if opened.any() else bright)
  sizes = np.bincount(labels.ravel(), minlength=n_parts + 1)[1:]
  mask = labels == 1 + np.argmax(sizes)
  for plane in mask:
    ndimage.binary_fill_holes(plane, output=plane)
  return mask
