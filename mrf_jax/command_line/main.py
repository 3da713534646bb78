"""The program: runs the stage that the flags name, and reports errors."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from absl import logging
from absl.flags import FLAGS

from mrf_jax import errors
from mrf_jax.command_line import flags
from mrf_jax.command_line.modes import FILES
from mrf_jax.io import untrusted
from mrf_jax.runtime.interrupts import Stopped, set_handlers, stop_at_once

if TYPE_CHECKING:
  import ml_collections


def main(argv: list[str]) -> None:
  """Runs the stage that --mode names."""
  # No information messages of libraries.
  logging.set_verbosity(logging.WARNING)
  flags.check(argv)
  try:
    if FLAGS.mode in ("import", "reconstruct", "finetune"):
      # It starts while JAX is imported.
      untrusted.prepare()
    # JAX is imported here, not above, because that takes seconds and flags may
    # be wrong.
    _start_cache()
    from mrf_jax.runtime import processes

    name = "import_scan" if FLAGS.mode == "import" else FLAGS.mode
    stage = importlib.import_module(f"mrf_jax.stages.{name}")
    with stop_at_once():
      if FLAGS.mode in FILES:
        processes.check_device()
        getattr(stage, f"{FLAGS.mode}_files")(FLAGS.flag_values_dict())
      else:
        processes.start(
          **flags.process_options(), cpu_devices=_cpu_devices(FLAGS.config)
        )
        # Again, because JAX has replaced them.
        set_handlers()
        _run_experiment(stage)
  except errors.UserError as error:
    _leave(1, str(error))
  except Stopped as stop:
    message = f"stopped by {stop}; the same command goes on where it stopped"
    _leave(128 + stop.number, message)
  except Exception as error:
    _leave(1, errors.report_unexpected(error, FLAGS.workdir))


def _start_cache() -> None:
  """Lets JAX find the programs that earlier commands compiled."""
  if FLAGS.mode == "benchmark":
    return
  from mrf_jax.runtime import compilation_cache

  def warn(text: str) -> None:
    from mrf_jax.runtime.progress import notice

    notice(f"warning: {text}")

  compilation_cache.start(FLAGS.compilation_cache, warn=warn)


def _run_experiment(stage: ModuleType) -> None:
  """Runs a stage on the configuration and the workdir."""
  from mrf_jax.runtime.profiling import profiled

  options = {}
  if FLAGS.mode == "sweep":
    options["questions"] = FLAGS.questions or ()
  with profiled(FLAGS.workdir if FLAGS.profile else None):
    getattr(stage, FLAGS.mode)(FLAGS.config, FLAGS.workdir, **options)


def _cpu_devices(config: "ml_collections.ConfigDict") -> int:
  """Devices that the cores of a CPU are divided into."""
  # `simulate` as well, whose workdir `crossval` goes on with.
  if FLAGS.mode not in ("simulate", "crossval", "sweep"):
    return 1
  from mrf_jax.experiment.settings import with_files
  from mrf_jax.runtime.processes import devices_for_folds

  # Values that are not valid are named later.
  config = with_files(config)
  folds = config.folds
  n_folds = len(range(config.data.n_subjects) if folds is None else folds)
  return devices_for_folds(-(-n_folds // (FLAGS.num_processes or 1)))


def _leave(code: int, message: str) -> None:
  """Prints an error and ends this process."""
  flags.print_error(message)
  # Not imported here: its import may be what has failed.
  processes = sys.modules.get("mrf_jax.runtime.processes")
  if processes is None:
    sys.exit(code)
  processes.leave(code)
