"""The error that a user can act on, and errors in one line."""


class UserError(Exception):
  """Bad input or a broken promise of the outside world, said in one line.

  The message names what is wrong and where (file, key, value). `launch.py`
  prints it without a traceback and exits with a code that is not 0.
  """


def one_line(error: BaseException) -> str:
  """The message of an error without its line breaks."""
  return " ".join(str(error).split())
