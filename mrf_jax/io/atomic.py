"""Files and folders that appear under their name only when complete."""

import contextlib
import errno
import glob
import os
import pathlib
import resource
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator

from mrf_jax.errors import UserError, reason

# After so long without a word from another host, what it was writing is
# nobody's.
_ABANDONED_S = 24 * 3600
_HOST = socket.gethostname().replace("-", "_")

# Folder to the function that is told of every file or folder completed below,
# and of every file removed.
_Observer = Callable[[pathlib.Path | None, pathlib.Path], None]
_observers: dict[pathlib.Path, _Observer] = {}


def observe(folder: pathlib.Path, function: _Observer) -> None:
  """Has a function told of what is completed below a folder, from now on.

  Args:
    folder: resolved; of folders inside each other the innermost is told.
    function: takes where the complete file or folder lies, and the path that
      it will have in a moment; or None, and the path of a file that is to go;
      one given before for the folder gives way.
  """
  _observers[folder] = function


def remove(path: str | os.PathLike) -> None:
  """Removes a file that has become untrue, if it is there.

  Args:
    path: the file.

  Raises:
    UserError: a folder has the name.
  """
  path = pathlib.Path(path)
  _refuse_folder(path)
  if os.path.lexists(path):
    _tell(None, path)
    path.unlink()


def _tell(temporary: pathlib.Path | None, path: pathlib.Path) -> None:
  """Tells the observer of what is below its folder, by its name there."""
  # A folder below may be a link to another disk.
  for folder in path.absolute().parents:
    root = folder.resolve()
    if root in _observers:
      _observers[root](temporary, root / path.absolute().relative_to(folder))
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
  disk = shutil.disk_usage(folder)
  # Some file systems of the system itself have no size.
  if disk.total and n_bytes > disk.free:
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
  _refuse_folder(path)
  for leftover in path.parent.glob(f".tmp-*-{glob.escape(path.name)}"):
    if not _is_written(leftover):
      leftover.unlink(missing_ok=True)
  temporary = path.with_name(f".tmp-{_owner()}-{path.name}")
  try:
    yield temporary
    _to_disk(temporary)
    _tell(temporary, path)
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def _refuse_folder(path: pathlib.Path) -> None:
  if path.is_dir():
    raise UserError(
      f"{path}: is a folder, where a file is to be written; remove {path}, and "
      "the same command writes it"
    )


@contextlib.contextmanager
def replacing_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Temporary folder beside `path`, renamed to it when the block succeeds.

  A failed block leaves the old folder as it was; what killed processes left
  behind is removed.

  Args:
    path: the folder to write; folders above it are made.

  Yields:
    An empty folder to write to.

  Raises:
    UserError: a file or a link has the name.
  """
  if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
    raise UserError(
      f"{path}: is no folder, where one is to be written; remove {path}, and "
      "the same command writes it"
    )
  # Written by one process at a time, which holds a lock further up.
  for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
    shutil.rmtree(leftover, ignore_errors=True)
  temporary = path.with_name(f".{path.name}.{_owner()}.tmp")
  old = path.with_name(f".{path.name}.{_owner()}.old.tmp")
  try:
    temporary.mkdir(parents=True)
    yield temporary
    for file in temporary.rglob("*"):
      if file.is_file():
        _to_disk(file)
    _tell(temporary, path)
    if path.exists():
      os.replace(path, old)
    os.replace(temporary, path)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
    if old.exists() and not path.exists():
      os.replace(old, path)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def replacing_files(
  folder: pathlib.Path, *, record: str, instead_of: Iterable[str] = ()
) -> Iterator[pathlib.Path]:
  """Temporary folder whose files move into `folder` when the block succeeds.

  A failed block leaves the old files as they were. A process that is killed
  while they move, which takes an instant, leaves a mixture without a record.

  Args:
    folder: it exists; other files in it stay.
    record: the file that says what the others are: the first of the old ones
      to go, the last of the new ones to come.
    instead_of: files in it that do not belong to the new ones.

  Yields:
    An empty folder to write to.

  Raises:
    UserError: a folder has the name of a file.
  """
  for leftover in folder.glob(".new-*"):
    if not _is_written(leftover):
      shutil.rmtree(leftover, ignore_errors=True)
  temporary = folder / f".new-{_owner()}"
  try:
    temporary.mkdir()
    yield temporary
    new = sorted(temporary.iterdir(), key=lambda f: (f.name == record, f.name))
    gone = [folder / name for name in (record, *instead_of)]
    for path in (*gone, *(folder / file.name for file in new)):
      _refuse_folder(path)
    for file in new:
      _to_disk(file)
    for path in gone:
      path.unlink(missing_ok=True)
    for file in new:
      os.replace(file, folder / file.name)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def is_unfinished(path: pathlib.PurePath) -> bool:
  """Whether a name, or that of a folder in it, is of what is being written.

  Args:
    path: from a folder on that is not.
  """
  return any(
    part.startswith((".tmp-", ".new-"))
    or (part.startswith(".") and part.endswith(".tmp"))
    for part in path.parts
  )


def _owner() -> str:
  """This process, in the names of what it has not finished."""
  return f"{os.getpid()}@{_HOST}"


def _is_written(unfinished: pathlib.Path) -> bool:
  """Whether a process writes there, or may: `.tmp-OWNER` or `.new-OWNER`."""
  pid, at, host = unfinished.name.split("-")[1].partition("@")
  if at and host != _HOST:
    with contextlib.suppress(OSError):
      return time.time() - unfinished.stat().st_mtime < _ABANDONED_S
    return False
  if not pid.isdecimal():
    return True
  # An earlier process may have had our number, as all do in some containers.
  return int(pid) != os.getpid() and _is_running(int(pid))


def _is_running(pid: int) -> bool:
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except (OverflowError, PermissionError):
    return True
  return True


def _to_disk(path: pathlib.Path) -> None:
  """Waits until a file outlives a power failure, and not its name alone."""
  with open(path, "rb") as file:
    os.fsync(file.fileno())
