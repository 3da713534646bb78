"""Server that runs `launch.py` many times, and imports its modules once.

A process of its own imports what the stages need, when the first command comes,
and forks for each command: flags, stages and exit codes are those of
`launch.py`, memory and time those of a process that has just started. Several
processes may send commands at the same time.
"""

import contextlib
import functools
import importlib
import json
import os
import pathlib
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent
SMOKE = "--config=configs/smoke.py"
# Writes one subject and its raw data.
RAW = (
  SMOKE,
  "--mode=simulate",
  "--config.data.n_subjects=1",
  "--config.data.keep_raw=True",
)
# A command that goes on for an hour hangs, on any machine.
_LIMIT_S = 3600
_LIMIT_BYTES = 12 << 30


class Done(NamedTuple):
  """Result of a command.

  Attributes:
    returncode: exit code, negative for a signal.
    stdout: text of its standard output.
    stderr: text of its standard error.
    seconds: processor time, which other processes do not change, s.
    peak_mib: largest resident memory, MiB.
  """

  returncode: int
  stdout: str
  stderr: str
  seconds: float
  peak_mib: float


def run_python(code: str, *arguments) -> subprocess.CompletedProcess[str]:
  """Runs a program in a process of its own."""
  return subprocess.run(
    [sys.executable, "-c", code, *map(str, arguments)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=600,
  )


class Launcher:
  """Runs commands by the server that listens at a path."""

  def __init__(self, path: pathlib.Path):
    self._path = str(path)

  def __call__(self, *arguments) -> Done:
    """Runs `launch.py` with these arguments."""
    with socket.socket(socket.AF_UNIX) as server:
      server.connect(self._path)
      with server.makefile("rw") as file:
        file.write(json.dumps(list(map(str, arguments))) + "\n")
        file.flush()
        return Done(*json.loads(file.readline()))

  def succeed(self, *arguments) -> Done:
    """Runs `launch.py` with these arguments, and asserts that it ends well."""
    done = self(*arguments)
    assert done.returncode == 0, done.stderr
    return done


@contextlib.contextmanager
def serving(path: pathlib.Path) -> Iterator[Launcher]:
  """A server that listens at a path, until the end of the block."""
  server = subprocess.Popen(
    [sys.executable, __file__, path],
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  # Closes the server's standard input, which ends it.
  with server:
    assert server.stdout.readline() == "listening\n"
    yield Launcher(path)


def _serve(path: str):
  listener = socket.socket(socket.AF_UNIX)
  listener.bind(path)
  listener.listen()
  print("listening", flush=True)
  running: dict[int, _Command] = {}
  while True:
    ready, _, _ = select.select([0, listener, *running], [], [], _LIMIT_S)
    # Nobody writes to the standard input: it has been closed.
    if 0 in ready or not ready:
      for command in running.values():
        os.kill(command.pid, signal.SIGKILL)
    if 0 in ready:
      return
    if listener in ready:
      connection, _ = listener.accept()
      command = _Command(connection)
      running[command.handle] = command
    for handle in set(ready) & set(running):
      running.pop(handle).finish()


class _Command:
  """A command that runs, and the connection that waits for its end."""

  def __init__(self, connection: socket.socket):
    launch = _imported()
    self._file = connection.makefile("rw")
    connection.close()
    arguments = json.loads(self._file.readline())
    self._texts = [tempfile.TemporaryFile() for _ in range(2)]
    self.pid = os.fork()
    if not self.pid:
      os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
      for number, file in enumerate(self._texts, 1):
        os.dup2(file.fileno(), number)
      _become(launch, arguments)
    # Ready when the command ends.
    self.handle = os.pidfd_open(self.pid)

  def finish(self) -> None:
    """Answers, after the end of the command."""
    _, status, usage = os.wait4(self.pid, 0)
    os.close(self.handle)
    texts = []
    for file in self._texts:
      with file:
        file.seek(0)
        texts.append(file.read().decode(errors="replace"))
    code = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    done = Done(code, *texts, seconds, usage.ru_maxrss / 1024)
    # Nobody reads it if the tests were stopped.
    with contextlib.suppress(OSError), self._file as file:
      file.write(json.dumps(done) + "\n")


@functools.cache
def _imported():
  """The module `launch`, and in memory all that its stages import."""
  import launch

  # Some libraries turn all warnings on.
  filters = list(warnings.filters)
  for module in (
    "mrf_jax.stages.crossval",
    "mrf_jax.stages.evaluate",
    "mrf_jax.inference.export",
    "mrf_jax.stages.finetune",
    "mrf_jax.importing.from_flags",
    "mrf_jax.stages.reconstruct",
    # What they import when they use it.
    "mrf_jax.evaluation.overview",
    "mrf_jax.evaluation.scan_errors",
    "mrf_jax.io.array_folder",
    "ismrmrd",
    "mrinufft",
    "nibabel.processing",
    "nilearn.datasets",
    "optax",
    "pypulseq",
    "scipy.io",
    "scipy.signal",
    "tensorboardX",
  ):
    importlib.import_module(module)
  warnings.filters[:] = filters
  return launch


def _become(launch, arguments: list[str]):
  """The command itself; does not come back."""
  from absl import app

  # Where configurations look for their values.
  sys.argv = ["launch.py", *arguments]
  resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
  code = 1
  try:
    app.run(
      launch.main,
      argv=sys.argv,
      flags_parser=launch.flags.parse,
    )
  except SystemExit as end:
    code = end.code if isinstance(end.code, int) else int(end.code is not None)
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
  _serve(sys.argv[1])
