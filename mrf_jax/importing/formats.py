"""Arrays of NIfTI, MATLAB and NumPy files, read in pieces, never unpickled."""

import contextlib
import dataclasses
import functools
import math
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator

import numpy as np

from mrf_jax.errors import UserError, one_line
from mrf_jax.io.claims import COMPRESSION, check_claim
from mrf_jax.io.matlab import open_matlab
from mrf_jax.io.nifti import Place, open_nifti, place_of, read_to_end


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
  """An array of real or complex numbers in a file.

  Attributes:
    path: the file, and the variable in it, for messages.
    shape: of the whole array.
    dtype: of its numbers as they are read.
    slowest: the axis along which the file is read in pieces.
    pieces: reads the array in pieces of so many indices along that axis.
    place: of the first three axes; None if the format does not have one.
  """

  path: str
  shape: tuple[int, ...]
  dtype: np.dtype
  slowest: int
  pieces: Callable[[int], Iterator[np.ndarray]]
  place: Place | None = None

  def whole(self) -> np.ndarray:
    """The whole array, in memory."""
    step = self.shape[self.slowest]
    return np.concatenate([*self.pieces(step)], self.slowest)


@dataclasses.dataclass(frozen=True)
class _Wanted:
  """What is looked for in a file of several arrays.

  Attributes:
    variable: its name, or None.
    least_axes: axes, longer than one, that it has at least.
    flag: that names it.
  """

  variable: str | None
  least_axes: int
  flag: str


def open_stored(
  path: str | os.PathLike,
  *,
  variable: str | None = None,
  least_axes: int = 3,
  flag: str = "--variable",
) -> Stored:
  """Opens an array in a NIfTI, MATLAB or NumPy file without reading it.

  Args:
    path: `.nii`, `.nii.gz`, `.mat`, `.npy` or `.npz`.
    variable: of a MATLAB or `.npz` file; None if only one of its variables
      has enough axes.
    least_axes: axes, longer than one, of what is looked for.
    flag: that names the variable.

  Returns:
    The array; reading it may still raise `UserError`.

  Raises:
    UserError: there is no such file, it is damaged, claims more than it can
      hold, or has no such variable.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    what = "is a folder" if path.is_dir() else "there is no such file"
    raise UserError(f"{path}: {what}")
  name = path.name.lower()
  if name.endswith((".nii", ".nii.gz")):
    opener = _open_nifti
  elif name.endswith(".mat"):
    opener = _open_matlab
  elif name.endswith(".npy"):
    opener = _open_npy
  elif name.endswith(".npz"):
    opener = _open_npz
  else:
    raise UserError(
      f"{path}: the name does not end in .nii, .nii.gz, .mat, .npy or .npz"
    )
  if variable is not None and opener in (_open_nifti, _open_npy):
    raise UserError(f"{path}: holds one array, no variable {variable!r}")
  with _naming(path):
    stored = opener(path, _Wanted(variable, least_axes, flag))
    if not stored.shape or not math.prod(stored.shape):
      raise UserError(f"{stored.path}: the array is empty, {stored.shape}")
    if stored.dtype.kind not in "iufc":
      raise UserError(
        f"{stored.path}: holds {stored.dtype}, not real or complex numbers"
      )

  def pieces(step: int) -> Iterator[np.ndarray]:
    with _naming(path):
      yield from stored.pieces(step)

  return dataclasses.replace(stored, pieces=pieces)


@contextlib.contextmanager
def _naming(path: pathlib.Path) -> Iterator[None]:
  """Turns what reading a damaged file raises into one line with its name."""
  try:
    yield
  except UserError:
    raise
  # A damaged file may lead the libraries to raise anything.
  except Exception as error:
    raise UserError(
      f"{path}: cannot be read, damaged or cut short ({one_line(error)})"
    ) from error


def _open_nifti(path: pathlib.Path, wanted: _Wanted) -> Stored:
  """A volume series with the format's axes: x, y, slice, frame."""
  del wanted
  with open_nifti(path) as (header, _):
    shape = _without_vectors(tuple(map(int, header.get_data_shape())))
    dtype = header.get_data_dtype()
    offset = header.get_data_offset()
  slope, intercept = header.get_slope_inter()
  scaled = slope is not None and (slope, intercept or 0.0) != (1.0, 0.0)
  row_bytes = math.prod(shape[:-1]) * dtype.itemsize

  def pieces(step: int) -> Iterator[np.ndarray]:
    with open_nifti(path) as (_, stream):
      stream.seek(offset)
      for start in range(0, shape[-1], step):
        n_rows = min(step, shape[-1] - start)
        n_bytes = n_rows * row_bytes
        data = stream.read(n_bytes)
        if len(data) < n_bytes:
          raise EOFError(f"{len(data)} of {n_bytes} bytes")
        values = np.frombuffer(data, dtype)
        values = values.reshape((*shape[:-1], n_rows), order="F")
        yield values * slope + (intercept or 0.0) if scaled else values
      read_to_end(stream, path)

  return Stored(
    path=str(path),
    shape=shape,
    dtype=np.dtype(np.float64) if scaled and dtype.kind != "c" else dtype,
    slowest=len(shape) - 1,
    pieces=pieces,
    place=place_of(header),
  )


