"""Maps and masks from NIfTI files, resampled to the grid of a scan."""

import os

import nibabel
import numpy as np
from jaxtyping import Bool, Float32

from mrf_jax.errors import UserError
from mrf_jax.importing.mask_values import meaning_of
from mrf_jax.importing.places import Grid, is_voxel_by_voxel
from mrf_jax.importing.plausible import check_voxels
from mrf_jax.io.nifti import Place, place_of, read_volume, same_places

# A voxel of the scan is in a map if valid voxels have this share of the weight
# of its interpolation: the border of the valid voxels, interpolated, is where
# they have half.
_VALID_WEIGHT = 0.5
# Values below this share of the largest (of their 99th percentile, as fits may
# fail) are a background of 0 that was stored or interpolated: 4 ms of T1.
_NEXT_TO_0 = 1e-3

# A volume with axes of its own, before it is on the scan's.
Volume = Float32[np.ndarray, "i j k"]


def read_map(
  path: str | os.PathLike, grid: Grid, said: list[str]
) -> Float32[np.ndarray, "x y slice"]:
  """Values of a map at the voxels of a scan; NaN outside the map's volume.

  Interpolation is linear, over valid voxels: those that are finite and above 0,
  or what rounding makes of it. A background of 0 or NaN has no part in it,
  Σ w v / Σ w with the weight w of valid voxels only. Where they have less than
  half of the weight, the value is 0, or NaN as in the background.

  Args:
    path: NIfTI file, [x, y, slice].
    grid: grid of the scan.
    said: sentences on what was assumed or changed, added to.

  Raises:
    UserError: the file is missing or damaged, has no three axes, does not say
      where it lies, or does not overlap with the scan.
  """
  volume, affine = _read(path, grid, said)
  if affine is None:
    return volume
  said.append(f"{path}: resampled to the scan (linear)")
  finite = np.isfinite(volume)
  valid = finite & (volume > 0)
  if valid.any():
    valid &= volume > _NEXT_TO_0 * np.percentile(volume[valid], 99)
  if valid.all():
    return _resample(volume, affine, grid, order=1)
  values = _over_valid(volume, valid, affine, grid)
  known = _resample(finite.astype(np.float32), affine, grid, order=1)
  values[np.isnan(values) & (known >= _VALID_WEIGHT)] = 0.0
  return values


def read_field(
  path: str | os.PathLike, grid: Grid, said: list[str]
) -> Float32[np.ndarray, "x y slice"]:
  """Values of a map that may be below zero, at the voxels of a scan.

  As `read_map`, but 0 and NaN alone are a background; 0 where nothing is known.
  """
  volume, affine = _read(path, grid, said)
  valid = np.isfinite(volume) & (volume != 0)
  if affine is None:
    return np.where(valid, volume, np.float32(0))
  said.append(f"{path}: resampled to the scan (linear)")
  values = _over_valid(volume, valid, affine, grid)
  return np.nan_to_num(values, nan=0.0)


def _over_valid(
  volume: np.ndarray, valid: np.ndarray, affine: np.ndarray, grid: Grid
) -> Float32[np.ndarray, "x y slice"]:
  """Values resampled over valid voxels; NaN where most of the weight is not."""
  filled = np.where(valid, volume, np.float32(0))
  weight = _resample(valid.astype(np.float32), affine, grid, order=1)
  return _resample(filled, affine, grid, order=1) / np.where(
    weight >= _VALID_WEIGHT, weight, np.nan
  )


def read_mask(
  path: str | os.PathLike, grid: Grid, said: list[str]
) -> Bool[np.ndarray, "slice y x"]:
  """Mask of a NIfTI file [x, y, slice] at the voxels of a scan.

  Binary masks and labels are taken from the nearest voxel; probabilities are
  interpolated linearly, and then one half or more is inside.

  Args:
    path: the file; `meaning_of` says which values are inside.
    grid: grid of the scan.
    said: sentences on what was assumed or changed, added to.

  Raises:
    UserError: see `read_map` and `meaning_of`; or no voxel is inside.
  """
  volume, affine = _read(path, grid, said)
  meaning = meaning_of(path, volume)
  if meaning.words:
    said.append(f"{path}: {meaning.words}")
  if affine is not None and meaning.is_soft:
    said.append(f"{path}: resampled to the scan (linear)")
    volume = _resample(volume, affine, grid, order=1)
  elif affine is not None:
    said.append(f"{path}: resampled to the scan (nearest voxel)")
    volume = _resample(volume, affine, grid, order=0)
  with np.errstate(invalid="ignore"):  # NaN, outside the volume
    mask = (volume >= np.float32(meaning.least)).transpose(2, 1, 0)
  if not mask.any():
    raise UserError(f"{path}: the mask has no voxels in the scan")
  return mask


