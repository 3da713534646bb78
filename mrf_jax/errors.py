"""`UserError`, for what a user can correct, and errors in one line of text."""

import datetime
import errno
import os
import pathlib
import tempfile
import traceback

# Characters of a library's message that are kept: some write pages.
_MAX_LENGTH = 300
_DISK_ERRORS = {
  errno.ENOSPC: "no space left on the device",
  errno.EDQUOT: "the disk quota is used up",
  errno.EFBIG: "the file is larger than the system allows",
  errno.EROFS: "the file system is read-only",
  errno.EACCES: "permission denied",
  errno.EIO: "the device fails to read or write",
}
_LOG_NAME = "errors.log"


class UserError(Exception):
  """Invalid input, or a file or device that fails, described in one line.

  The message names what is wrong and where (file, key, value). `launch.py`
  prints it without a traceback and exits with a code that is not 0.
  """


def one_line(error: BaseException) -> str:
  """Message of an error without line breaks, at most 300 characters long."""
  text = " ".join(str(error).split()) or type(error).__name__
  return text if len(text) <= _MAX_LENGTH else text[:_MAX_LENGTH] + " …"


def _disk_error(error: BaseException) -> str | None:
  """The disk or permission error behind an exception in words, or None."""
  # The system's own error may be a cause, or be quoted in the text only: HDF5
  # and tensorstore raise types of their own.
  cause: BaseException | None = error
  while cause is not None:
    number = cause.errno if isinstance(cause, OSError) else None
    for known, words in _DISK_ERRORS.items():
      if number == known or os.strerror(known) in str(cause):
        path = getattr(cause, "filename", None)
        return f"{path}: {words}" if path else words
    cause = cause.__cause__ or cause.__context__
  return None


def reason(error: BaseException) -> str:
  """Why a file could not be written, in one short line."""
  return (
    _disk_error(error) or getattr(error, "strerror", None) or one_line(error)
  )


def report_unexpected(error: BaseException, workdir: str | None) -> str:
  """Saves the traceback of an unforeseen error and describes it in one line.

  Args:
    error: the exception.
    workdir: folder whose `errors.log` gets the traceback; where it is missing
      or cannot be written, a new file in the system's temporary folder does.

  Returns:
    What happened, and where the traceback is.
  """
  text = _describe(error)
  try:
    return f"{text}; the traceback is in {_save_traceback(error, workdir)}"
  except OSError:
    return text


def _describe(error: BaseException) -> str:
  """An unforeseen error in words: of the disk, of memory, or any other."""
  disk = _disk_error(error)
  if disk is not None:
    return disk
  if isinstance(error, MemoryError) or "Out of memory" in str(error):
    return f"out of memory ({one_line(error)})"
  return f"unexpected {type(error).__name__}: {one_line(error)}"


def _save_traceback(error: BaseException, workdir: str | None) -> pathlib.Path:
  """Appends the traceback to a log file and returns its path."""
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
  entry = f"{now}\n{''.join(traceback.format_exception(error))}\n"
  if workdir is not None and os.path.isdir(workdir):
    try:
      path = pathlib.Path(workdir) / _LOG_NAME
      with open(path, "a") as file:
        file.write(entry)
      return path
    except OSError:
      # The error to be logged may be that this disk is full or broken.
      pass
  number, name = tempfile.mkstemp(prefix="mrf_jax-", suffix=f"-{_LOG_NAME}")
  with open(number, "w") as file:
    file.write(entry)
  return pathlib.Path(name)