def _without_vectors(shape: tuple[int, ...]) -> tuple[int, ...]:
  """A shape without the axis of time of length one before that of vectors.

  Programs that take the images of a series for vectors write x, y, z, 1, image.
  Two vector components are real and imaginary part of one image.
  """
  has_vectors = len(shape) == 5 and shape[3] == 1 and shape[4] > 2
  return (*shape[:3], shape[4]) if has_vectors else shape


def _open_npy(path: pathlib.Path, wanted: _Wanted) -> Stored:
  """A single array, mapped into memory."""
  del wanted
  # NumPy would run code of the file to read objects, so they are an error.
  array = np.load(path, mmap_mode="r", allow_pickle=False)
  return _in_memory(str(path), array)


def _open_npz(path: pathlib.Path, wanted: _Wanted) -> Stored:
  """One of the variables in a zip file."""
  shapes = {}
  with zipfile.ZipFile(path) as archive:
    for info in archive.infolist():
      with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        header = (
          np.lib.format.read_array_header_1_0
          if version == (1, 0)
          else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(member)
      name = info.filename.removesuffix(".npy")
      shapes[name] = (shape, dtype)
      held_bytes = min(info.file_size, COMPRESSION * path.stat().st_size)
      check_claim(f"{path}: {name}", shape, dtype.itemsize, held_bytes)
  name = _choose(path, wanted, shapes)
  with np.load(path, allow_pickle=False) as loaded:
    return _in_memory(f"{path}: {name}", loaded[name])


def _open_matlab(path: pathlib.Path, wanted: _Wanted) -> Stored:
  """A variable of a MATLAB file; those of version 7.3 are read in pieces."""
  file = open_matlab(path)
  numbers = {
    name: (known.shape, known.dtype)
    for name, known in file.variables.items()
    if known.dtype is not None and known.dtype.kind in "iufc"
  }
  variable = wanted.variable
  if variable in file.variables and variable not in numbers:
    kind = file.variables[variable].kind
    raise UserError(f"{path}: {variable} holds {kind}, not numbers")
  name = _choose(path, wanted, numbers)
  file.check(name)
  if not file.is_hdf5:
    return _in_memory(f"{path}: {name}", file.read(name))
  shape, dtype = numbers[name]
  return Stored(
    path=f"{path}: {name}",
    shape=shape,
    dtype=dtype,
    slowest=len(shape) - 1,
    pieces=functools.partial(file.pieces, name),
  )


def _in_memory(path: str, array: np.ndarray) -> Stored:
  """An array that NumPy has read, or mapped into memory."""
  slowest = int(np.argmax(np.abs(array.strides))) if array.ndim else 0

  def pieces(step: int) -> Iterator[np.ndarray]:
    for start in range(0, array.shape[slowest], step):
      rows = slice(start, start + step)
      yield np.asarray(array[(slice(None),) * slowest + (rows,)])

  return Stored(path, array.shape, array.dtype, slowest, pieces)


def _choose(path, wanted: _Wanted, known: dict) -> str:
  """The variable that was asked for, or the only one that can be it."""
  variable = wanted.variable
  if variable is not None:
    if variable not in known:
      raise UserError(
        f"{path}: no array {variable!r}; it has {', '.join(known) or 'none'}"
      )
    return variable
  wide = [
    name
    for name, (shape, dtype) in known.items()
    if sum(n > 1 for n in shape) >= wanted.least_axes and dtype.kind in "iufc"
  ]
  if len(wide) != 1:
    raise UserError(
      f"{path}: {len(wide)} of its arrays ({', '.join(known) or 'none'}) could "
      f"be it; {wanted.flag} names the variable"
    )
  return wide[0]
