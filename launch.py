"""Launches the stages of mrf_jax from the command line.

python launch.py --config=configs/demo.py --workdir=runs/demo
"""

import signal

if __name__ == "__main__":
  # Until there is something to end well. An exception in the middle of imports
  # leaves half of them behind.
  signal.signal(signal.SIGINT, signal.SIG_DFL)

import importlib
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, logging
from absl import flags as absl_flags

from mrf_jax import errors
from mrf_jax.errors import UserError
from mrf_jax.runtime.interrupts import Stopped, set_handlers, stop_at_once
from mrf_jax.stages import flags

# So that --help lists them.
absl_flags.adopt_module_key_flags(flags)

_OF_FILES = {
  "import": "mrf_jax.importing.from_flags:import_files",
  "reconstruct": "mrf_jax.stages.reconstruct:reconstruct_files",
  "finetune": "mrf_jax.stages.finetune:finetune_files",
  "export": "mrf_jax.inference.export:export_files",
  "verify": "mrf_jax.workdir.manifest:verify_files",
}


def main(argv: list[str]) -> None:
  """Runs the stage that the flags name."""
  # Libraries keep their diary to themselves.
  logging.set_verbosity(logging.WARNING)
  flags.check(argv)
  flags.check_workdir()
  # JAX starts below, after the flags are known to be good.
  mode = flags.MODE.value
  try:
    stage = _stage(mode)
    with stop_at_once():
      stage()
  except UserError as error:
    _leave(1, str(error))
  except Stopped as stop:
    said = f"stopped by {stop}; the same command goes on where it stopped"
    _leave(128 + stop.number, said)
  except Exception as error:
    _leave(1, errors.report_unexpected(error, flags.WORKDIR.value))


def _stage(mode: str) -> Callable[[], None]:
  """What the flags name, with all that it imports."""
  if mode in _OF_FILES:
    return _of_files(*_OF_FILES[mode].split(":"))
  from mrf_jax.stages import crossval

  if mode != "report":
    return _of_a_configuration(getattr(crossval, mode))
  return lambda: crossval.report(
    flags.COMPARE.value,
    flags.WORKDIR.value,
    flags.OUTPUT.value,
  )


def _of_files(module: str, name: str) -> Callable[[], None]:
  from mrf_jax.runtime import processes

  stage = getattr(importlib.import_module(module), name)

  def run():
    processes.check_device()
    stage(absl_flags.FLAGS.flag_values_dict())

  return run


def _of_a_configuration(stage: Callable) -> Callable[[], None]:
  """In one process or several."""
  from mrf_jax.runtime import processes
  from mrf_jax.runtime.profiling import profiled

  def run():
    processes.start(
      flags.COORDINATOR.value,
      flags.NUM_PROCESSES.value,
      flags.PROCESS_ID.value,
      timeout_s=flags.TIMEOUT.value,
      say_error=flags.say_error,
    )
    # JAX has set its own.
    set_handlers()
    workdir = flags.WORKDIR.value
    chosen = {}
    if flags.MODE.value == "sweep":
      chosen["questions"] = flags.QUESTIONS.value
    with profiled(workdir if flags.PROFILE.value else None):
      stage(flags.CONFIG.value, workdir, **chosen)

  return run


def _leave(code: int, said: str) -> NoReturn:
  flags.say_error(said)
  # Without it there is nobody to leave, and it may be what has failed.
  processes = sys.modules.get("mrf_jax.runtime.processes")
  if processes is None:
    sys.exit(code)
  processes.leave(code)


if __name__ == "__main__":
  app.run(main, flags_parser=flags.parse)
