"""A folder is written by one run at a time."""

import fcntl
import os
import pathlib
import socket

from mrf_jax.errors import UserError

_NAME = ".lock"
# Open files of the locks that this process holds: the system takes a lock back
# when its process ends, however it ends.
_held: dict[pathlib.Path, int] = {}


def lock(folder: str | os.PathLike) -> None:
  """Keeps other processes out of a folder until this one ends.

  Locking again does nothing. Where the file system knows no locks, nothing is
  locked.

  Args:
    folder: it exists.

  Raises:
    UserError: another process holds it.
  """
  path = _path(folder)
  if path in _held:
    return
  file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
  if not _try(file):
    holder = _holder(file)
    os.close(file)
    raise UserError(_in_use(folder, holder))
  os.ftruncate(file, 0)
  os.pwrite(file, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
  _held[path] = file


def release(folder: str | os.PathLike) -> None:
  """Takes back the lock of a folder that is to go, and its file.

  Args:
    folder: that this process holds.
  """
  path = _path(folder)
  path.unlink(missing_ok=True)
  if path in _held:
    os.close(_held.pop(path))


def check_unlocked(folder: str | os.PathLike) -> None:
  """Refuses a folder that another process is writing to.

  Args:
    folder: need not exist.

  Raises:
    UserError: it is locked.
  """
  path = _path(folder)
  if path in _held:
    return
  try:
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
  except OSError:
    # There is no lock, or no right to have one.
    return
  try:
    if not _try(file):
      raise UserError(_in_use(folder, _holder(file)))
  finally:
    os.close(file)


def _path(folder) -> pathlib.Path:
  return pathlib.Path(folder).resolve() / _NAME


def _try(file: int) -> bool:
  """Whether the lock is ours, or there can be none."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError:
    # Some network file systems.
    return True
  return True


def _holder(file: int) -> str:
  return os.pread(file, 200, 0).decode(errors="replace").strip() or "unknown"


def _in_use(folder, holder: str) -> str:
  return (
    f"{folder}: another process writes there ({holder}); wait for it, or "
    "choose another folder"
  )
