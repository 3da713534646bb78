"""Atomic writing: files and folders get their name only when complete.

`atomicwrites` was looked at: it writes single files, and is unmaintained
(archived in 2022). Here folders and groups of files are replaced too, and what
killed processes left behind is removed.
"""

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

# What another host was writing is abandoned if it has not changed for so long.
_ABANDONED_S = 24 * 3600
_HOST = socket.gethostname().replace("-", "_")

# Folder to the function that is called for every file or folder that is
# completed below it, and for every file that is removed.
_Observer = Callable[[pathlib.Path | None, pathlib.Path], None]
_observers: dict[pathlib.Path, _Observer] = {}


def observe(folder: pathlib.Path, function: _Observer) -> None:
  """Calls a function for all that is completed below a folder, from now on.

  Args:
    folder: a resolved path. For folders inside each other, the function of the
      innermost one is called.
    function: called with the complete file or folder and the path that it will
      have in a moment, or with None and the path of a file that will be
      removed. It replaces an earlier function of the folder.
  """
  _observers[folder] = function


def remove(path: str | os.PathLike) -> None:
  """Removes a file that is no longer true, if it exists; never a folder."""
  path = pathlib.Path(path)
  _check_no_folder(path)
  if os.path.lexists(path):
    _call_observer(None, path)
    path.unlink()


def _call_observer(temporary: pathlib.Path | None, path: pathlib.Path) -> None:
  """Calls the observer of the innermost folder that has one."""
  # A folder below may be a link to another disk.
  for folder in path.absolute().parents:
    root = folder.resolve()
    if root in _observers:
      _observers[root](temporary, root / path.absolute().relative_to(folder))
      return


@contextlib.contextmanager
def writing_to(folder: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Makes a folder for a block that writes to it, and names it in errors.

  Raises:
    UserError: the operating system cannot write there.
  """
  folder = pathlib.Path(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
  except OSError as error:
    raise UserError(f"{folder}: cannot be written ({reason(error)})") from error


def check_room(folder: str | os.PathLike, n_bytes: int) -> None:
  """Raises `OSError` if a new file of this size in a folder will not fit.

  For writers that cannot report a full disk: HDF5 crashes, at the latest when
  the file is closed.
  """
  limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
  if limit not in (resource.RLIM_INFINITY, -1) and n_bytes > limit:
    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
  disk = shutil.disk_usage(folder)
  # Virtual file systems report no size.
  if disk.total and n_bytes > disk.free:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Temporary path next to `path`, renamed to it when the block succeeds.

  The temporary name keeps all suffixes, because libraries choose the format
  by them (`.nii.gz`). A failed block leaves the old file as it was. Temporary
  files of killed processes are removed.

  Raises:
    UserError: a folder has the name.
  """
  path = pathlib.Path(path)
  _check_no_folder(path)
  for leftover in path.parent.glob(f".tmp-*-{glob.escape(path.name)}"):
    if not _is_written(leftover):
      leftover.unlink(missing_ok=True)
  temporary = path.with_name(f".tmp-{_owner()}-{path.name}")
  try:
    yield temporary
    _to_disk(temporary)
    _call_observer(temporary, path)
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_text(text: str, path: str | os.PathLike) -> None:
  """Writes a text file, complete or not at all."""
  with replacing(path) as temporary:
    temporary.write_text(text, encoding="utf-8")


def _check_no_folder(path: pathlib.Path) -> None:
  """Raises `UserError` if a folder has the name of a file."""
  if path.is_dir():
    raise UserError(
      f"{path}: is a folder, where a file is to be written; remove {path}, and "
      "the same command writes it"
    )


@contextlib.contextmanager
def replacing_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Temporary folder next to `path`, renamed to it when the block succeeds.

  A failed block leaves the old folder as it was. Temporary folders of killed
  processes are removed, and missing folders above `path` are created.

  Raises:
    UserError: a file or a link has the name.
  """
  if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
    raise UserError(
      f"{path}: is not a folder, where one is to be written; remove {path}, "
      "and the same command writes it"
    )
  # A lock of a folder above makes sure that only one process writes.
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
    _call_observer(temporary, path)
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
  while they move, which takes an instant, leaves old and new files without a
  record.

  Args:
    folder: a folder that exists; other files in it stay.
    record: the file that describes the others: the old one is removed first,
      the new one comes last.
    instead_of: files in the folder that do not belong to the new ones.

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
    old = [folder / name for name in (record, *instead_of)]
    for path in (*old, *(folder / file.name for file in new)):
      _check_no_folder(path)
    for file in new:
      _to_disk(file)
    for path in old:
      path.unlink(missing_ok=True)
    for file in new:
      os.replace(file, folder / file.name)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def is_unfinished(path: pathlib.PurePath) -> bool:
  """Whether a path in a complete folder is, or is in, a temporary one."""
  return any(
    part.startswith((".tmp-", ".new-"))
    or (part.startswith(".") and part.endswith(".tmp"))
    for part in path.parts
  )


def _owner() -> str:
  """Name of this process in the names of its temporary files."""
  return f"{os.getpid()}@{_HOST}"


def _is_written(unfinished: pathlib.Path) -> bool:
  """Whether a process may still write to `.tmp-OWNER…` or `.new-OWNER`."""
  pid, at, host = unfinished.name.split("-")[1].partition("@")
  if at and host != _HOST:
    with contextlib.suppress(OSError):
      return time.time() - unfinished.stat().st_mtime < _ABANDONED_S
    return False
  if not pid.isdecimal():
    return True
  # An earlier process may have had our number: in some containers all have it.
  return int(pid) != os.getpid() and _is_running(int(pid))


def _is_running(pid: int) -> bool:
  """Whether a process of this number exists on this host."""
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except (OverflowError, PermissionError):
    return True
  return True


def _to_disk(path: pathlib.Path) -> None:
  """Waits until a file's content, not only its name, is on the disk."""
  with open(path, "rb") as file:
    os.fsync(file.fileno())
