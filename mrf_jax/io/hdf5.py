"""Checks of untrusted HDF5 files: links, claimed sizes, checksums."""

import contextlib
import os
import zlib
from collections.abc import Iterator

import h5py
import numpy as np

from mrf_jax.checks import check_finite
from mrf_jax.errors import UserError, one_line
from mrf_jax.io.claims import COMPRESSION, check_claim
from mrf_jax.io.untrusted import HDF5, groups, time_limit, try_file

_CHECKSUM = "crc32"
# Bytes that are read, then checked, at once.
_BLOCK_BYTES = 1 << 20
# How a file refers to a list of variable length: its length and its place.
_LIST = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])


@contextlib.contextmanager
def open_hdf5(
  path: str | os.PathLike, *, limited: bool = False
) -> Iterator[h5py.File]:
  """An untrusted file, open for reading; what its readers raise names it.

  Args:
    path: the file.
    limited: the block must come to an end within `time_limit`.

  Raises:
    UserError: there is no such file, it is damaged, or the block raised it.
  """
  try:
    try_file(path, HDF5)
    limit = time_limit(path) if limited else contextlib.nullcontext()
    with limit, h5py.File(path, "r") as file:
      yield file
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  except FileNotFoundError as error:
    raise UserError(f"{path}: there is no such file") from error
  except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      f"{path}: not a readable HDF5 file, or cut short ({one_line(error)})"
    ) from error


def check_links(file: h5py.File) -> None:
  """Raises `UserError` if a name in a file is a soft or an external link.

  Names are checked two levels deep, which is as deep as subject, ISMRMRD and
  MATLAB files are read.
  """
  for group in groups(file, h5py):
    for name in group:
      link = group.get(name, getlink=True)
      if isinstance(link, h5py.ExternalLink):
        raise UserError(
          f"{name} is a link to another file ({link.filename!r}), which is not "
          "followed"
        )
      if isinstance(link, h5py.SoftLink):
        raise UserError(f"{name} is a link ({link.path!r}), not followed")


def check_dataset(dataset: h5py.Dataset) -> None:
  """Checks, before it is read, that a dataset is what its file can hold.

  Raises:
    UserError: its values are in other files, or it claims more than this file
      can hold.
  """
  name = dataset.name
  if dataset.is_virtual or dataset.external:
    raise UserError(f"{name} takes its values from other files; not followed")
  file_bytes = os.path.getsize(dataset.file.filename)
  is_packed = dataset.id.get_create_plist().get_nfilters() > 0
  held_bytes = (COMPRESSION if is_packed else 1) * file_bytes
  check_claim(name, dataset.shape or (0,), dataset.dtype.itemsize, held_bytes)
  listed_bytes = _listed_bytes(dataset)
  if listed_bytes > file_bytes:
    raise UserError(
      f"{name} claims lists of {listed_bytes:,} bytes in a file of "
      f"{file_bytes:,}"
    )


def _listed_bytes(dataset: h5py.Dataset) -> int:
  """Bytes that the lists and texts in a dataset claim to hold.

  Each element holds a length and the place of its values. HDF5 allocates memory
  for the length before it looks at the place.
  """
  kind = dataset.id.get_type()
  lists = _lists(dataset.name, kind)
  if not lists:
    return 0
  is_compound = isinstance(kind, h5py.h5t.TypeCompoundID)
  size = kind.get_size() if is_compound else _LIST.itemsize
  settings = dataset.file.id.get_create_plist()
  if settings.get_sizes()[0] != 8:
    raise UserError(f"{dataset.name}: addresses need 8 bytes")
  total = 0
  for elements in _stored_elements(dataset, size):
    for place, item_bytes in lists:
      heads = elements[:, place : place + _LIST.itemsize].copy().view(_LIST)
      total += int(heads["length"].sum(dtype=np.uint64)) * item_bytes
  return total


