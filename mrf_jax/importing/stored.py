"""Arrays in files of several formats, read piece by piece, never unpickled."""

import contextlib
import dataclasses
import math
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator

import h5py
import numpy as np
import scipy.io

from mrf_jax.errors import UserError, one_line
from mrf_jax.io.claims import COMPRESSION, check_claim
from mrf_jax.io.hdf5 import check_links
from mrf_jax.io.nifti import open_nifti, read_to_end
from mrf_jax.io.untrusted import HDF5, MATLAB, time_limit, try_file

_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
  """An array of real or complex numbers in a file.

  Attributes:
    path: the file, and the variable in it, for messages.
    shape: of the whole array.
    dtype: of its numbers, as they are given out.
    slowest: the axis along which the file is read in pieces.
    pieces: reads them, of so many indices along that axis, one after another.
    affine: index of the first three axes to RAS, [4, 4], mm; None where the
      format has none.
  """

  path: str
  shape: tuple[int, ...]
  dtype: np.dtype
  slowest: int
  pieces: Callable[[int], Iterator[np.ndarray]]
  affine: np.ndarray | None = None


def open_stored(
  path: str | os.PathLike, *, variable: str | None = None
) -> Stored:
  """An array in a NIfTI, MATLAB (v5 or v7.3) or NumPy file, yet unread.

  Args:
    path: `.nii`, `.nii.gz`, `.mat`, `.npy` or `.npz`.
    variable: of a MATLAB or `.npz` file; None where it has but one that could
      be a series.

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
    opener = _open_hdf5 if h5py.is_hdf5(path) else _open_matlab
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
    stored = opener(path, variable)
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
  # Whatever a damaged file leads the libraries to.
  except Exception as error:
    raise UserError(
      f"{path}: cannot be read, damaged or cut short ({one_line(error)})"
    ) from error


def _open_nifti(path: pathlib.Path, variable: str | None) -> Stored:
  """A volume series; its axes are x, y, slice, frame as the format has them."""
  del variable
  with open_nifti(path) as (header, _):
    shape = tuple(map(int, header.get_data_shape()))
    dtype = header.get_data_dtype()
    offset = header.get_data_offset()
  slope, intercept = header.get_slope_inter()
  scaled = slope is not None and (slope, intercept or 0.0) != (1.0, 0.0)
  row_bytes = math.prod(shape[:-1]) * dtype.itemsize

  def pieces(step: int) -> Iterator[np.ndarray]:
    with open_nifti(path) as (_, stream):
      stream.seek(offset)
      for start, stop in _steps(shape[-1], step):
        wanted = (stop - start) * row_bytes
        data = stream.read(wanted)
        if len(data) < wanted:
          raise EOFError(f"{len(data)} of {wanted} bytes")
        values = np.frombuffer(data, dtype)
        values = values.reshape((*shape[:-1], stop - start), order="F")
        yield values * slope + (intercept or 0.0) if scaled else values
      read_to_end(stream, path)

  unit = header.get_xyzt_units()[0]
  scale = np.diag([*[_MM.get(unit, 1.0)] * 3, 1.0])
  return Stored(
    path=str(path),
    shape=shape,
    dtype=np.dtype(np.float64) if scaled and dtype.kind != "c" else dtype,
    slowest=len(shape) - 1,
    pieces=pieces,
    affine=scale @ np.asarray(header.get_best_affine(), np.float64),
  )


def _open_npy(path: pathlib.Path, variable: str | None) -> Stored:
  """A single array, mapped into memory."""
  del variable
  # Objects are refused: their reading would run code that the file brings.
  array = np.load(path, mmap_mode="r", allow_pickle=False)
  return _in_memory(str(path), array)


def _open_npz(path: pathlib.Path, variable: str | None) -> Stored:
  """A variable of several in a zip file."""
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
      held = min(info.file_size, COMPRESSION * path.stat().st_size)
      check_claim(f"{path}: {name}", shape, dtype.itemsize, held)
  name = _choose(path, variable, shapes)
  with np.load(path, allow_pickle=False) as loaded:
    return _in_memory(f"{path}: {name}", loaded[name])


def _open_matlab(path: pathlib.Path, variable: str | None) -> Stored:
  """A variable of a file before version 7.3."""
  try_file(path, MATLAB)
  known = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
  numbers = {
    name: (shape, np.dtype(kind))
    for name, (shape, kind) in known.items()
    if kind in ("single", "double") or kind.startswith(("int", "uint"))
  }
  if variable in known and variable not in numbers:
    raise UserError(
      f"{path}: {variable} is of class {known[variable][1]}, no numbers"
    )
  name = _choose(path, variable, numbers)
  shape, dtype = numbers[name]
  held = COMPRESSION * path.stat().st_size
  check_claim(f"{path}: {name}", shape, dtype.itemsize, held)
  loaded = scipy.io.loadmat(path, variable_names=[name])[name]
  return _in_memory(f"{path}: {name}", loaded)


def _open_hdf5(path: pathlib.Path, variable: str | None) -> Stored:
  """A variable of a MATLAB file of version 7.3, whose axes are reversed."""
  try_file(path, HDF5)
  with time_limit(path), h5py.File(path) as file:
    try:
      check_links(file)
    except UserError as error:
      raise UserError(f"{path}: {error}") from error
    known = {
      name: (item.shape[::-1], _number_type(item.dtype))
      for name, item in file.items()
      if isinstance(item, h5py.Dataset) and item.shape and _is_own(item)
    }
  name = _choose(path, variable, known)
  shape, dtype = known[name]
  held = COMPRESSION * path.stat().st_size
  check_claim(f"{path}: {name}", shape, dtype.itemsize, held)

  def pieces(step: int) -> Iterator[np.ndarray]:
    with h5py.File(path) as file:
      for start, stop in _steps(shape[-1], step):
        with time_limit(path):
          values = file[name][start:stop]
        if values.dtype.names:
          values = values["real"] + 1j * values["imag"]
        yield values.astype(dtype, copy=False).T

  return Stored(
    path=f"{path}: {name}",
    shape=shape,
    dtype=dtype,
    slowest=len(shape) - 1,
    pieces=pieces,
  )


def _is_own(dataset: h5py.Dataset) -> bool:
  """Whether its values lie in the file."""
  return not (dataset.is_virtual or dataset.external)


def _number_type(dtype: np.dtype) -> np.dtype:
  """What is given out of a stored type; MATLAB's complex is a pair."""
  if dtype.names == ("real", "imag"):
    return np.result_type(dtype["real"], np.complex64)
  return dtype


