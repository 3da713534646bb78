"""Files and folders that appear under their name only when complete."""

import contextlib
import errno
import glob
import os
import pathlib
import resource
import shutil
from collections.abc import Callable, Iterable, Iterator

from mrf_jax.errors import UserError, reason

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
    raise UserError(f"{folder}: cannot be written ({reason(error)})") from error


def check_room(folder: str | os.PathLike, n_bytes: int) -> None:
  """Refuses to begin a file that will not fit, where its writer cannot fail.

  HDF5 dies of a full disk, at the latest when the file is closed.

  Args:
    folder: of the file.
    n_bytes: that it will have.

  Raises:
    OSError: it is larger than the disk's room, or than files may be.
  """
  limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
  if limit not in (resource.RLIM_INFINITY, -1) and n_bytes > limit:
    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
  if n_bytes > shutil.disk_usage(folder).free:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Temporary path beside `path`, renamed to it when the block succeeds.

  The temporary name keeps all suffixes, because libraries choose the format
  by them (`.nii.gz`). A failed block leaves the old file as it was; what killed
  processes left behind is removed.

  Args:
    path: the file to write; its directory exists.

  Yields:
    The name to write to.

  Raises:
    UserError: a folder has the name.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    raise UserError(
      f"{path}: is a folder, where a file is to be written; remove {path}, and "
      "the same command writes it"
    )
  for leftover in path.parent.glob(f".tmp-*-{glob.escape(path.name)}"):
    if not _is_running(leftover.name.split("-")[1]):
      leftover.unlink(missing_ok=True)
  temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
  try:
    yield temporary
    _to_disk(temporary)
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
    for file in temporary.rglob("*"):
      if file.is_file():
        _to_disk(file)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(temporary, path)
    _completed(path)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def replacing_files(
  folder: pathlib.Path, *, instead_of: Iterable[str] = ()
) -> Iterator[pathlib.Path]:
  """Temporary folder whose files move into `folder` when the block succeeds.

  A failed block leaves the old files as they were.

  Args:
    folder: it exists; other files in it stay.
    instead_of: files in it that do not belong to the new ones.

  Yields:
    An empty folder to write to.
  """
  for leftover in folder.glob(".new-*"):
    if not _is_running(leftover.name.split("-")[1]):
      shutil.rmtree(leftover, ignore_errors=True)
  temporary = folder / f".new-{os.getpid()}"
  try:
    temporary.mkdir()
    yield temporary
    for name in instead_of:
      (folder / name).unlink(missing_ok=True)
    for file in sorted(temporary.iterdir()):
      os.replace(file, folder / file.name)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _is_running(pid: str) -> bool:
  """Whether a process lives, or may live: names of others are no numbers."""
  try:
    os.kill(int(pid), 0)
  except ProcessLookupError:
    return False
  except (ValueError, OverflowError, PermissionError):
    return True
  return True


def _to_disk(path: pathlib.Path) -> None:
  """Waits until a file outlives a power failure, and not its name alone."""
  with open(path, "rb") as file:
    os.fsync(file.fileno())
