"""Slices turned upright along the axes of the body, and their sides."""

import dataclasses

import nibabel
import numpy as np
from jaxtyping import Float

# Ends of the axes of the body: negative and positive direction of RAS.
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclasses.dataclass(frozen=True)
class Upright:
  """Turns slices so that right is right, and anterior (or superior) is up.

  Attributes:
    flips: whether x and y are reversed.
    is_swapped: whether x and y are exchanged then.
    sides: letters of the left and the right edge of a turned slice that is
      drawn with y increasing upwards, such as ("L", "R").
  """

  flips: tuple[bool, bool]
  is_swapped: bool
  sides: tuple[str, str]

  def __call__(self, volume: np.ndarray) -> np.ndarray:
    """Turns values [..., y, x] without copying them."""
    flip_x, flip_y = self.flips
    if flip_x:
      volume = volume[..., ::-1]
    if flip_y:
      volume = volume[..., ::-1, :]
    return volume.swapaxes(-2, -1) if self.is_swapped else volume


def upright(affine: Float[np.ndarray, "4 4"]) -> Upright:
  """How slices are turned whose voxels (x, y, slice) an affine puts in RAS.

  Oblique slices are turned by quarters only, to the nearest axes.
  """
  axes, signs = nibabel.orientations.io_orientation(affine)[:2].T
  return Upright(
    flips=(bool(signs[0] < 0), bool(signs[1] < 0)),
    is_swapped=bool(axes[0] > axes[1]),
    sides=_ENDS[int(min(axes))],
  )
