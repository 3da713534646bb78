"""Launches the stages of mrf_jax from the command line.

python launch.py --config=configs/demo.py --workdir=runs/demo
"""

import importlib
from typing import NoReturn

from absl import app, flags, logging

from mrf_jax import command_line, last_words
from mrf_jax.errors import UserError
from mrf_jax.stopping import Stopped, stop_at_once

# So that --help lists them.
flags.adopt_module_key_flags(command_line)

_OF_FILES = {
  "import": "mrf_jax.importing.command:import_files",
  "reconstruct": "mrf_jax.reconstruction.command:reconstruct_files",
  "finetune": "mrf_jax.finetune:finetune_files",
  "export": "mrf_jax.export:export_files",
  "verify": "mrf_jax.ledger:verify_files",
}


def main(argv: list[str]) -> None:
  """Runs the stage that the flags name."""
  # Libraries keep their diary to themselves.
  logging.set_verbosity(logging.WARNING)
  command_line.check(argv)
  command_line.check_workdir()
  # JAX starts below, after the flags are known to be good.
  try:
    stop_at_once()
    _run(command_line.MODE.value)
  except UserError as error:
    _leave(1, str(error))
  except Stopped as stop:
    said = f"stopped by {stop}; the same command goes on where it stopped"
    _leave(128 + stop.number, said)
  except Exception as error:
    _leave(1, last_words.of(error, command_line.WORKDIR.value))


def _run(mode: str) -> None:
  from mrf_jax import experiment, processes

  if mode in _OF_FILES:
    processes.check_device()
    module, name = _OF_FILES[mode].split(":")
    stage = getattr(importlib.import_module(module), name)
    stage(flags.FLAGS.flag_values_dict())
  elif mode == "report":
    experiment.report(
      command_line.COMPARE.value,
      command_line.WORKDIR.value,
      command_line.OUTPUT.value,
    )
  else:
    _experiment(mode)


def _leave(code: int, said: str) -> NoReturn:
  from mrf_jax import processes

  command_line.say_error(said)
  processes.leave(code)


def _experiment(mode: str) -> None:
  """A stage of a configuration, in one process or several."""
  from mrf_jax import experiment, processes
  from mrf_jax.profiling import profiled

  processes.start(
    command_line.COORDINATOR.value,
    command_line.NUM_PROCESSES.value,
    command_line.PROCESS_ID.value,
    timeout_s=command_line.TIMEOUT.value,
    say_error=command_line.say_error,
  )
  # After JAX's own handlers.
  stop_at_once()
  workdir = command_line.WORKDIR.value
  with profiled(workdir if command_line.PROFILE.value else None):
    questions = command_line.QUESTIONS.value
    chosen = {"questions": questions} if mode == "sweep" else {}
    getattr(experiment, mode)(command_line.CONFIG.value, workdir, **chosen)


if __name__ == "__main__":
  app.run(main, flags_parser=command_line.parse)
