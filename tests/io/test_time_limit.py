"""What never ends is ended, with one line."""

import subprocess
import sys

from mrf_jax.io.untrusted import time_limit

ENDLESS = """
import re, sys
from mrf_jax.watchdog import time_limit
with time_limit(sys.argv[1], seconds=1):
  # Holds the interpreter's lock, as HDF5 does.
  re.match("(a+)+b", 60 * "a")
"""


def test_an_endless_block_ends_with_one_line(tmp_path):
  path = tmp_path / "it's $HOME.h5"
  done = subprocess.run(
    [sys.executable, "-c", ENDLESS, path],
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == 1
  assert done.stderr == (
    f"error: {path}: reading it has not come to an end in 1 s; it is damaged, "
    "or its disk too slow\n"
  )
  assert not done.stdout


def test_a_block_that_ends_says_nothing(tmp_path, capfd):
  for _ in range(2):
    with time_limit(tmp_path / "gone"):
      pass
  assert capfd.readouterr() == ("", "")
