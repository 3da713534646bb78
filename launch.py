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

from absl import app, flags, logging

from mrf_jax import command_line, errors
from mrf_jax.errors import UserError
from mrf_jax.runtime.interrupts import Stopped, set_handlers, stop_at_once

# So that --help lists them.
flags.adopt_module_key_flags(command_line)

_OF_FILES = {
  "import": "mrf_jax.importing.from_flags:import_files",
  "reconstruct": "mrf_jax.reconstruction.command:reconstruct_files",
  "finetune": "mrf_jax.finetune:finetune_files",
  "export": "mrf_jax.inference.export:export_files",
  "verify": "mrf_jax.workdir.manifest:verify_files",
}


def main(argv: list[str]) -> None:
  """Runs the stage that the flags name."""
  # Libraries keep their diary to themselves.
  logging.set_verbosity(logging.WARNING)
  command_line.check(argv)
  command_line.check_workdir()
  # JAX starts below, after the flags are known to be good.
  mode = command_line.MODE.value
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
    _leave(1, errors.report_unexpected(error, command_line.WORKDIR.value))


def _stage(mode: str) -> Callable[[], None]:
  """What the flags name, with all that it imports."""
  if mode in _OF_FILES:
    return _of_files(*_OF_FILES[mode].split(":"))
  from mrf_jax.stages import crossval

  if mode != "report":
    return _of_a_configuration(getattr(crossval, mode))
  return lambda: crossval.report(
    command_line.COMPARE.value,
    command_line.WORKDIR.value,
    command_line.OUTPUT.value,
  )


def _of_files(module: str, name: str) -> Callable[[], None]:
  from mrf_jax.runtime import processes

  stage = getattr(importlib.import_module(module), name)

  def run():
    processes.check_device()
    stage(flags.FLAGS.flag_values_dict())

  return run


def _of_a_configuration(stage: Callable) -> Callable[[], None]:
  """In one process or several."""
  from mrf_jax.runtime import processes
  from mrf_jax.runtime.profiling import profiled

  def run():
    processes.start(
      command_line.COORDINATOR.value,
      command_line.NUM_PROCESSES.value,
      command_line.PROCESS_ID.value,
      timeout_s=command_line.TIMEOUT.value,
      say_error=command_line.say_error,
    )
    # JAX has set its own.
    set_handlers()
    workdir = command_line.WORKDIR.value
    chosen = {}
    if command_line.MODE.value == "sweep":
      chosen["questions"] = command_line.QUESTIONS.value
    with profiled(workdir if command_line.PROFILE.value else None):
      stage(command_line.CONFIG.value, workdir, **chosen)

  return run


def _leave(code: int, said: str) -> NoReturn:
  command_line.say_error(said)
  # Without it there is nobody to leave, and it may be what has failed.
  processes = sys.modules.get("mrf_jax.runtime.processes")
  if processes is None:
    sys.exit(code)
  processes.leave(code)


if __name__ == "__main__":
  app.run(main, flags_parser=command_line.parse)
