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
from typing import NoReturn

import absl.flags
from absl import app, logging

from mrf_jax import errors
from mrf_jax.runtime.interrupts import Stopped, set_handlers, stop_at_once
from mrf_jax.stages import flags

# So that --help lists them.
absl.flags.adopt_module_key_flags(flags)


def main(argv: list[str]) -> None:
  """Runs the stage that the flags name."""
  # Libraries keep their diary to themselves.
  logging.set_verbosity(logging.WARNING)
  flags.check(argv)
  flags.check_workdir()
  mode = flags.MODE.value
  try:
    # JAX starts here, after the flags are known to be good.
    from mrf_jax.runtime import processes

    name = "import_scan" if mode == "import" else mode
    stage = importlib.import_module(f"mrf_jax.stages.{name}")
    with stop_at_once():
      if mode in flags.FILE_MODES:
        processes.check_device()
        getattr(stage, f"{mode}_files")(absl.flags.FLAGS.flag_values_dict())
      else:
        processes.start(**flags.process_options())
        # JAX has set its own.
        set_handlers()
        _run_experiment(getattr(stage, mode))
  except errors.UserError as error:
    _leave(1, str(error))
  except Stopped as stop:
    message = f"stopped by {stop}; the same command goes on where it stopped"
    _leave(128 + stop.number, message)
  except Exception as error:
    _leave(1, errors.report_unexpected(error, flags.WORKDIR.value))


def _run_experiment(stage) -> None:
  from mrf_jax.runtime.profiling import profiled

  chosen = {}
  if flags.MODE.value == "sweep":
    chosen["questions"] = flags.QUESTIONS.value
  with profiled(flags.WORKDIR.value if flags.PROFILE.value else None):
    stage(flags.CONFIG.value, flags.WORKDIR.value, **chosen)


def _leave(code: int, message: str) -> NoReturn:
  flags.say_error(message)
  # Without it there is nobody to leave, and it may be what has failed.
  processes = sys.modules.get("mrf_jax.runtime.processes")
  if processes is None:
    sys.exit(code)
  processes.leave(code)


if __name__ == "__main__":
  app.run(main, flags_parser=flags.parse)
