"""Maps and masks from NIfTI files, resampled to the grid of a scan."""

import dataclasses
import os

import nibabel
import numpy as np
from jaxtyping import Bool, Float32, Float64
from nibabel.processing import resample_from_to

from mrf_jax.errors import UserError
from mrf_jax.io.nifti import read_volume, same_places


@dataclasses.dataclass(frozen=True)
class Grid:
  """Shape of a scan and the positions of its voxels.

  Attributes:
    shape: number of voxels along x, y and slices.
    affine: voxel index (x, y, slice) to RAS, [4, 4], mm.
  """

  shape: tuple[int, int, int]
  affine: Float64[np.ndarray, "4 4"]


def plain_affine(
  shape: tuple[int, int, int], voxel_mm: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
  """Affine of a centred volume [x, y, slice], axes to right, front and top."""
  affine = np.diag([*voxel_mm, 1.0])
  affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
  return affine


def read_on_grid(
  path: str | os.PathLike, grid: Grid, *, nearest: bool = False
) -> tuple[Float32[np.ndarray, "x y slice"], bool]:
  """Values of a volume at the voxels of a scan; NaN outside the volume.

  Args:
    path: NIfTI file, [x, y, slice].
    grid: grid of the scan.
    nearest: take the nearest voxel instead of interpolating linearly.

  Returns:
    The values, and whether they were resampled because the affines differ.

  Raises:
    UserError: the file is missing or damaged, has no three axes, or does not
      overlap with the scan.
  """
  volume, image = read_volume(path)
  # A fourth axis of length one is that of a series with one image.
  if volume.ndim > 3 and set(volume.shape[3:]) == {1}:
    volume = volume.reshape(volume.shape[:3])
  if volume.ndim != 3:
    raise UserError(f"{path}: shape {volume.shape}, not [x, y, slice]")
  if volume.shape == grid.shape and same_places(
    grid.shape, image.affine, grid.affine
  ):
    return volume, False
  # Repeats the border, so that interpolation reaches the outer half voxel.
  padded = np.pad(volume, 1, mode="edge")
  affine = image.affine.copy()
  affine[:3, 3] -= image.affine[:3, :3].sum(1)
  values = resample_from_to(
    nibabel.Nifti1Image(padded, affine),
    (grid.shape, grid.affine),
    order=0 if nearest else 1,
    mode="constant",
    cval=np.nan,
  ).get_fdata(dtype=np.float32)
  # Index in the volume of each voxel of the scan.
  to_volume = np.linalg.inv(image.affine) @ grid.affine
  index = np.indices(grid.shape).reshape(3, -1)
  index = to_volume[:3, :3] @ index + to_volume[:3, 3:]
  size = np.array(volume.shape)[:, None]
  inside = np.all((index >= -0.5) & (index <= size - 0.5), 0)
  values[~inside.reshape(grid.shape)] = np.nan
  if not inside.any():
    raise UserError(
      f"{path}: the volume is {_range(image.affine, volume.shape)}, the scan "
      f"{_range(grid.affine, grid.shape)}: they do not overlap"
    )
  return values, True


def _range(affine: np.ndarray, shape: tuple[int, ...]) -> str:
  """Box around a volume in scanner coordinates, in words."""
  corners = np.stack(np.meshgrid(*((-0.5, n - 0.5) for n in shape)), -1)
  places = nibabel.affines.apply_affine(affine, corners.reshape(-1, 3))
  sides = zip("RAS", places.min(0), places.max(0), strict=True)
  return "at " + ", ".join(
    f"{s} {low:.0f}…{high:.0f} mm" for s, low, high in sides
  )


def read_mask(
  path: str | os.PathLike, grid: Grid
) -> tuple[Bool[np.ndarray, "slice y x"], bool]:
  """Mask of the voxels that are not 0 in a NIfTI file, [x, y, slice].

  Returns:
    The mask, and whether it was resampled because the affines differ.

  Raises:
    UserError: see `read_on_grid`; or the mask is empty or not finite.
  """
  values, resampled = read_on_grid(path, grid, nearest=True)
  if not resampled and not np.isfinite(values).all():
    raise UserError(f"{path}: the mask has values that are NaN or infinite")
  mask = (np.nan_to_num(values) != 0).transpose(2, 1, 0)
  if not mask.any():
    raise UserError(f"{path}: the mask has no voxels in the scan")
  return mask, resampled
