"""Runs that are killed at any moment end with the table of a whole one."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

SMOKE = "--config=configs/smoke.py"
# MRF_KILLS=20 for the full number, five minutes; a few by default.
KILLS = int(os.environ.get("MRF_KILLS", "3"))
# About as long as a whole run takes where nothing else is done.
SECONDS = float(os.environ.get("MRF_KILL_WITHIN_S", "20"))


def start(workdir, *flags):
  return subprocess.Popen(
    [sys.executable, "launch.py", SMOKE, f"--workdir={workdir}", *flags],
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_killed_and_started_again(smoke, tmp_path):
  expected = (smoke / "table1.csv").read_bytes()
  draw = random.Random(0)
  workdir = tmp_path / "run"
  killed = whole = 0
  while killed < KILLS or not whole:
    process = start(workdir)
    wait = draw.uniform(1, SECONDS) if killed < KILLS else 300
    try:
      _, text = process.communicate(timeout=wait)
    except subprocess.TimeoutExpired:
      process.kill()
      process.communicate()
      assert killed < KILLS, "the last run hangs"
      killed += 1
      continue
    assert process.returncode == 0, text
    assert (workdir / "table1.csv").read_bytes() == expected
    assert not (workdir / "checkpoints").exists()
    whole += 1
    if killed < KILLS:
      shutil.rmtree(workdir)
  print(f"{killed} kills, {whole} whole runs")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_training_says_so_and_leaves_checkpoints(
  smoke, tmp_path, number
):
  workdir = tmp_path / "run"
  shutil.copytree(smoke / "data", workdir / "data")
  process = start(
    workdir, "--config.methods=('cohen',)", "--config.training.epochs=100000"
  )
  folder = workdir / "checkpoints/cohen/fold-1"
  deadline = time.monotonic() + 200
  try:
    while not (folder.is_dir() and any(folder.glob("step-*"))):
      assert process.poll() is None, process.stderr.read()
      assert time.monotonic() < deadline
      time.sleep(0.1)
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
  finally:
    process.kill()
  assert process.returncode == 128 + number
  assert "Traceback" not in text
  assert (
    text.strip()
    .splitlines()[-1]
    .endswith(
      f"error: stopped by {number.name}; the same command goes on where it "
      "stopped"
    )
  )
  for fold in (0, 1):
    steps = (workdir / f"checkpoints/cohen/fold-{fold}").glob("step-*")
    assert 1 <= len(list(steps)) <= 2
  assert not list(workdir.rglob("*.tmp"))
