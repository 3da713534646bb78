"""Small changes that bad inputs are made of."""

import os
import pathlib
from collections.abc import Callable

import h5py
import numpy as np

# Takes the path of a sound file, or a bundle, and leaves a bad one there.
Damage = Callable[[pathlib.Path], object]


def with_one(values: np.ndarray, value: float) -> np.ndarray:
  values = values.copy()
  values.flat[values.size // 2] = value
  return values


def with_bytes(change: Callable[[bytes], bytes]) -> Damage:
  """A change of all bytes of a file."""
  return lambda path: path.write_bytes(change(path.read_bytes()))


def patched(offset: int, data: bytes) -> Damage:
  """Other bytes at a place in a file."""
  end = offset + len(data)
  return with_bytes(lambda found: found[:offset] + data + found[end:])


def flip(path: pathlib.Path) -> None:
  """One bit in the middle."""
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 4
  path.write_bytes(data)


def cut(path: pathlib.Path) -> None:
  """Half of it is lost."""
  os.truncate(path, path.stat().st_size // 2)


def to_folder(path: pathlib.Path) -> None:
  """A folder has its name."""
  path.unlink()
  path.mkdir()


def to_nowhere(path: pathlib.Path) -> None:
  """A link to nowhere has its name."""
  path.unlink()
  path.symlink_to("nowhere")


def edited(function: Callable[[h5py.File], object]) -> Damage:
  """A change by the library that wrote the file."""

  def edit(path):
    with h5py.File(path, "r+") as file:
      function(file)

  return edit


def replace(file: h5py.File, name: str, values) -> None:
  attributes = dict(file[name].attrs)
  attributes.pop("crc32", None)
  del file[name]
  file.create_dataset(name, data=values).attrs.update(attributes)


def to_group(file, name) -> None:
  del file[name]
  file.create_group(name)


def to_huge(file, name) -> None:
  dtype = file[name].dtype
  del file[name]
  file.create_dataset(name, (1 << 22, 1 << 22), dtype, chunks=(64, 64))


def hdf5_content(path: pathlib.Path) -> dict:
  """Attributes and values of all that an HDF5 file has, by their names."""
  found = {}

  def visit(name, item):
    found[name] = sorted((k, repr(v)) for k, v in item.attrs.items())
    if isinstance(item, h5py.Dataset):
      found[name, "values"] = (item.dtype, item.shape, item[()].tobytes())

  with h5py.File(path) as file:
    visit("/", file)
    file.visititems(visit)
  return found