def _lists(
  name: str, kind: h5py.h5t.TypeID, place: int = 0
) -> list[tuple[int, int]]:
  """Offsets of the lists and texts in an element, and bytes of their items."""
  if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
    return [(place, 1)]
  if isinstance(kind, h5py.h5t.TypeVlenID):
    item = kind.get_super()
    if item.detect_class(h5py.h5t.VLEN) or _has_texts(item):
      raise UserError(f"{name} holds lists of lists, which are not read")
    return [(place, item.get_size())]
  if isinstance(kind, h5py.h5t.TypeCompoundID):
    return [
      member
      for number in range(kind.get_nmembers())
      for member in _lists(
        name,
        kind.get_member_type(number),
        place + kind.get_member_offset(number),
      )
    ]
  if kind.detect_class(h5py.h5t.VLEN) or _has_texts(kind):
    raise UserError(f"{name} holds arrays of lists, which are not read")
  return []


def _has_texts(kind: h5py.h5t.TypeID) -> bool:
  """Whether a type that is not compound has texts of variable length."""
  if isinstance(kind, h5py.h5t.TypeArrayID):
    kind = kind.get_super()
  return isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()


def _stored_elements(dataset: h5py.Dataset, size: int) -> list[np.ndarray]:
  """Elements of a dataset as the file stores them, [element, byte] a block."""
  places: list[tuple[int, int]] = []
  if dataset.chunks is None:
    layout = dataset.id.get_create_plist().get_layout()
    offset = dataset.id.get_offset()
    if layout == h5py.h5d.COMPACT and dataset.size:
      raise UserError(
        f"{dataset.name}: lists within a header are not read; "
        "h5repack -l CONTI moves them out of it"
      )
    if offset is not None:
      places.append((offset, dataset.size * size))
  else:
    if dataset.id.get_create_plist().get_nfilters():
      raise UserError(
        f"{dataset.name}: lists behind filters are not read; "
        "h5repack -f NONE removes the filters"
      )
    dataset.id.chunk_iter(
      lambda chunk: places.append((chunk.byte_offset, chunk.size))
    )
  blocks = []
  file_bytes = os.path.getsize(dataset.file.filename)
  with open(dataset.file.filename, "rb") as file:
    for offset, n_bytes in places:
      file.seek(offset)
      data = file.read(min(n_bytes, file_bytes))
      whole = len(data) // size * size
      blocks.append(np.frombuffer(data[:whole], np.uint8).reshape(-1, size))
  return blocks


def write_checked(group: h5py.Group, name: str, values: np.ndarray) -> None:
  """Writes an array with its checksum; missing groups above it are created."""
  dataset = group.create_dataset(name, data=values)
  dataset.attrs[_CHECKSUM] = np.uint32(_checksum(values))


def read_checked(dataset: h5py.Dataset, out: np.ndarray, *, name: str) -> None:
  """Reads an array of real or complex numbers, and compares its checksum.

  Blocks of rows are checked while a cache holds them, so that memory is written
  and read once.

  Args:
    dataset: the dataset.
    out: array of its shape and type, in C order, for the values.
    name: what messages call them.

  Raises:
    UserError: a value is not finite, or was changed after it was written.
  """
  n_rows = len(out)
  if dataset.chunks is None:
    n_rows = max(1, _BLOCK_BYTES // max(1, out[:1].nbytes))
  checksum, are_finite = 0, True
  for start in range(0, len(out), n_rows):
    rows = np.s_[start : min(start + n_rows, len(out))]
    dataset.read_direct(out, rows, rows)
    checksum = _checksum(out[rows], checksum)
    are_finite = are_finite and bool(np.isfinite(out[rows]).all())
  if not are_finite:
    check_finite(name, out)
  _check_checksum(dataset, checksum)


def check_unchanged(dataset: h5py.Dataset, values: np.ndarray) -> None:
  """Raises `UserError` if a dataset has a checksum that its values have not."""
  _check_checksum(dataset, _checksum(values))


def _check_checksum(dataset: h5py.Dataset, checksum: int) -> None:
  """Raises `UserError` if a dataset has another checksum than this."""
  stored = dataset.attrs.get(_CHECKSUM)
  if stored is not None and not np.array_equal(stored, checksum):
    raise UserError(
      f"{dataset.name} was changed after it was written; if on purpose, delete "
      f"its attribute {_CHECKSUM}"
    )


def _checksum(values: np.ndarray, before: int = 0) -> int:
  """CRC-32 of an array's bytes, after those that have the checksum `before`."""
  data = np.ascontiguousarray(values).reshape(-1)
  return zlib.crc32(data.view(np.uint8).data, before)
