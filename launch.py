"""Launches the stages of mrf_jax from the command line.

python launch.py --config=configs/demo.py --workdir=runs/demo
"""

import importlib

from absl import app, flags, logging

from mrf_jax import command_line

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
  # JAX starts here, after the flags are known to be good.
  from mrf_jax import experiment, processes
  from mrf_jax.errors import UserError
  from mrf_jax.stopping import Stopped, stop_at_once

  try:
    mode = command_line.MODE.value
    if mode in _OF_FILES:
      processes.check_device()
      stop_at_once()
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
  except UserError as error:
    command_line.say_error(str(error))
    processes.leave(1)
  except Stopped as stop:
    command_line.say_error(
      f"stopped by {stop}; the same command goes on where it stopped"
    )
    processes.leave(128 + stop.number)


def _experiment(mode: str) -> None:
  """A stage of a configuration, in one process or several."""
  from mrf_jax import experiment, processes
  from mrf_jax.profiling import profiled
  from mrf_jax.stopping import stop_at_once

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
