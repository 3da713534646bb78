"""Small changes that bad inputs are made of."""

import pathlib
from collections.abc import Callable

import h5py
import numpy as np

# Takes the path of a sound file, or a bundle, and leaves a bad one there.
Damage = Callable[[pathlib.Path], None]


def with_one(values: np.ndarray, value: float) -> np.ndarray:
  values = values.copy()
  values.flat[values.size // 2] = value
  return values


def edited(function: Callable[[h5py.File], None]) -> Damage:
  """A change by the library that wrote the file."""

  def edit(path):
    with h5py.File(path, "r+") as file:
      function(file)

  return edit


def replace(file: h5py.File, name: str, values, **options) -> None:
  attributes = dict(file[name].attrs) if name in file else {}
  attributes.pop("crc32", None)
  if name in file:
    del file[name]
  dataset = file.create_dataset(name, data=values, **options)
  dataset.attrs.update(attributes)


def to_group(file, name) -> None:
  del file[name]
  file.create_group(name)


def to_huge(file, name) -> None:
  dtype = file[name].dtype
  del file[name]
  file.create_dataset(name, (1 << 22, 1 << 22), dtype, chunks=(64, 64))
