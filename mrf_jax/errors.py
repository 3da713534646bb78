"""The error that a user can act on."""


class UserError(Exception):
  """Bad input or a broken promise of the outside world, said in one line.

  The message names what is wrong and where (file, key, value). `launch.py`
  prints it without a traceback and exits with a code that is not 0.
  """
