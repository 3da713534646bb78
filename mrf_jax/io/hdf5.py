"""What an HDF5 file of a stranger may not do: lead elsewhere, or claim much.

And what says whether one of ours is as it was written.
"""

import math
import os
import zlib

import h5py
import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.io.claims import COMPRESSION

_CHECKSUM = "crc32"
# How a list of any length lies in a file: how long it is, and where it is.
_LIST = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])


def check_links(file: h5py.File) -> None:
  """Refuses a file whose names lead out of it, or around in it.

  Args:
    file: an open file; names are looked at two levels deep, as deep as files
      of ours, of ISMRMRD and of MATLAB are read.

  Raises:
    UserError: there is a soft or an external link.
  """
  for group in (file, *_groups(file)):
    for name in group:
      link = group.get(name, getlink=True)
      if isinstance(link, h5py.ExternalLink):
        raise UserError(
          f"{name} is a link to another file ({link.filename!r}), which is not "
          "followed"
        )
      if isinstance(link, h5py.SoftLink):
        raise UserError(f"{name} is a link ({link.path!r}), not followed")


def _groups(file: h5py.File):
  for name in file:
    link = file.get(name, getlink=True)
    if isinstance(link, h5py.HardLink) and file.get(name, getclass=True) is (
      h5py.Group
    ):
      yield file[name]


def check_dataset(dataset: h5py.Dataset) -> None:
  """Refuses values that lie in other files, or more than this one can hold.

  Args:
    dataset: not read yet.

  Raises:
    UserError: it does one of these.
  """
  name = dataset.name
  if dataset.is_virtual or dataset.external:
    raise UserError(f"{name} takes its values from other files; not followed")
  claimed = math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize
  held = os.path.getsize(dataset.file.filename)
  packed = dataset.id.get_create_plist().get_nfilters() > 0
  if claimed > (COMPRESSION if packed else 1) * held:
    raise UserError(
      f"{name} claims {claimed:,} bytes, more than a file of {held:,} can hold"
    )
  listed = _listed_bytes(dataset)
  if listed > held:
    raise UserError(
      f"{name} claims lists of {listed:,} bytes in a file of {held:,}"
    )


def _listed_bytes(dataset: h5py.Dataset) -> int:
  """What the lists and texts in a dataset claim to hold.

  Each element says a length, and where its values lie; HDF5 asks for memory by
  the length before it looks there.
  """
  kind = dataset.id.get_type()
  lists = _lists(dataset.name, kind)
  if not lists:
    return 0
  whole = isinstance(kind, h5py.h5t.TypeCompoundID)
  size = kind.get_size() if whole else _LIST.itemsize
  settings = dataset.file.id.get_create_plist()
  if settings.get_sizes()[0] != 8:
    raise UserError(f"{dataset.name}: addresses of 8 bytes are wanted")
  total = 0
  for elements in _stored_elements(dataset, size):
    for place, item_bytes in lists:
      heads = elements[:, place : place + _LIST.itemsize].copy().view(_LIST)
      total += int(heads["length"].sum(dtype=np.uint64)) * item_bytes
  return total


def _lists(
  name: str, kind: h5py.h5t.TypeID, place: int = 0
) -> list[tuple[int, int]]:
  """Where the lists and texts of an element begin, and bytes of their items."""
  if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
    return [(place, 1)]
  if isinstance(kind, h5py.h5t.TypeVlenID):
    item = kind.get_super()
    if item.detect_class(h5py.h5t.VLEN) or _has_texts(item):
      raise UserError(f"{name} holds lists of lists, which are not read")
    return [(place, item.get_size())]
  if isinstance(kind, h5py.h5t.TypeCompoundID):
    return [
      found
      for number in range(kind.get_nmembers())
      for found in _lists(
        name,
        kind.get_member_type(number),
        place + kind.get_member_offset(number),
      )
    ]
  if kind.detect_class(h5py.h5t.VLEN) or _has_texts(kind):
    raise UserError(f"{name} holds arrays of lists, which are not read")
  return []


def _has_texts(kind: h5py.h5t.TypeID) -> bool:
  """Whether texts of any length are in a type, apart from its members."""
  if isinstance(kind, h5py.h5t.TypeArrayID):
    kind = kind.get_super()
  return isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()


def _stored_elements(dataset: h5py.Dataset, size: int) -> list[np.ndarray]:
  """Elements of a dataset as they lie in the file, [element, byte] each."""
  places: list[tuple[int, int]] = []
  if dataset.chunks is None:
    layout = dataset.id.get_create_plist().get_layout()
    offset = dataset.id.get_offset()
    if layout == h5py.h5d.COMPACT and dataset.size:
      raise UserError(
        f"{dataset.name}: lists within a header are not read; "
        "h5repack -l CONTI puts them elsewhere"
      )
    if offset is not None:
      places.append((offset, dataset.size * size))
  else:
    if dataset.id.get_create_plist().get_nfilters():
      raise UserError(
        f"{dataset.name}: lists behind filters are not read; "
        "h5repack -f NONE takes the filters off"
      )
    dataset.id.chunk_iter(
      lambda chunk: places.append((chunk.byte_offset, chunk.size))
    )
  found = []
  held = os.path.getsize(dataset.file.filename)
  with open(dataset.file.filename, "rb") as file:
    for offset, n_bytes in places:
      file.seek(offset)
      data = file.read(min(n_bytes, held))
      whole = len(data) // size * size
      found.append(np.frombuffer(data[:whole], np.uint8).reshape(-1, size))
  return found


def write_checked(group: h5py.Group, name: str, values: np.ndarray) -> None:
  """Writes an array with its checksum, for `check_unchanged`.

  Args:
    group: of a file that is open for writing.
    name: of the new dataset; groups above it are made.
    values: the array.
  """
  dataset = group.create_dataset(name, data=values)
  dataset.attrs[_CHECKSUM] = np.uint32(_checksum(values))


def check_unchanged(dataset: h5py.Dataset, values: np.ndarray) -> None:
  """Refuses values that are not those that `write_checked` wrote.

  Args:
    dataset: it may have no checksum, and is taken as it is then.
    values: all of it, as read.

  Raises:
    UserError: they differ, or the checksum is no number.
  """
  stored = dataset.attrs.get(_CHECKSUM)
  if stored is not None and not np.array_equal(stored, _checksum(values)):
    raise UserError(
      f"{dataset.name} was changed after it was written; if on purpose, delete "
      f"its attribute {_CHECKSUM}"
    )


def _checksum(values: np.ndarray) -> int:
  data = np.ascontiguousarray(values).reshape(-1)
  return zlib.crc32(data.view(np.uint8).data)
