"""Time limit for reading a file that never ends."""

from mrf_jax.io.untrusted import time_limit
from tests.launcher import run_python

ENDLESS = """
import re, sys
from mrf_jax.io.untrusted import time_limit
with time_limit(sys.argv[1], seconds=1):
  # Holds the interpreter's lock, as HDF5 does.
  re.match("(a+)+b", 60 * "a")
"""


def test_endless_block_ends_in_one_line(tmp_path):
  path = tmp_path / "it's $HOME.h5"
  done = run_python(ENDLESS, path)
  assert done.returncode == 1
  assert done.stderr == (
    f"error: {path}: reading it has not come to an end in 1 s; it is damaged, "
    "or its disk too slow\n"
  )
  assert not done.stdout


def test_finished_block_prints_nothing(tmp_path, capfd):
  for _ in range(2):
    with time_limit(tmp_path / "gone"):
      pass
  assert capfd.readouterr() == ("", "")
