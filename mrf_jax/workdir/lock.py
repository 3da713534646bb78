"""Lock of a folder: one process writes to it at a time.

The library filelock does not serve: the error of a lock that is taken does not
name the process that has it, and on a network disk without locks (ENOLCK) it
fails, where a run goes on without a lock here.
"""

import fcntl
import os
import pathlib
import socket

from mrf_jax.errors import UserError

_NAME = ".lock"
# Open files of the locks that this process has. The system releases a lock when
# its process ends, however it ends.
_locked: dict[pathlib.Path, int] = {}


def lock(folder: str | os.PathLike) -> None:
  """Keeps other processes out of an existing folder until this one ends.

  Locking again does nothing. On a file system without locks the folder stays
  unlocked.

  Raises:
    UserError: another process has the lock.
  """
  path = _path(folder)
  if path in _locked:
    return
  file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
  if not _try_lock(file):
    error = _error(folder, file)
    os.close(file)
    raise error
  os.ftruncate(file, 0)
  os.pwrite(file, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
  _locked[path] = file


def release(folder: str | os.PathLike) -> None:
  """Releases this process's lock of a folder and removes its file."""
  path = _path(folder)
  path.unlink(missing_ok=True)
  if path in _locked:
    os.close(_locked.pop(path))


def check_unlocked(folder: str | os.PathLike) -> None:
  """Raises `UserError` if another process writes to a folder, if it exists."""
  path = _path(folder)
  if path in _locked:
    return
  try:
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
  except OSError:
    # There is no lock, or this user may not open it.
    return
  try:
    if not _try_lock(file):
      raise _error(folder, file)
  finally:
    os.close(file)


def _path(folder) -> pathlib.Path:
  return pathlib.Path(folder).resolve() / _NAME


def _try_lock(file: int) -> bool:
  """Locks an open file; False if another process has the lock."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError:
    # Some network file systems have no locks.
    pass
  return True


def _error(folder, file: int) -> UserError:
  owner = os.pread(file, 200, 0).decode(errors="replace").strip() or "unknown"
  return UserError(
    f"{folder}: another process writes there ({owner}); wait for it, or "
    "choose another folder"
  )
