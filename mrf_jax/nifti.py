"""Parametric maps as NIfTI files that any viewer places correctly."""

import contextlib
import gzip
import math
import os
import pathlib

import nibabel
import numpy as np
from jaxtyping import Bool, Float

from mrf_jax.errors import UserError, one_line
from mrf_jax.files import replacing

# Two grids are one if their corners lie this close, in voxels.
_GRID_TOLERANCE = 0.01
GZIP_MAGIC = b"\x1f\x8b"


def save_map(
  path: str | os.PathLike,
  values: Float[np.ndarray, "voxel"],
  mask: Bool[np.ndarray, "slice y x"],
  affine: Float[np.ndarray, "4 4"],
) -> None:
  """Writes one map as a float32 volume [x, y, slice], zero outside the mask.

  Args:
    path: a name that ends in `.nii.gz` (or `.nii`), replaced as a whole.
    values: the map in the masked voxels in C order, [voxel].
    mask: the voxels that `values` fills, [slice, y, x].
    affine: voxel index (x, y, slice, 1) to RAS position in mm, [4, 4].
  """
  volume = np.zeros(mask.shape, np.float32)
  values = np.asarray(values)
  if values.shape != (np.count_nonzero(mask),):
    raise ValueError(
      f"{values.shape} values for {np.count_nonzero(mask)} masked voxels"
    )
  volume[mask] = values
  affine = np.asarray(affine, np.float64)
  image = nibabel.Nifti1Image(volume.transpose(2, 1, 0), affine)  # [x, y, s]
  # Viewers differ in which of the two they read, so both are set.
  image.set_qform(affine, code="scanner")
  image.set_sform(affine, code="scanner")
  image.header.set_xyzt_units(xyz="mm")
  with replacing(path) as temporary:
    nibabel.save(image, temporary)


def load_map(
  path: str | os.PathLike, mask: Bool[np.ndarray, "slice y x"]
) -> Float[np.ndarray, "voxel"]:
  """Masked voxels of a map that `save_map` has written.

  Args:
    path: the file.
    mask: the voxels to take, [slice, y, x].

  Returns:
    The map, float32 [voxel], in the unit of the file.

  Raises:
    UserError: the file is missing, damaged or of another shape.
  """
  volume, _ = read_volume(path)  # [x, y, slice]
  if volume.shape != mask.shape[::-1]:
    raise UserError(
      f"{path}: the volume has shape {volume.shape}, "
      f"the mask needs {mask.shape[::-1]} [x, y, slice]"
    )
  return volume.transpose(2, 1, 0)[mask]


def read_volume(
  path: str | os.PathLike,
) -> tuple[np.ndarray, nibabel.Nifti1Image]:
  """Values of a NIfTI file, and the image that tells where they lie.

  Args:
    path: `.nii` or `.nii.gz` of version 1 or 2, read to its last byte.

  Returns:
    The values, float32 [x, y, slice, ...], and the image.

  Raises:
    UserError: the file is missing, damaged or has values that are not real.
  """
  try:
    data = pathlib.Path(path).read_bytes()
    # nibabel.load stops before the checksum at the end of a gzip file.
    if data[:2] == GZIP_MAGIC:
      data = gzip.decompress(data)
    sizes = [int.from_bytes(data[:4], order) for order in ("little", "big")]
    second = nibabel.Nifti2Header.sizeof_hdr in sizes
    format_ = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    with _quiet():
      image = format_.from_bytes(data)
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
      kind = "complex" if dtype.kind == "c" else f"of type {dtype}"
      raise UserError(f"{path}: the values are {kind}; real ones are wanted")
    shape = tuple(map(int, image.header.get_data_shape()))
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed > len(data):
      raise UserError(
        f"{path}: the header claims the shape {shape}, {claimed:,} bytes, in a "
        f"file of {len(data):,}"
      )
    if not np.isfinite(image.affine).all() or not np.linalg.det(image.affine):
      raise UserError(f"{path}: its affine does not say where voxels lie")
    return np.asarray(image.dataobj, np.float32), image
  except FileNotFoundError as error:
    raise UserError(f"{path}: no such file") from error
  except UserError:
    raise
  # Whatever a damaged file leads the libraries to.
  except Exception as error:
    raise UserError(
      f"{path}: damaged or no NIfTI file: {one_line(error)}"
    ) from error


@contextlib.contextmanager
def _quiet():
  """What nibabel raises it need not tell its log as well."""
  logger = nibabel.imageglobals.logger
  before = logger.disabled
  logger.disabled = True
  try:
    yield
  finally:
    logger.disabled = before


def same_places(
  shape: tuple[int, ...],
  affine: Float[np.ndarray, "4 4"],
  other: Float[np.ndarray, "4 4"],
) -> bool:
  """Whether two affines put the voxels of a grid to the same places.

  Args:
    shape: voxels along x, y and slices.
    affine: voxel index to RAS mm.
    other: likewise.
  """
  corners = np.stack(np.meshgrid(*((0, n - 1) for n in shape)), -1)
  places, wanted = (
    nibabel.affines.apply_affine(a, corners.reshape(-1, 3))
    for a in (affine, other)
  )
  tolerance_mm = _GRID_TOLERANCE * nibabel.affines.voxel_sizes(other).min()
  return bool(np.all(np.abs(places - wanted) <= tolerance_mm))
