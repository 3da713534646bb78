"""Limits for reading a file that never ends."""

import re
import threading
import time

import pytest

from mrf_jax.io.untrusted import cpu_limit, time_limit
from tests.launcher import run_python

ENDLESS = """
import re, sys
from mrf_jax.io import untrusted
if sys.argv[2] == "ours":
  untrusted.end_this_program()
with untrusted.time_limit(sys.argv[1], seconds=0.5):
  # Holds the interpreter's lock, as HDF5 does.
  re.match("(a+)+b", int(sys.argv[3]) * "a")
print("came to its end")
"""


def test_endless_block_ends_our_program_in_one_line(tmp_path):
  path = tmp_path / "it's $HOME.h5"
  done = run_python(ENDLESS, path, "ours", 60)
  assert done.returncode == 1
  # A busy machine has more time.
  assert re.fullmatch(
    rf"error: {re.escape(str(path))}: reading it has not come to an end in "
    r"\d+ s; it is damaged, or its disk too slow\n",
    done.stderr,
  )
  assert not done.stdout


def test_the_program_of_someone_else_goes_on(tmp_path):
  done = run_python(ENDLESS, tmp_path / "slow.h5", "theirs", 24)
  assert done.returncode == 0
  assert done.stdout == "came to its end\n"


def test_finished_block_prints_nothing(tmp_path, capfd):
  for _ in range(2):
    with time_limit(tmp_path / "gone"), cpu_limit(1):
      pass
  assert capfd.readouterr() == ("", "")


def endless():
  with cpu_limit(0.2):
    while True:
      time.perf_counter()


def test_cpu_time_is_limited_in_any_thread():
  with pytest.raises(TimeoutError, match="end in 0 s of CPU time"):
    endless()
  caught = []

  def run():
    with pytest.raises(TimeoutError) as error:
      endless()
    caught.append(error.value)

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert caught


def test_waiting_is_no_cpu_time():
  with cpu_limit(0.2):
    time.sleep(0.5)


def test_an_error_of_the_block_stays():
  with pytest.raises(KeyError), cpu_limit(1):
    raise KeyError
