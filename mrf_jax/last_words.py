"""What a program that fails says, and where it leaves the whole story."""

import datetime
import os
import pathlib
import tempfile
import traceback

from mrf_jax.errors import of_disk, one_line

_NAME = "errors.log"


def of(error: BaseException, workdir: str | None) -> str:
  """One line on an error that no part of the program has foreseen.

  Args:
    error: what was raised.
    workdir: its `errors.log` gets the traceback, if there is such a folder and
      it can be written; else a new file among the system's temporary ones.
  """
  try:
    return f"{in_words(error)}; the traceback is in {_keep(error, workdir)}"
  except OSError:
    return in_words(error)


def in_words(error: BaseException) -> str:
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
      path = pathlib.Path(workdir) / _NAME
      with open(path, "a") as file:
        file.write(story)
      return path
    except OSError:
      # A full or broken disk may be what the story is about.
      pass
  number, name = tempfile.mkstemp(prefix="mrf_jax-", suffix=f"-{_NAME}")
  with open(number, "w") as file:
    file.write(story)
  return pathlib.Path(name)
