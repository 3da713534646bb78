"""Launches the stages of mrf_jax from the command line.

python launch.py --config=configs/demo.py --workdir=runs/demo
"""

import os
import sys

from absl import app, flags, logging
from ml_collections import config_flags

_STAGES = ("crossval", "sweep", "simulate", "design", "benchmark")

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Configuration file; its values: --config.key=value."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of all results.")
_MODE = flags.DEFINE_enum("mode", "crossval", (*_STAGES, "report"), "Stage.")
_OUTPUT = flags.DEFINE_string("output", None, "Of report; None is the workdir.")
_QUESTIONS = flags.DEFINE_list("questions", [], "Of sweep; none is all.")
_COMPARE = flags.DEFINE_list("compare", [], "benchmark.json files, of report.")
_PROFILE = flags.DEFINE_boolean("profile", False, "Trace to WORKDIR/profile.")
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "host:port of the first of several processes."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Their number.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "This one, from 0.")
_TIMEOUT = flags.DEFINE_integer(
  "coordinator_timeout_s", 300, "How long to wait for the others."
)


def main(argv: list[str]) -> None:
  """Runs the stage that the flags name."""
  # Libraries keep their diary to themselves.
  logging.set_verbosity(logging.WARNING)
  # JAX starts here, after the flags are known to be good.
  from mrf_jax import experiment, processes
  from mrf_jax.errors import UserError
  from mrf_jax.profiling import profiled
  from mrf_jax.stopping import Stopped, stop_at_once

  try:
    _check_flags(argv)
    if _MODE.value == "report":
      experiment.report(_COMPARE.value, _WORKDIR.value, _OUTPUT.value)
      return
    processes.start(
      _COORDINATOR.value,
      _NUM_PROCESSES.value,
      _PROCESS_ID.value,
      timeout_s=_TIMEOUT.value,
      say_error=_say_error,
    )
    # After JAX's own handlers.
    stop_at_once()
    with profiled(_WORKDIR.value if _PROFILE.value else None):
      chosen = {"questions": _QUESTIONS.value} if _MODE.value == "sweep" else {}
      getattr(experiment, _MODE.value)(_CONFIG.value, _WORKDIR.value, **chosen)
  except UserError as error:
    _say_error(str(error))
    processes.leave(1)
  except Stopped as stop:
    _say_error(f"stopped by {stop}; the same command goes on where it stopped")
    processes.leave(128 + stop.number)


def _check_flags(argv: list[str]) -> None:
  """Refuses flags that do not make a command."""
  if len(argv) > 1:
    _fail(f"unknown argument {argv[1]!r}")
  if _MODE.value == "report":
    return
  if not flags.FLAGS["config"].present:
    _fail("--config is missing")
  path = config_flags.get_config_filename(flags.FLAGS["config"])
  if not os.path.isfile(path):
    _fail(f"{path}: there is no such configuration file")
  if not _WORKDIR.value:
    _fail("--workdir is missing")


def _parse(argv: list[str]) -> list[str]:
  """Parses flags; a bad one ends the program with one line."""
  try:
    return flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:
    # ml_collections quotes what is quoted already.
    name = str(error.args[0]).replace("\\n", " ").replace("\\", "")
    name = " ".join(name.strip("\"'").split())
    _fail(f"--config has no value {name}")
  except (flags.Error, TypeError, ValueError) as error:
    _fail(" ".join(str(error).split()))
  except OSError as error:
    _fail(f"{error.filename}: {error.strerror}")


def _fail(message: str):
  _say_error(message)
  sys.exit(1)


def _say_error(message: str) -> None:
  print(f"error: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
  app.run(main, flags_parser=_parse)
