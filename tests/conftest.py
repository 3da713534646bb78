"""Fixtures of all tests: strict JAX, a launcher, and one tiny experiment.

`pytest` runs the tests in one process a core (pytest-xdist); `pytest -n0` in
this one. All of them, and the commands that they start, share compiled
programs and the tiny experiment.
"""

import atexit
import gc
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest
from filelock import FileLock

if "PYTEST_XDIST_WORKER" not in os.environ:
  # Before JAX is imported, here and in every process that is started.
  _cache = tempfile.mkdtemp(prefix="mrf_jax-tests-")
  atexit.register(shutil.rmtree, _cache, ignore_errors=True)
  os.environ.update(
    JAX_COMPILATION_CACHE_DIR=_cache,
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    # XLA reports an error for each program that it loads from there: features
    # that it chooses itself, such as prefer-no-gather, are none of a processor.
    TF_CPP_MIN_LOG_LEVEL="3",
  )

import jax

from tests.launcher import Launcher

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
  )


@pytest.fixture(scope="session")
def launch():
  """The command as a function; without the imports of each start."""
  with Launcher() as launcher:
    yield launcher


@pytest.fixture(scope="session")
def launch_alone():
  """The command as a function, in a process of its own from its start."""
  return run_launch


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> pathlib.Path:
  """Folder that all processes of the tests share."""
  folder = tmp_path_factory.getbasetemp()
  return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def smoke(shared_folder) -> pathlib.Path:
  """Workdir of a finished run of `configs/smoke.py`, to be read only."""
  workdir = shared_folder / "smoke" / "run"
  with FileLock(shared_folder / "smoke.lock"):
    if not (workdir / "table1.csv").exists():
      done = run_launch("--config=configs/smoke.py", f"--workdir={workdir}")
      assert done.returncode == 0, done.stderr
  return workdir


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs():
  """Programs of one file are not kept for the next: they fill the memory."""
  yield
  jax.clear_caches()
  gc.collect()


@pytest.fixture(scope="session")
def validation_data() -> pathlib.Path:
  """Folder of other people's numbers, or a skip that says so."""
  folder = os.environ.get("MRF_VALIDATION_DATA")
  if not folder:
    pytest.skip("MRF_VALIDATION_DATA is not set")
  return pathlib.Path(folder)
