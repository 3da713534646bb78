"""Whether a volume lies on a scan by its position, voxel by voxel, or not.

A NIfTI header with sform_code = qform_code = 0 states no place: its coordinates
are those of ANALYZE 7.5, whose left and right were never settled (nifti1.h,
method 1). nibabel invents an affine for it, centred and with x to the left.
A volume of which this is all that is known, laid on a scan with a place, is
mirrored or elsewhere, and a head is so symmetric that nothing shows it.
"""

import dataclasses
import os

import nibabel
import numpy as np
from jaxtyping import Float64

from mrf_jax.errors import UserError
from mrf_jax.io.nifti import Place, same_places

# Volumes cover the same box if their corners are this close, in voxels; and
# sizes of voxels are the same if they differ by this share.
_SAME_BOX = 0.5
_SAME_SIZE = 0.01
# Coordinate systems that are not the scanner's (codes of nifti1.h).
_SPACES = {3: "Talairach", 4: "MNI", 5: "template"}
_CENTRED = (
  "its affine is the one that nibabel invents for a header without a place"
)


@dataclasses.dataclass(frozen=True)
class Grid:
  """Shape of a scan and the positions of its voxels.

  Attributes:
    shape: number of voxels along x, y and slices.
    affine: voxel index (x, y, slice) to RAS, [4, 4], mm.
    code: what this position is, see `Place`; 0 if it is not known.
    path: file of the scan, for messages.
    voxel_by_voxel: other volumes have the scan's voxels, whatever their headers
      say of positions.
  """

  shape: tuple[int, int, int]
  affine: Float64[np.ndarray, "4 4"]
  code: int = 1
  path: str = "the scan"
  voxel_by_voxel: bool = False

  @property
  def place(self) -> Place:
    """Position of the voxels."""
    return Place(self.affine, self.code)


def plain_affine(
  shape: tuple[int, ...], voxel_mm: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
  """Affine of a centred volume [x, y, slice], axes to right, front and top."""
  affine = np.diag([*voxel_mm, 1.0])
  affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
  return affine


def is_voxel_by_voxel(
  path: str | os.PathLike,
  shape: tuple[int, ...],
  place: Place,
  grid: Grid,
  said: list[str],
) -> bool:
  """Whether a volume has the voxels of a scan, wherever its header puts them.

  Otherwise it lies where its header says. Adds to `said` what is assumed.

  Args:
    path: the volume's file, for messages.
    shape: of the volume, [x, y, slice].
    place: of the volume.
    grid: grid of the scan.
    said: sentences on what was assumed.

  Raises:
    UserError: the header does not say where the volume lies on the scan.
  """
  is_same_shape = shape == grid.shape
  if grid.voxel_by_voxel:
    if not is_same_shape:
      raise UserError(
        f"{path}: shape {shape}, but {grid.path} has {grid.shape}; "
        "--voxel_by_voxel needs the same shape"
      )
    if not same_places(shape, place.affine, grid.affine):
      said.append(f"{path}: taken voxel by voxel, whatever its header says")
    return True
  if _is_same_box(shape, place, grid):
    return False
  vague, known = _vagueness(shape, place), _vagueness(grid.shape, grid.place)
  sizes_mm = nibabel.affines.voxel_sizes(place.affine)
  is_same_grid = is_same_shape and np.allclose(
    sizes_mm, nibabel.affines.voxel_sizes(grid.affine), rtol=_SAME_SIZE
  )
  if vague and known and is_same_grid:
    said.append(
      f"{path} and {grid.path} state no place; taken voxel by voxel, since "
      "their shapes and voxel sizes are the same"
    )
    return True
  # An affine like nibabel's own is suspect on a volume with the scan's voxels
  # only: another one may really be centred.
  if {vague, known} <= {"", _CENTRED} and not is_same_grid:
    if vague:
      said.append(f"{path}: {vague}; taken as its position")
    vague = known = ""
  if known and not vague:
    same = str(path) if is_same_shape else "FILE, a NIfTI file of its shape,"
    why = f" ({known})" if grid.code else ""
    raise UserError(
      f"{path} states where it lies, but {grid.path} does not{why}; "
      f"--affine_from={same} gives its position"
      + (", if they have the same voxels" if is_same_shape else "")
    )
  remedy = (
    "--voxel_by_voxel takes it voxel by voxel"
    if is_same_shape
    else f"its shape {shape} is not the scan's {grid.shape}: it needs a header "
    "with its position"
  )
  if vague:
    raise UserError(
      f"{path}: {vague}, and {grid.path} lies elsewhere; {remedy}"
    )
  spaces = [_SPACES.get(code) for code in (place.code, grid.code)]
  if spaces[0] != spaces[1]:
    its, scans = (name or "scanner" for name in spaces)
    raise UserError(
      f"{path}: its header gives {its} coordinates, that of {grid.path} "
      f"{scans} coordinates; {remedy}"
    )
  return False


def _vagueness(shape: tuple[int, ...], place: Place) -> str:
  """Why a place is none, in words; empty if it is one."""
  if not place.code:
    return "its place is not stated (sform_code and qform_code are 0)"
  affine = place.affine
  sizes = np.diag(affine)[:3]
  if np.all(sizes > 0) and np.array_equal(affine, np.diag([*sizes, 1.0])):
    return (
      "its affine is a mere diagonal, which states voxel sizes but no place"
    )
  invented = plain_affine(shape, nibabel.affines.voxel_sizes(affine))
  invented[0] *= -1
  if same_places(shape, affine, invented):
    return _CENTRED
  return ""


def _is_same_box(shape: tuple[int, ...], place: Place, grid: Grid) -> bool:
  """Whether a volume covers the box of the scan, with axes the same way."""
  # Index in the volume to index in the scan.
  to_scan = np.linalg.inv(grid.affine) @ place.affine
  size = np.array([shape, grid.shape], float)
  edges = [
    to_scan @ [*corner, 1] for corner in (-0.5 * np.ones(3), size[0] - 0.5)
  ]
  coarser = np.maximum(size[1] / size[0], 1)
  wanted = (-0.5 * np.ones(3), size[1] - 0.5)
  is_straight = np.allclose(
    to_scan[:3, :3] * size[0], np.diag(size[1]), atol=_SAME_BOX * coarser.max()
  )
  return is_straight and all(
    bool(np.all(np.abs(edge[:3] - corner) <= _SAME_BOX * coarser))
    for edge, corner in zip(edges, wanted, strict=True)
  )
