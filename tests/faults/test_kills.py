"""Runs that are killed at any moment end with the results of a whole one.

A few kills by default; `pytest -m long` gives more, and `run.py` a hundred.
"""

import shutil
import signal
import time

import pytest
from kills import kill
from stages import Stage, start

NAMES = (
  "simulate",
  "crossval",
  "import",
  "reconstruct",
  "finetune",
  "export",
  "report",
)


def test_every_stage_is_killed(stages):
  assert stages.keys() == set(NAMES)


def test_killed_and_started_again(stages, tmp_path):
  assert kill(stages["import"], tmp_path, kills=3) >= 2


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_killed_many_times(stages, tmp_path, name):
  assert kill(stages[name], tmp_path, kills=5, seed=1) >= 2


@pytest.mark.parametrize(
  "number",
  [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)],
)
def test_stopped_training_leaves_checkpoints(smoke, tmp_path, number):
  """And says in one line that it was stopped."""
  workdir = tmp_path / "run"
  shutil.copytree(smoke / "data", workdir / "data")
  flags = (
    "--config=configs/smoke.py",
    "--workdir={folder}/run",
    "--config.methods=('cohen',)",
    "--config.training.epochs=100000",
  )
  process = start(Stage("training", flags, str), tmp_path)
  folder = workdir / "checkpoints/cohen/fold-1"
  try:
    while not (folder.is_dir() and any(folder.glob("step-*"))):
      assert process.poll() is None, process.stderr.read()
      time.sleep(0.1)
    process.send_signal(number)
    _, text = process.communicate()
  finally:
    process.kill()
  assert process.returncode == 128 + number
  assert "Traceback" not in text
  assert text.strip().endswith(
    f"error: stopped by {number.name}; the same command goes on where it "
    "stopped"
  )
  for fold in (0, 1):
    steps = (workdir / f"checkpoints/cohen/fold-{fold}").glob("step-*")
    assert 1 <= len(list(steps)) <= 2
  assert not list(workdir.rglob("*.tmp"))
