"""One run at a time writes to a folder, and a dead one holds nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from test_launch import SMOKE, fails_in_one_line

from mrf_jax import UserError
from mrf_jax.workdir import lock

HOLD = """
import sys, time
from mrf_jax import locks
lock.lock(sys.argv[1])
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
  """Another process that holds the folder."""
  process = subprocess.Popen(
    [sys.executable, "-c", HOLD, tmp_path],
    env={**os.environ, "PYTHONPATH": "."},
    stdout=subprocess.PIPE,
    text=True,
  )
  with process:
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()


def test_a_folder_is_held_by_one_process(holder, tmp_path):
  for function in (lock.lock, lock.check_unlocked):
    with pytest.raises(UserError, match=rf"another .*\({holder.pid} on "):
      function(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_holds_nothing(number, holder, tmp_path):
  holder.send_signal(number)
  holder.wait()
  assert (tmp_path / ".lock").exists()
  lock.check_unlocked(tmp_path)
  lock.lock(tmp_path)
  # Again by the same process.
  lock.lock(tmp_path)
  lock.check_unlocked(tmp_path)
  (file,) = [f for path, f in lock._held.items() if tmp_path in path.parents]
  assert os.pread(file, 100, 0).decode().startswith(f"{os.getpid()} on ")


def test_others_may_lock_as_far_as_the_user_lets_them(tmp_path):
  before = os.umask(0o002)
  try:
    lock.lock(tmp_path)
  finally:
    os.umask(before)
  assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o664


def test_without_a_folder_or_a_lock_nobody_is_kept_out(tmp_path):
  lock.check_unlocked(tmp_path / "gone")
  lock.check_unlocked(tmp_path)
  assert not list(tmp_path.iterdir())


def test_where_there_are_no_locks_nothing_is_locked(tmp_path, monkeypatch):
  def none(file, operation):
    raise OSError(37, "No locks available")

  monkeypatch.setattr(lock.fcntl, "flock", none)
  lock.lock(tmp_path)
  lock.check_unlocked(tmp_path)


def test_a_second_run_is_refused_and_the_first_goes_on(launch, smoke, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(smoke / "data", run / "data")
  options = [SMOKE, f"--workdir={run}", "--config.methods=('cohen',)"]
  first = subprocess.Popen(
    [sys.executable, "launch.py", *options],
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    deadline = time.monotonic() + 120
    while not (run / "config.json").exists():
      assert first.poll() is None, first.stderr.read()
      assert time.monotonic() < deadline
      time.sleep(0.05)
    fails_in_one_line(launch(*options), run, f"{first.pid} on ")
    _, text = first.communicate(timeout=300)
  finally:
    first.kill()
  assert first.returncode == 0, text
  assert (run / "table1.csv").exists()
  # The lock stays behind, and keeps nobody out.
  done = launch(*options)
  assert done.returncode == 0, done.stderr
