"""NIfTI files: parametric maps, volumes and series, with their affines."""

import contextlib
import dataclasses
import gzip
import math
import os
from collections.abc import Iterator
from typing import BinaryIO

import nibabel
import numpy as np
from jaxtyping import Bool, Float
from nibabel.arrayproxy import ArrayProxy

from mrf_jax.errors import UserError, one_line
from mrf_jax.io.atomic import replacing
from mrf_jax.io.claims import COMPRESSION, check_claim

# Two grids are equal if their corners are this close, in voxels.
_GRID_TOLERANCE = 0.01
_GZIP_MAGIC = b"\x1f\x8b"
_IMAGES = {
  nibabel.Nifti1Header: nibabel.Nifti1Image,
  nibabel.Nifti2Header: nibabel.Nifti2Image,
}
# Codes of units of length other than mm, and what they are in mm (nifti1.h). A
# file that names no unit is in mm.
_UNITS_MM = {1: 1e3, 3: 1e-3}
_CODE_MM = 2
# Corners of a volume that its sform and its qform place further apart than
# this, in voxels, are two different places.
_SAME_CORNER = 0.5
# Bytes after the values that may be a writer's padding; more bytes are values
# that the header does not describe.
_SURPLUS = 1 << 20
# Values of a mask or map: 512 along each axis, about 16 times as many as in the
# largest scan. A gzip file of a megabyte can unpack to a gigabyte of zeros.
_MOST_VALUES = 512**3

# Marks of headers whose values are in another file (nifti1.h, nifti2.h).
_PAIRS = (b"ni1", b"ni2")

Bytes = BinaryIO | gzip.GzipFile


@dataclasses.dataclass(frozen=True)
class Place:
  """Where the voxels of a file lie, as far as its header states it.

  Attributes:
    affine: voxel index (x, y, slice) to RAS, [4, 4], mm.
    code: what the header calls this position (nifti1.h): 0 no place, 1 scanner,
      2 another scan of the subject, 3 Talairach, 4 MNI, 5 another template.
      With 0 the affine is invented by nibabel: x to the left, y to the front,
      slices upwards, centred.
    is_disputed: the header's qform places the voxels elsewhere than its sform,
      which is taken.
  """

  affine: Float[np.ndarray, "4 4"]
  code: int = 1
  is_disputed: bool = False


def place_of(header: nibabel.Nifti1Header) -> Place:
  """Place of a header that `open_nifti` has read."""
  affine = np.asarray(header.get_best_affine(), np.float64)
  codes = [int(header["sform_code"]), int(header["qform_code"])]
  is_disputed = False
  if all(codes):
    # A quaternion that is none is no second opinion.
    with contextlib.suppress(Exception):
      is_disputed = not same_places(
        header.get_data_shape()[:3],
        affine,
        np.asarray(header.get_qform(), np.float64),
        tolerance=_SAME_CORNER,
      )
  return Place(affine, codes[0] or codes[1], is_disputed)


def save_map(
  path: str | os.PathLike,
  values: Float[np.ndarray, "voxel"],
  mask: Bool[np.ndarray, "slice y x"],
  affine: Float[np.ndarray, "4 4"],
) -> None:
  """Writes one map as a float32 volume [x, y, slice], zero outside the mask.

  Args:
    path: a name that ends in `.nii.gz` (or `.nii`); an old file is replaced.
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
  # Some viewers read the one, some the other, so both are set.
  image.set_qform(affine, code="scanner")
  image.set_sform(affine, code="scanner")
  image.header.set_xyzt_units(xyz="mm")
  with replacing(path) as temporary:
    nibabel.save(image, temporary)


def load_map(
  path: str | os.PathLike, mask: Bool[np.ndarray, "slice y x"]
) -> Float[np.ndarray, "voxel"]:
  """Reads the masked voxels of a map that `save_map` wrote.

  Args:
    path: the file.
    mask: the voxels to read, [slice, y, x].

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
  """Reads the values of a NIfTI file, and the image that has their affine.

  Args:
    path: `.nii` or `.nii.gz` of version 1 or 2, read to its last byte.

  Returns:
    The values, float32 [x, y, slice, ...], and the image.

  Raises:
    UserError: the file is missing, damaged, or its values are not real numbers.
  """
  with _naming(path), open_nifti(path) as (header, stream):
    affine = _checked_affine(header, path)
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
      kind = "complex" if dtype.kind == "c" else f"of type {dtype}"
      raise UserError(f"{path}: the values are {kind}, not real numbers")
    if math.prod(header.get_data_shape()) > _MOST_VALUES:
      raise UserError(
        f"{path}: the header claims the shape {header.get_data_shape()}; at "
        f"most {_MOST_VALUES:,} values are read"
      )
    stored = ArrayProxy(stream, header, mmap=False)
    values = np.asarray(stored, np.float32)
    read_to_end(stream, path)
    return values, _IMAGES[type(header)](values, affine, header)


def read_place(
  path: str | os.PathLike,
) -> tuple[tuple[int, ...], Place]:
  """Reads the shape and the place of a file, but not its values.

  Raises:
    UserError: the file is missing, or its header damaged.
  """
  with _naming(path), open_nifti(path) as (header, _):
    _checked_affine(header, path)
    return tuple(map(int, header.get_data_shape())), place_of(header)


