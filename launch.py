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
# Of files, not of a configuration's workdir.
_FILE_STAGES = ("report", "import", "reconstruct", "finetune", "export")
_MODE = flags.DEFINE_enum(
  "mode", "crossval", (*_STAGES, *_FILE_STAGES), "Stage."
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "Folder of report (None is the workdir), reconstruct and finetune. File of "
  "import and export.",
)
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

_MODEL = flags.DEFINE_list(
  "model",
  [],
  "Of reconstruct: folder of a bundle, or of several, comma-separated, whose "
  "mean is taken; or dictionary or dictionary_svd, with --config. Of finetune "
  "and export: the bundle.",
)
_SUBJECTS = flags.DEFINE_list(
  "subjects", [], "Of finetune: subject files with reference maps."
)
_EPOCHS = flags.DEFINE_integer(
  "epochs", None, "Of finetune; None is a quarter of the bundle's."
)
_LEARNING_RATE = flags.DEFINE_float(
  "learning_rate", None, "Of finetune; None is a quarter of the bundle's."
)
_UNCERTAINTY = flags.DEFINE_boolean(
  "uncertainty", False, "Of reconstruct: deviations of the maps, too."
)
_PASSES = flags.DEFINE_integer(
  "passes", None, "Of reconstruct: with dropout, for deviations; None is 16."
)
_PASSES_SEED = flags.DEFINE_integer(
  "passes_seed", None, "Of reconstruct: of what is dropped; None is 0."
)

# Of import, and of reconstruct where the scan is no subject file.
_IMPORT = {
  "scan": "Series (.nii, .nii.gz, .mat, .npy, .npz) or raw data (.mrd, .h5).",
  "imaginary": "Imaginary part of the series where it is a file of its own.",
  "variable": "Of a .mat or .npz file.",
  "imaginary_variable": "Imaginary part where it is a variable of its own.",
  "axes": "Letter of each stored axis, such as xyzt; c is real, imaginary.",
  "affine_from": "NIfTI file of the same shape that says where voxels lie.",
  "voxel_mm": "Sizes of a voxel, such as 1,1,5, where nothing says where.",
  "mask": "NIfTI; None is the largest bright object.",
  "pd": "NIfTI map of the proton density.",
  "t1": "NIfTI map of T1.",
  "t2": "NIfTI map of T2.",
  "t1_unit": "s, ms or us; None is ms.",
  "t2_unit": "s, ms or us; None is ms.",
  "schedule": "Flip angles and times: text, .mat or .seq (Pulseq).",
  "schedule_tr": "Text file of TRs where they stand apart.",
  "time_unit": "Of the schedule: ms or s.",
  "angle_unit": "Of the schedule: deg or rad.",
  "inversion_time_ms": "Where the schedule does not say: a number, or none.",
  "trajectory_unit": "Of raw data; None finds the one that fills the band.",
  "subject": "Name of the subject; None is that of the file.",
}
_IMPORT_NUMBERS = {
  "tr_ms": "Where the schedule does not say.",
  "te_ms": "Where the schedule does not say.",
  "field_strength_t": "Where the scan does not say.",
}
_IMPORT_COUNTS = {
  "n_frames": "Of the schedule, the first ones; None is all.",
  "window": "Frames that an image averages; None is 1.",
  "stride": "Frames from one image to the next; None is 1.",
}
_IMPORT_CHOICES = {
  "leave_out_invalid": "Take voxels without valid maps out of the mask.",
  "align_phases": "Make the largest part of a fingerprint real; None: of raw.",
  "demodulate": "Take the phases of the pulses off raw data.",
}
for _define, _flags in (
  (flags.DEFINE_string, _IMPORT),
  (flags.DEFINE_float, _IMPORT_NUMBERS),
  (flags.DEFINE_integer, _IMPORT_COUNTS),
  (flags.DEFINE_boolean, _IMPORT_CHOICES),
):
  for _name, _help in _flags.items():
    _define(_name, None, f"Of import. {_help}")


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
    if _MODE.value == "import":
      from mrf_jax.importing.command import import_files

      import_files(flags.FLAGS.flag_values_dict())
      return
    if _MODE.value == "finetune":
      from mrf_jax.finetune import finetune_files

      stop_at_once()
      finetune_files(flags.FLAGS.flag_values_dict())
      return
    if _MODE.value == "export":
      from mrf_jax.export import export_files

      export_files(flags.FLAGS.flag_values_dict())
      return
    if _MODE.value == "reconstruct":
      from mrf_jax.reconstruction.command import reconstruct_files

      reconstruct_files(flags.FLAGS.flag_values_dict(), _CONFIG.value)
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
  if _MODE.value in _FILE_STAGES:
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
