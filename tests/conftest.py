"""Shared by all tests: strict JAX, and one tiny experiment run once."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = pathlib.Path(__file__).parent.parent


def run_launch(*arguments, **environment) -> subprocess.CompletedProcess:
  """`python launch.py …` as a user runs it, from the project's root."""
  return subprocess.run(
    [sys.executable, "launch.py", *map(str, arguments)],
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
    capture_output=True,
    text=True,
    check=False,
    timeout=400,
  )


@pytest.fixture(scope="session")
def launch():
  """The command as a function."""
  return run_launch


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> pathlib.Path:
  """Workdir of a finished run of `configs/smoke.py`."""
  workdir = tmp_path_factory.mktemp("smoke") / "run"
  done = run_launch("--config=configs/smoke.py", f"--workdir={workdir}")
  assert done.returncode == 0, done.stderr
  return workdir


@pytest.fixture(scope="session")
def validation_data() -> pathlib.Path:
  """Folder of other people's numbers, or a skip that says so."""
  folder = os.environ.get("MRF_VALIDATION_DATA")
  if not folder:
    pytest.skip("MRF_VALIDATION_DATA is not set")
  return pathlib.Path(folder)
