"""Server that runs `launch.py` many times, and imports its modules once.

A process of its own imports what the stages need and forks for each command:
flags, stages and exit codes are those of `launch.py`, memory and time those of
a process that has just started.
"""

import importlib
import json
import os
import pathlib
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
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
  """A server of commands, for a `with` block."""

  def __enter__(self) -> "Launcher":
    self._server = subprocess.Popen(
      [sys.executable, __file__],
      cwd=ROOT,
      env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    return self

  def __exit__(self, *_):
    # Closes its pipes, which ends it.
    with self._server:
      pass

  def __call__(self, *arguments) -> Done:
    """Runs `launch.py` with these arguments."""
    self._server.stdin.write(json.dumps(list(map(str, arguments))) + "\n")
    self._server.stdin.flush()
    return Done(*json.loads(self._server.stdout.readline()))

  def succeed(self, *arguments) -> Done:
    """Runs `launch.py` with these arguments, and asserts that it ends well."""
    done = self(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def _serve():
  import launch

  # Some libraries turn all warnings on.
  filters = list(warnings.filters)
  for module in (
    "mrf_jax.stages.crossval",
    "mrf_jax.inference.export",
    "mrf_jax.stages.finetune",
    "mrf_jax.importing.from_flags",
    "mrf_jax.stages.reconstruct",
    "pypulseq",
  ):
    importlib.import_module(module)
  warnings.filters[:] = filters
  for line in sys.stdin:
    print(json.dumps(_run(launch, json.loads(line))), flush=True)


def _run(launch, arguments: list[str]) -> Done:
  with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
    pid = os.fork()
    if not pid:
      os.dup2(out.fileno(), 1)
      os.dup2(err.fileno(), 2)
      _become(launch, arguments)
    status, usage = _wait(pid)
    seconds = usage.ru_utime + usage.ru_stime
    texts = []
    for file in (out, err):
      file.seek(0)
      texts.append(file.read().decode(errors="replace"))
  code = os.waitstatus_to_exitcode(status)
  return Done(code, *texts, seconds, usage.ru_maxrss / 1024)


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


def _wait(pid: int):
  """The end of a child, which is brought about if it does not come."""
  handle = os.pidfd_open(pid)
  try:
    ended, _, _ = select.select([handle], [], [], _LIMIT_S)
    if not ended:
      os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
  finally:
    os.close(handle)
  return status, usage


if __name__ == "__main__":
  _serve()
