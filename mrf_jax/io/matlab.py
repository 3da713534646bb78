"""Variables of MATLAB files of any version, which may come from anywhere.

SciPy reads the files before version 7.3, h5py those of version 7.3, which are
HDF5. `mat73` and `pymatreader` were looked at: they load variables whole, where
a series needs pieces, and do not check what a damaged file claims.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import h5py
import numpy as np

from mrf_jax.errors import UserError, one_line
from mrf_jax.io.claims import COMPRESSION, check_claim
from mrf_jax.io.hdf5 import check_dataset, check_links
from mrf_jax.io.untrusted import HDF5, MATLAB, time_limit, try_file


@dataclasses.dataclass(frozen=True)
class MatlabVariable:
  """Description of a variable that is not read yet.

  Attributes:
    shape: in MATLAB's order of axes.
    dtype: of its numbers as they are read, but of the real part for complex
      numbers before version 7.3; None where it does not hold numbers.
    kind: what it holds, in MATLAB's words or those of HDF5.
  """

  shape: tuple[int, ...]
  dtype: np.dtype | None
  kind: str


@dataclasses.dataclass(frozen=True)
class MatlabFile:
  """A MATLAB file whose structure is sound, and whose values are not read yet.

  Attributes:
    path: the file.
    is_hdf5: whether it is of version 7.3, and can be read in pieces.
    variables: the variables by name.
  """

  path: pathlib.Path
  is_hdf5: bool
  variables: dict[str, MatlabVariable]

  def check(self, name: str) -> None:
    """Raises `UserError` if numbers claim more than the file can hold."""
    with _naming(self.path):
      if self.is_hdf5:
        with time_limit(self.path), h5py.File(self.path) as file:
          check_dataset(file[name])
        return
      variable = self.variables[name]
      assert variable.dtype is not None
      held_bytes = COMPRESSION * self.path.stat().st_size
      check_claim(name, variable.shape, variable.dtype.itemsize, held_bytes)

  def read(self, name: str) -> np.ndarray:
    """All values of a variable of numbers, in MATLAB's order of axes.

    Raises:
      UserError: it is damaged, or claims more than the file can hold.
    """
    from scipy import io

    self.check(name)
    with _naming(self.path):
      if not self.is_hdf5:
        return io.loadmat(self.path, variable_names=[name])[name]
      variable = self.variables[name]
      # What is stored of an empty variable is its shape.
      if 0 in variable.shape:
        return np.empty(variable.shape)
      with time_limit(self.path), h5py.File(self.path) as file:
        return _in_matlab_order(file[name][()], variable.dtype)

  def pieces(self, name: str, step: int) -> Iterator[np.ndarray]:
    """Numbers of version 7.3 in pieces of `step` indices along the last axis.

    Raises:
      UserError: a piece is damaged.
    """
    variable = self.variables[name]
    with _naming(self.path), h5py.File(self.path) as file:
      for start in range(0, variable.shape[-1], step):
        with time_limit(self.path):
          values = file[name][start : start + step]
        yield _in_matlab_order(values, variable.dtype)


def open_matlab(path: str | os.PathLike) -> MatlabFile:
  """A MATLAB file of any version with a description of its variables.

  Raises:
    UserError: there is no such file, it is damaged, or a name in it is a link.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise UserError(f"{path}: there is no such file")
  with _naming(path):
    is_hdf5 = h5py.is_hdf5(path)
    try_file(path, HDF5 if is_hdf5 else MATLAB)
    describe = _hdf5_variables if is_hdf5 else _scipy_variables
    return MatlabFile(path, is_hdf5, describe(path))


@contextlib.contextmanager
def _naming(path: pathlib.Path) -> Iterator[None]:
  """Turns what reading a damaged file raises into one line with its name."""
  try:
    yield
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  # A damaged file may lead the libraries to raise anything.
  except Exception as error:
    raise UserError(
      f"{path}: not a MATLAB file, or cut short ({one_line(error)})"
    ) from error


def _scipy_variables(path: pathlib.Path) -> dict[str, MatlabVariable]:
  """The variables of a file before version 7.3."""
  from scipy import io

  return {
    name: MatlabVariable(tuple(shape), _number_type(kind), kind)
    for name, shape, kind in io.whosmat(path)
    if not name.startswith("__")
  }


def _number_type(kind: str) -> np.dtype | None:
  """NumPy's type for the numbers of a MATLAB class."""
  if kind in ("single", "double") or kind.startswith(("int", "uint")):
    return np.dtype(kind)
  return np.dtype(bool) if kind == "logical" else None


def _hdf5_variables(path: pathlib.Path) -> dict[str, MatlabVariable]:
  """The variables of a file of version 7.3; structures are not among them."""
  with time_limit(path), h5py.File(path) as file:
    check_links(file)
    return {
      name: _hdf5_variable(item)
      for name, item in file.items()
      if isinstance(item, h5py.Dataset)
    }


def _hdf5_variable(dataset: h5py.Dataset) -> MatlabVariable:
  """A variable whose axes are stored in reverse."""
  dtype = dataset.dtype
  if dataset.is_virtual or dataset.external:
    return MatlabVariable((), None, "values of another file")
  if dtype.names == ("real", "imag"):
    dtype = np.result_type(dtype["real"], np.complex64)
  is_number = dtype.kind in "iufcb"
  shape = dataset.shape
  return MatlabVariable(
    (0,) if shape is None or _is_empty(dataset) else shape[::-1],
    dtype if is_number else None,
    str(dtype),
  )


def _is_empty(dataset: h5py.Dataset) -> bool:
  """Whether MATLAB marked a variable as empty; its values are its shape."""
  if "MATLAB_empty" not in dataset.attrs:
    return False
  mark = dataset.attrs.get_id("MATLAB_empty")
  is_count = mark.dtype.kind in "iu" and mark.shape == ()
  return is_count and bool(dataset.attrs["MATLAB_empty"])


def _in_matlab_order(values: np.ndarray, dtype: np.dtype | None) -> np.ndarray:
  """Stored values as numbers; complex ones are pairs (real, imag) in HDF5."""
  if values.dtype.names:
    values = values["real"] + 1j * values["imag"]
  return values.astype(dtype, copy=False).T
