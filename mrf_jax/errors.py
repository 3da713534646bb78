"""The error that a user can act on, and errors in one line."""

import datetime
import errno
import os
import pathlib
import tempfile
import traceback

# Libraries may say pages.
_LONGEST = 300
_OF_DISK = {
  errno.ENOSPC: "no space left on the device",
  errno.EDQUOT: "the disk quota is used up",
  errno.EFBIG: "the file is larger than the system allows",
  errno.EROFS: "the file system is read-only",
  errno.EACCES: "permission denied",
  errno.EIO: "the device fails to read or write",
}


class UserError(Exception):
  """Bad input or a broken promise of the outside world, said in one line.

  The message names what is wrong and where (file, key, value). `launch.py`
  prints it without a traceback and exits with a code that is not 0.
  """


def one_line(error: BaseException) -> str:
  """What an error says, without line breaks and of bearable length."""
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"


def of_disk(error: BaseException) -> str | None:
  """What a disk or its rights refused, in words, or None.

  Args:
    error: with the errors that caused it, one of which may be the system's, or
      tell what the system said: HDF5 and tensorstore raise what they like.
  """
  cause: BaseException | None = error
  while cause is not None:
    number = cause.errno if isinstance(cause, OSError) else None
    for known, words in _OF_DISK.items():
      if number == known or os.strerror(known) in str(cause):
        where = getattr(cause, "filename", None)
        return f"{where}: {words}" if where else words
    cause = cause.__cause__ or cause.__context__
  return None


def reason(error: BaseException) -> str:
  """Why something could not be written, of bearable length."""
  return of_disk(error) or getattr(error, "strerror", None) or one_line(error)


_LOG_NAME = "errors.log"


def report_unexpected(error: BaseException, workdir: str | None) -> str:
  """One line on an error that no part of the program has foreseen.

  Args:
    error: what was raised.
    workdir: its `errors.log` gets the traceback, if there is such a folder and
      it can be written; else a new file among the system's temporary ones.
  """
  try:
    return (
      f"{describe_error(error)}; the traceback is in {_keep(error, workdir)}"
    )
  except OSError:
    return describe_error(error)


def describe_error(error: BaseException) -> str:
  """What an error is to a person, disks and memory first.

  Args:
    error: with the errors that caused it.
  """
  disk = of_disk(error)
  if disk is not None:
    return disk
  if isinstance(error, MemoryError) or "Out of memory" in str(error):
    return f"out of memory ({one_line(error)})"
  return f"unexpected {type(error).__name__}: {one_line(error)}"


def _keep(error: BaseException, workdir: str | None) -> pathlib.Path:
  """Writes the traceback down, and says where."""
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
  story = f"{now}\n{''.join(traceback.format_exception(error))}\n"
  if workdir is not None and os.path.isdir(workdir):
    try:
      path = pathlib.Path(workdir) / _LOG_NAME
      with open(path, "a") as file:
        file.write(story)
      return path
    except OSError:
      # A full or broken disk may be what the story is about.
      pass
  number, name = tempfile.mkstemp(prefix="mrf_jax-", suffix=f"-{_LOG_NAME}")
  with open(number, "w") as file:
    file.write(story)
  return pathlib.Path(name)
