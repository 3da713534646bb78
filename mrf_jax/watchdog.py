"""An end for libraries that never come back from a damaged file."""

import contextlib
import faulthandler
import os
import subprocess
from collections.abc import Iterator

# More than any file wants, from any disk.
_SECONDS = 10.0
_BYTES_PER_S = 5e6
# Says its argument once something comes in, nothing if nothing does.
_SAY = 'read line && echo "error: $0" >&2'


@contextlib.contextmanager
def patience(path: str | os.PathLike, *, seconds: float = _SECONDS) -> Iterator:
  """Ends the program with one line if a block takes far too long.

  Nothing else does it: HDF5 does not come back to Python from some damaged
  files, and holds its lock meanwhile. One block at a time has a limit.

  Args:
    path: the file that the block reads; the larger, the more time it has.
    seconds: that it has besides.
  """
  size = os.path.getsize(path) if os.path.exists(path) else 0
  limit = seconds + size / _BYTES_PER_S
  message = (
    f"{path}: reading it has not come to an end in {limit:.0f} s; it is "
    "damaged, or its disk too slow"
  )
  # The timer can write down where it is, and no other words.
  with subprocess.Popen(
    ["sh", "-c", _SAY, message],
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
  ) as speaker:
    assert speaker.stdin is not None
    faulthandler.dump_traceback_later(limit, exit=True, file=speaker.stdin)
    try:
      yield
    finally:
      faulthandler.cancel_dump_traceback_later()