def read_single(path: str | os.PathLike) -> tuple[Volume, Place]:
  """A volume of three axes, in the unit of its file, and its place.

  Raises:
    UserError: the file is missing or damaged, or has no three axes.
  """
  volume, image = read_volume(path)
  # A fourth axis of length one is that of a series with one image.
  if volume.ndim > 3 and set(volume.shape[3:]) == {1}:
    volume = volume.reshape(volume.shape[:3])
  if volume.ndim != 3:
    raise UserError(f"{path}: shape {volume.shape}, not [x, y, slice]")
  return volume, place_of(image.header)


def _read(
  path: str | os.PathLike, grid: Grid, said: list[str]
) -> tuple[Volume, np.ndarray | None]:
  """A volume, and its affine; None if it has the voxels of the scan."""
  volume, place = read_single(path)
  if is_voxel_by_voxel(path, volume.shape, place, grid, said):
    return volume, None
  if volume.shape == grid.shape and same_places(
    grid.shape, place.affine, grid.affine
  ):
    return volume, None
  try:
    check_voxels(place.affine)
  except UserError as error:
    raise UserError(f"{path}: {error}; its header names the unit") from error
  if not _inside(volume.shape, place.affine, grid).any():
    raise UserError(
      f"{path}: the volume is {_range(place.affine, volume.shape)}, the scan "
      f"{_range(grid.affine, grid.shape)}: they do not overlap"
    )
  if place.is_disputed:
    said.append(
      f"{path}: its qform lies elsewhere than its sform, which counts"
    )
  return volume, place.affine


def _resample(
  volume: Volume, volume_affine: np.ndarray, grid: Grid, *, order: int
) -> Float32[np.ndarray, "x y slice"]:
  """Values at the voxels of a scan; NaN outside the volume."""
  from nibabel.processing import resample_from_to

  # Repeats the border, so that interpolation reaches the outer half voxel.
  padded = np.pad(volume, 1, mode="edge")
  affine = volume_affine.copy()
  affine[:3, 3] -= volume_affine[:3, :3].sum(1)
  values = resample_from_to(
    nibabel.Nifti1Image(padded, affine),
    (grid.shape, grid.affine),
    order=order,
    mode="constant",
    cval=np.nan,
  ).get_fdata(dtype=np.float32)
  values[~_inside(volume.shape, volume_affine, grid)] = np.nan
  return values


def _inside(
  shape: tuple[int, ...], affine: np.ndarray, grid: Grid
) -> Bool[np.ndarray, "x y slice"]:
  """Voxels of a scan that lie in a volume."""
  # Index in the volume of each voxel of the scan.
  to_volume = np.linalg.inv(affine) @ grid.affine
  index = np.indices(grid.shape).reshape(3, -1)
  index = to_volume[:3, :3] @ index + to_volume[:3, 3:]
  size = np.array(shape)[:, None]
  inside = np.all((index >= -0.5) & (index <= size - 0.5), 0)
  return inside.reshape(grid.shape)


def _range(affine: np.ndarray, shape: tuple[int, ...]) -> str:
  """Box around a volume in scanner coordinates, in words."""
  corners = np.stack(np.meshgrid(*((-0.5, n - 0.5) for n in shape)), -1)
  places = nibabel.affines.apply_affine(affine, corners.reshape(-1, 3))
  sides = zip("RAS", places.min(0), places.max(0), strict=True)
  return "at " + ", ".join(
    f"{s} {low:.0f}…{high:.0f} mm" for s, low, high in sides
  )
