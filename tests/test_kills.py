"""Runs that are killed at any moment end with the table of a whole one."""

import os
import random
import shutil
import subprocess
import sys

SMOKE = "--config=configs/smoke.py"
# MRF_KILLS=20 for the full number, five minutes; a few by default.
KILLS = int(os.environ.get("MRF_KILLS", "3"))
# About as long as a whole run takes where nothing else is done.
SECONDS = float(os.environ.get("MRF_KILL_WITHIN_S", "20"))


def test_killed_and_started_again(smoke, tmp_path):
  expected = (smoke / "table1.csv").read_bytes()
  draw = random.Random(0)
  workdir = tmp_path / "run"
  killed = whole = 0
  while killed < KILLS or not whole:
    process = subprocess.Popen(
      [sys.executable, "launch.py", SMOKE, f"--workdir={workdir}"],
      env={**os.environ, "JAX_PLATFORMS": "cpu"},
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
    wait = draw.uniform(1, SECONDS) if killed < KILLS else 300
    try:
      _, text = process.communicate(timeout=wait)
    except subprocess.TimeoutExpired:
      process.kill()
      process.communicate()
      killed += 1
      continue
    assert process.returncode == 0, text
    assert (workdir / "table1.csv").read_bytes() == expected
    assert not (workdir / "checkpoints").exists()
    whole += 1
    if killed < KILLS:
      shutil.rmtree(workdir)
  print(f"{killed} kills, {whole} whole runs")
