"""The error that a user can act on, and errors in one line."""

import errno
import os

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
