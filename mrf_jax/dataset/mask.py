"""Brain masks from the brightness of images."""

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float32

from mrf_jax.errors import UserError

# Background below this share of the brightest voxel is as good as zero.
_FLOOR = 1e-3
# Of a default mask: structures thinner than this many voxels are cut off (eye
# muscles, noise), and holes are filled, slice by slice.
_OPENING = 1


def otsu_threshold(image: np.ndarray) -> float:
  """The grey value that parts an image into background and object.

  It has the largest variance between the two classes, w0 w1 (m0 - m1)², over
  a histogram of 256 bins (Otsu 1979, eq. 14). The logarithms are binned:
  tissues differ by factors, and bright fluid would else push the threshold
  above the white matter.
  """
  image = np.log(np.maximum(image, _FLOOR * image.max()))
  counts, edges = np.histogram(image, bins=256)
  centres = (edges[:-1] + edges[1:]) / 2
  below = np.cumsum(counts)[:-1]  # voxels in bins up to each threshold
  above = image.size - below
  sum_below = np.cumsum(counts * centres)[:-1]
  sum_above = np.sum(counts * centres) - sum_below
  apart = sum_below / np.maximum(below, 1) - sum_above / np.maximum(above, 1)
  return np.exp(edges[1 + np.argmax(below * above * apart**2)])


def default_mask(
  magnitude: Float32[np.ndarray, "x y slice"],
) -> Bool[np.ndarray, "slice y x"]:
  """The largest bright object of a mean image.

  Above the threshold of Otsu (1979) in the logarithm of the magnitude, opened
  by a voxel in the plane, its largest connected part, holes of each slice
  filled. Of a head this is the head, skin and all: a brain mask of one's own
  is better.

  Args:
    magnitude: mean magnitude of the series.

  Returns:
    The mask.

  Raises:
    UserError: the image shows no object.
  """
  least, greatest = float(magnitude.min()), float(magnitude.max())
  if not 0 <= least < greatest:
    raise UserError(
      f"the mean image spans {least:g} to {greatest:g}, which shows no object; "
      "a mask is needed"
    )
  bright = (magnitude >= otsu_threshold(magnitude)).transpose(2, 1, 0)
  cross = scipy.ndimage.generate_binary_structure(2, 1)[None]
  opened = scipy.ndimage.binary_opening(bright, cross, iterations=_OPENING)
  labels, n_parts = scipy.ndimage.label(opened if opened.any() else bright)
  sizes = np.bincount(labels.ravel(), minlength=n_parts + 1)[1:]
  mask = labels == 1 + np.argmax(sizes)
  for plane in mask:
    scipy.ndimage.binary_fill_holes(plane, output=plane)
  return mask