def _checked_affine(
  header: nibabel.Nifti1Header, path
) -> Float[np.ndarray, "4 4"]:
  """The affine of a header, if it is one; the header is checked too."""
  with _quiet():
    header.check_fix()
  affine = np.asarray(header.get_best_affine(), np.float64)
  if not np.isfinite(affine).all() or not np.linalg.det(affine):
    raise UserError(f"{path}: its affine does not give the voxels' positions")
  return affine


@contextlib.contextmanager
def open_nifti(
  path: str | os.PathLike,
) -> Iterator[tuple[nibabel.Nifti1Header, Bytes]]:
  """Opens a NIfTI file of version 1 or 2 without reading its values.

  Header extensions are skipped, and nibabel's checks are not made. Lengths of
  the header are in mm, whatever their unit in the file.

  Args:
    path: `.nii` or `.nii.gz`.

  Yields:
    The header, whose `get_data_offset` is that of the values, and a stream of
    the unpacked bytes at any position.

  Raises:
    UserError: the header is not valid, or claims more than the file can hold.
    Exception: what the libraries raise for a damaged file.
  """
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(open(path, "rb"))
    held_bytes = os.fstat(file.fileno()).st_size
    is_packed = file.read(2) == _GZIP_MAGIC
    file.seek(0)
    stream: Bytes = file
    if is_packed:
      stream = stack.enter_context(gzip.GzipFile(fileobj=file))
      held_bytes *= COMPRESSION
    start = stream.read(4)
    sizes = [int.from_bytes(start, order) for order in ("little", "big")]
    for kind in _IMAGES:
      if kind.sizeof_hdr in sizes:
        rest = stream.read(kind.sizeof_hdr - len(start))
        header = kind(start + rest, check=False)
        break
    else:
      raise UserError(f"{path}: damaged, or not a NIfTI file")
    if bytes(header["magic"]).rstrip(b"\0") in _PAIRS:
      raise UserError(
        f"{path}: the header of a pair of files, .hdr and .img; one file .nii "
        "of both is needed"
      )
    offset = header.get_data_offset()
    # Values never begin before the header's end: a smaller vox_offset is
    # equivalent to it (nifti1.h). nibabel would read from 0, and raise an error
    # for other values.
    if 0 <= offset < kind.single_vox_offset:
      offset = kind.single_vox_offset
      header.set_data_offset(offset)
    if offset < 0:
      raise UserError(f"{path}: damaged, its values begin at byte {offset}")
    itemsize = header.get_data_dtype().itemsize
    check_claim(path, header.get_data_shape(), itemsize, held_bytes - offset)
    _turn_to_mm(header)
    yield header, stream


def _turn_to_mm(header: nibabel.Nifti1Header) -> None:
  """Lengths of a header in mm, which nibabel leaves in the unit of the file."""
  units = int(header["xyzt_units"])
  factor = _UNITS_MM.get(units % 8)  # the upper bits are those of time
  if factor is None:
    return
  header["pixdim"][1:4] *= factor
  for field in ("srow_x", "srow_y", "srow_z"):
    header[field] *= factor
  for field in ("qoffset_x", "qoffset_y", "qoffset_z"):
    header[field] = header[field] * factor
  header["xyzt_units"] = units - units % 8 + _CODE_MM


def read_to_end(stream: Bytes, path: str | os.PathLike) -> None:
  """Reads what follows the values, so that gzip compares its checksum.

  Raises:
    UserError: so much follows that the header cannot be true.
  """
  surplus = len(stream.read(_SURPLUS))
  if surplus == _SURPLUS and stream.read(1):
    raise UserError(
      f"{path}: more than {_SURPLUS:,} bytes follow the values that its header "
      "claims"
    )


@contextlib.contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
  """Turns what reading a damaged file raises into one line with its name."""
  try:
    yield
  except FileNotFoundError as error:
    raise UserError(f"{path}: no such file") from error
  except UserError:
    raise
  # A damaged file may lead the libraries to raise anything.
  except Exception as error:
    raise UserError(
      f"{path}: damaged, or not a NIfTI file: {one_line(error)}"
    ) from error


@contextlib.contextmanager
def _quiet():
  """Silences nibabel, which logs the errors that it raises as well."""
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
  *,
  tolerance: float = _GRID_TOLERANCE,
) -> bool:
  """Whether two affines give voxels (x, y, slice) the same positions in mm.

  Args:
    shape: number of voxels along x, y and slices.
    affine: voxel index to RAS, [4, 4], mm.
    other: the same.
    tolerance: largest distance of equal corners, in voxels.
  """
  corners = np.stack(np.meshgrid(*((0, n - 1) for n in shape)), -1)
  positions, other_positions = (
    nibabel.affines.apply_affine(a, corners.reshape(-1, 3))
    for a in (affine, other)
  )
  tolerance_mm = tolerance * nibabel.affines.voxel_sizes(other).min()
  return bool(np.all(np.abs(positions - other_positions) <= tolerance_mm))