def _in_memory(path: str, array: np.ndarray) -> Stored:
  """An array that numpy holds, or has mapped."""
  slowest = int(np.argmax(np.abs(array.strides))) if array.ndim else 0

  def pieces(step: int) -> Iterator[np.ndarray]:
    for start, stop in _steps(array.shape[slowest], step):
      yield np.asarray(array[(slice(None),) * slowest + (slice(start, stop),)])

  return Stored(path, array.shape, array.dtype, slowest, pieces)


def _steps(n_rows: int, step: int) -> Iterator[tuple[int, int]]:
  """First index and last, exclusive, of each piece."""
  for start in range(0, n_rows, step):
    yield start, min(start + step, n_rows)


def _choose(path, variable: str | None, known: dict) -> str:
  """The variable that is asked for, or the only one with several axes."""
  if variable is not None:
    if variable not in known:
      raise UserError(
        f"{path}: no array {variable!r}; it has {', '.join(known) or 'none'}"
      )
    return variable
  wide = [
    name
    for name, (shape, dtype) in known.items()
    if sum(n > 1 for n in shape) >= 3 and dtype.kind in "iufc"
  ]
  if len(wide) != 1:
    raise UserError(
      f"{path}: {len(wide)} of its arrays ({', '.join(known) or 'none'}) could "
      "be the series; name the variable"
    )
  return wide[0]
