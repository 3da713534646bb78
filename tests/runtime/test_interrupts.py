"""SIGTERM and Ctrl-C, at any moment."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.launcher import ROOT, SMOKE, run_python

# The signal arrives while the garbage collector runs a callback.
_SIGNAL_IN_CALLBACK = """
import gc, signal, time
from mrf_jax.runtime.interrupts import Stopped, stop_at_once

def collected(phase, info):
  gc.callbacks.clear()
  signal.raise_signal(signal.SIGTERM)
  sum(range(100))

gc.callbacks.append(collected)
try:
  with stop_at_once():
    gc.collect()
    time.sleep(3600)
except Stopped as stop:
  print(stop)
"""


# The signal arrives while a module is imported that survives any error.
_SIGNAL_IN_IMPORT = """
import pathlib, sys, time
from mrf_jax.runtime.interrupts import Stopped, stop_at_once

pathlib.Path(sys.argv[1], "careless.py").write_text('''
import signal
try:
  signal.raise_signal(signal.SIGTERM)
except BaseException:
  print("caught")
print("whole")
''')
sys.path.insert(0, sys.argv[1])
try:
  with stop_at_once():
    import careless
    time.sleep(3600)
except Stopped as stop:
  print(stop)
"""


def test_signal_in_import_waits_for_its_end(tmp_path):
  done = run_python(_SIGNAL_IN_IMPORT, tmp_path)
  assert (done.stdout, done.stderr) == ("whole\nSIGTERM\n", "")


def test_signal_in_callback_is_kept():
  done = run_python(_SIGNAL_IN_CALLBACK)
  assert (done.stdout, done.stderr) == ("SIGTERM\n", "")


@pytest.mark.parametrize("seconds", [0.02, 0.2, 0.5, 0.8, 1.1, 1.5, 2.0, 4.0])
def test_start_stops_at_any_moment(tmp_path, seconds):
  number = signal.SIGINT if seconds in {0.2, 0.8, 1.5} else signal.SIGTERM
  with subprocess.Popen(
    [
      *(sys.executable, "launch.py", SMOKE, "--mode=simulate"),
      *(f"--workdir={tmp_path}", "--config.data.n_subjects=100"),
    ],
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    time.sleep(seconds)
    process.send_signal(number)
    _, text = process.communicate(timeout=600)
  assert process.returncode in (-number, 128 + number), text
  assert "Traceback" not in text and "Exception ignored" not in text
  if process.returncode > 0:
    last = text.splitlines()[-1]
    assert last.startswith(f"error: stopped by {number.name}; the same command")
