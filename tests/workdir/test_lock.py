"""One process at a time writes to a folder."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from test_launch import SMOKE, fails_in_one_line

from mrf_jax import UserError
from mrf_jax.workdir import Workdir, lock

# Locks a folder until its standard input ends.
HOLDER = """
import sys
from mrf_jax.workdir.lock import lock
lock(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
  """Another process that has locked the folder."""
  process = subprocess.Popen(
    [sys.executable, "-c", HOLDER, tmp_path],
    env={**os.environ, "PYTHONPATH": "."},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  with process:
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()


def test_second_process_is_refused(holder, tmp_path):
  for function in (lock.lock, lock.check_unlocked):
    with pytest.raises(UserError, match=rf"another .*\({holder.pid} on "):
      function(tmp_path)
  with pytest.raises(UserError, match="another process writes there"):
    Workdir(tmp_path, {})
  assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_dead_process_has_no_lock(number, holder, tmp_path):
  holder.send_signal(number)
  holder.wait()
  with open(tmp_path / ".lock", "a") as file:
    file.write("more than the next process writes")
  lock.check_unlocked(tmp_path)
  lock.lock(tmp_path)
  # Again by the same process.
  lock.lock(tmp_path)
  lock.check_unlocked(tmp_path)
  text = (tmp_path / ".lock").read_text()
  assert text == f"{os.getpid()} on {socket.gethostname()}\n"


def test_release_removes_the_lock(tmp_path):
  lock.lock(tmp_path)
  lock.release(tmp_path)
  assert not list(tmp_path.iterdir())
  lock.lock(tmp_path)


def test_umask_decides_who_may_lock(tmp_path):
  before = os.umask(0o002)
  try:
    lock.lock(tmp_path)
  finally:
    os.umask(before)
  assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o664


def test_check_makes_no_lock(tmp_path):
  lock.check_unlocked(tmp_path / "missing")
  lock.check_unlocked(tmp_path)
  assert not list(tmp_path.iterdir())


def test_disk_without_locks(tmp_path, monkeypatch):
  def no_locks(file, operation):
    raise OSError(37, "No locks available")

  monkeypatch.setattr(lock.fcntl, "flock", no_locks)
  lock.lock(tmp_path)
  lock.check_unlocked(tmp_path)


def test_second_run_is_refused(holder, launch, tmp_path):
  """It changes nothing; when the first has ended, the same command runs."""
  command = ("--mode=simulate", SMOKE, f"--workdir={tmp_path}")
  fails_in_one_line(launch(*command), tmp_path, f"{holder.pid} on ")
  assert list(tmp_path.iterdir()) == [tmp_path / ".lock"]
  assert (tmp_path / ".lock").read_text().startswith(f"{holder.pid} on ")
  holder.kill()
  holder.wait()
  # The third finds the file that the second has left behind.
  for _ in range(2):
    done = launch(*command)
    assert done.returncode == 0, done.stderr
    name = (tmp_path / ".lock").read_text()
    assert " on " in name and not name.startswith(f"{holder.pid} on ")
  assert (tmp_path / "data/subject-01.h5").exists()
