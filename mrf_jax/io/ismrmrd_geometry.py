"""Positions of the slices of an ISMRMRD file: numbers and affine."""

import numpy as np
from jaxtyping import Float64, Int

from mrf_jax.errors import UserError

_DIRECTIONS = ("read_dir", "phase_dir", "slice_dir")
# Unit vectors at right angles, up to float32 and some sloppiness.
_TOLERANCE = 1e-2
# The patient coordinates of ISMRMRD (left, posterior, superior) to RAS.
_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def slice_numbers(heads: np.ndarray) -> Int[np.ndarray, "acquisition"]:
  """Slice number of each acquisition; 0 if the header does not have it.

  Numbers that appear once each, all at one position, count repetitions (as
  KomaMRI does), and are replaced by 0 too.
  """
  names = heads.dtype.names or ()
  zeros = np.zeros(len(heads), int)
  if "idx" not in names or "slice" not in (heads.dtype["idx"].names or ()):
    return zeros
  numbers = heads["idx"]["slice"].astype(int)
  appear_once = len(np.unique(numbers)) == len(numbers)
  if appear_once and "position" in names:
    if np.all(heads["position"] == heads["position"][0]):
      return zeros
  return numbers


def affine_of_slices(
  heads: np.ndarray,
  *,
  fov_mm: tuple[float, float, float] | None,
  matrix: tuple[int, int, int] | None,
) -> Float64[np.ndarray, "4 4"] | None:
  """Affine of the slices: voxel index (x, y, slice) to RAS, mm.

  x is along the read direction, y along the phase direction, and the position
  of an acquisition is that of voxel (nx // 2, ny // 2).

  Args:
    heads: acquisition headers.
    fov_mm: field of view (x, y, z), z of one slice.
    matrix: voxels (x, y, z).

  Returns:
    The affine; None if the headers do not have what it needs.

  Raises:
    UserError: the directions are not at right angles, or the slices are not
      equally spaced along one line.
  """
  names = heads.dtype.names or ()
  if fov_mm is None or matrix is None:
    return None
  if not {"position", *_DIRECTIONS} <= set(names):
    return None
  frames = np.stack([heads[name] for name in _DIRECTIONS], 1).astype(float)
  first = frames[0]  # [direction, xyz]
  if not np.any(first):
    return None
  if not np.allclose(first @ first.T, np.eye(3), atol=_TOLERANCE):
    raise UserError(
      "the read, phase and slice directions of the acquisitions are not unit "
      f"vectors at right angles: {np.round(first, 3).tolist()}"
    )
  if not np.allclose(frames, first, atol=_TOLERANCE):
    raise UserError("the acquisitions are in planes of several directions")
  slices = slice_numbers(heads)
  numbers = np.unique(slices)
  centres = np.array(
    [heads["position"][slices == number].mean(0) for number in numbers], float
  )
  if len(numbers) > 1:
    step = (centres[-1] - centres[0]) / (len(numbers) - 1)
    line = centres[0] + np.arange(len(numbers))[:, None] * step
    spacing = np.linalg.norm(step)
    if not spacing or np.abs(centres - line).max() > _TOLERANCE * spacing:
      raise UserError(
        "the slices are not equally spaced along one line: positions "
        f"{np.round(centres[:3], 2).tolist()} mm, …"
      )
  else:
    step = first[2] * fov_mm[2] / matrix[2]
  affine = np.eye(4)
  for axis in range(2):
    affine[:3, axis] = first[axis] * fov_mm[axis] / matrix[axis]
  affine[:3, 2] = step
  middle = np.array([matrix[0] // 2, matrix[1] // 2, 0])
  affine[:3, 3] = centres[0] - affine[:3, :3] @ middle
  affine[:3] = _TO_RAS @ affine[:3]
  return affine
