"""Files and folders that appear under their name only when complete."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

from mrf_jax.errors import UserError

# Bytes that deflate, the compression of gzip, zip and HDF5, can make of one at
# the most: a header that claims more than the file can hold is damaged.
COMPRESSION = 1032

# Folder to the function that is told of every file or folder completed below.
_observers: dict[pathlib.Path, Callable[[pathlib.Path], None]] = {}


def observe(
  folder: pathlib.Path, function: Callable[[pathlib.Path], None]
) -> None:
  """Has a function told of what is completed below a folder, from now on.

  Args:
    folder: resolved; of folders inside each other the innermost is told.
    function: takes the path; one given before for the folder gives way.
  """
  _observers[folder] = function


def _completed(path: pathlib.Path) -> None:
  path = path.resolve()
  for folder in path.parents:
    if folder in _observers:
      _observers[folder](path)
      return


@contextlib.contextmanager
def writing_to(folder: str | os.PathLike) -> Iterator[pathlib.Path]:
  """The folder, made if it is not there; what fails in the block is named.

  Args:
    folder: where the block writes.

  Yields:
    The folder.

  Raises:
    UserError: the operating system refuses to write there.
  """
  folder = pathlib.Path(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
  except OSError as error:
    raise UserError(
      f"{folder}: cannot be written ({error.strerror or error})"
    ) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Temporary path beside `path`, renamed to it when the block succeeds.

  The temporary name keeps all suffixes, because libraries choose the format
  by them (`.nii.gz`). A failed block leaves the old file as it was.

  Args:
    path: the file to write; its directory exists.

  Yields:
    The name to write to.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
  try:
    yield temporary
    os.replace(temporary, path)
    _completed(path)
  finally:
    temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Temporary folder beside `path`, renamed to it when the block succeeds.

  A failed block leaves the old folder as it was; what killed processes left
  behind is removed.

  Args:
    path: the folder to write; folders above it are made.

  Yields:
    An empty folder to write to.
  """
  for leftover in path.parent.glob(f".{path.name}.*.tmp"):
    shutil.rmtree(leftover, ignore_errors=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    temporary.mkdir(parents=True)
    yield temporary
    shutil.rmtree(path, ignore_errors=True)
    os.replace(temporary, path)
    _completed(path)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
