"""Fixtures of all tests: strict JAX, a launcher, and one tiny experiment.

`pytest` runs the tests in one process a core (pytest-xdist); `pytest -n0` in
this one. All of them, and the commands that they start, share compiled
programs and the tiny experiment.
"""

import atexit
import contextlib
import gc
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

# Compilation is most of what the tests do, and LLVM most of that: without its
# optimisations they need two thirds of the time. XLA's own passes stay. CI runs
# all tests with them once, by XLA_FLAGS="".
os.environ.setdefault(
  "XLA_FLAGS",
  "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1",
)
if "MRF_JAX_TESTS" not in os.environ:
  # Before JAX is imported, here and in every process that is started.
  _folder = tempfile.mkdtemp(prefix="mrf_jax-tests-")
  atexit.register(shutil.rmtree, _folder, ignore_errors=True)
  os.environ.update(
    MRF_JAX_TESTS=_folder,
    JAX_COMPILATION_CACHE_DIR=f"{_folder}/compiled",
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    # XLA reports an error for each program that it loads from there; see
    # findings/.
    TF_CPP_MIN_LOG_LEVEL="3",
    JAX_NUMPY_RANK_PROMOTION="raise",
    # Threads share what is freed.
    MALLOC_ARENA_MAX="1",
  )

# None of these imports JAX: the process that distributes the tests stays small.
import jaxtyping
import psutil

from tests.launcher import Launcher, serving

# Before the package is imported.
jaxtyping.install_import_hook("mrf_jax", "shape_checks.check")

# Bytes in memory when compiled programs were last forgotten, and how many more
# there may be before they are again.
_KEPT = pytest.StashKey[int]()
_GROWTH = 256 << 20
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


def pytest_configure(config):
  """Starts the server of commands, one for all processes of the tests."""
  if "PYTEST_XDIST_WORKER" not in os.environ:
    stack = contextlib.ExitStack()
    stack.enter_context(serving(_shared_folder() / "launcher"))
    config.add_cleanup(stack.close)


@pytest.fixture(scope="session")
def launch() -> Launcher:
  """The command as a function; without the imports of each start."""
  return Launcher(_shared_folder() / "launcher")


@pytest.fixture(scope="session")
def launch_alone():
  """The command as a function, in a process of its own from its start."""
  return run_launch


def pytest_collection_modifyitems(items):
  """Files that need the tiny experiment come last, when it has finished."""
  needing = {item.path for item in items if "smoke" in item.fixturenames}
  items.sort(key=lambda item: item.path in needing)


def pytest_collection_finish(session):
  """Starts the tiny experiment, if tests need it, beside the first of them."""
  # Modules stay, so that garbage is not looked for in them.
  gc.freeze()
  is_first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
  needed = any("smoke" in item.fixturenames for item in session.items)
  if not (is_first and needed) or session.config.option.collectonly:
    return
  folder = _shared_folder() / "smoke"
  folder.mkdir(exist_ok=True)
  command = (
    '"$0" launch.py --config=configs/smoke.py --workdir="$1/run" '
    '>"$1/log" 2>&1; echo $? >"$1/new"; mv "$1/new" "$1/code"'
  )
  session.config.smoke_process = subprocess.Popen(
    ["sh", "-c", command, sys.executable, str(folder)],
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )


def pytest_sessionfinish(session):
  """Waits for the tiny experiment, also where no test asked for it."""
  if hasattr(session.config, "smoke_process"):
    session.config.smoke_process.wait()


def _shared_folder() -> pathlib.Path:
  """Folder that all processes of the tests share."""
  return pathlib.Path(os.environ["MRF_JAX_TESTS"])


@pytest.fixture(scope="session")
def smoke() -> pathlib.Path:
  """Workdir of a finished run of `configs/smoke.py`, to be read only."""
  folder = _shared_folder() / "smoke"
  while not (folder / "code").exists():
    time.sleep(0.1)
  assert (folder / "code").read_text() == "0\n", (folder / "log").read_text()
  return folder / "run"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
  """A process that has grown by much forgets its compiled programs."""
  result = yield
  used = psutil.Process().memory_info().rss
  if used > item.config.stash.setdefault(_KEPT, used) + _GROWTH:
    import jax

    from mrf_jax.runtime.memory import release_free_memory

    jax.clear_caches()
    release_free_memory()
    item.config.stash[_KEPT] = psutil.Process().memory_info().rss
  return result


@pytest.fixture
def unchecked_shapes():
  """For inputs whose shapes the package itself has to refuse."""
  jaxtyping.config.update("jaxtyping_disable", True)
  yield
  jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def validation_data() -> pathlib.Path:
  """Folder of other people's numbers, or a skip that says so."""
  folder = os.environ.get("MRF_VALIDATION_DATA")
  if not folder:
    pytest.skip("MRF_VALIDATION_DATA is not set")
  return pathlib.Path(folder)
