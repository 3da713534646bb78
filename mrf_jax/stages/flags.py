"""The flags of `launch.py`, and what of them makes no command."""

import os
import re
import sys
from typing import Any, NoReturn

from absl import flags, logging
from ml_collections import config_flags

from mrf_jax.errors import UserError, one_line
from mrf_jax.runtime.cluster import in_cluster
from mrf_jax.workdir.lock import check_unlocked

EXPERIMENT_MODES = ("crossval", "sweep", "simulate", "design", "benchmark")

CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "Configuration file; its values: --config.key=value. Of reconstruct with a "
  "dictionary, too.",
)
WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Folder of all results of a configuration. Of report and verify, too.",
)
# Of a configuration, in its workdir; and of files, wherever they lie.
FILE_MODES = (
  "report",
  "verify",
  "import",
  "reconstruct",
  "finetune",
  "export",
)
MODE = flags.DEFINE_enum(
  "mode", "crossval", (*EXPERIMENT_MODES, *FILE_MODES), "Stage."
)
OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "Folder of report (None is the workdir), reconstruct and finetune. File of "
  "import and export.",
)
QUESTIONS = flags.DEFINE_list("questions", [], "Of sweep; none is all.")
COMPARE = flags.DEFINE_list("compare", [], "benchmark.json files, of report.")
PROFILE = flags.DEFINE_boolean(
  "profile",
  False,
  f"Trace to WORKDIR/profile, of {', '.join(EXPERIMENT_MODES)}.",
)
COORDINATOR = flags.DEFINE_string(
  "coordinator",
  None,
  "host:port of the first of several processes. Of crossval, sweep, simulate.",
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Their number.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "This one, from 0.")
TIMEOUT = flags.DEFINE_integer(
  "coordinator_timeout_s", 300, "How long to wait for the others."
)

# What the stages of files take, by the stage that takes most of them.
_OF_RECONSTRUCT: dict[str, tuple] = {
  "model": (
    flags.DEFINE_list,
    [],
    "Of reconstruct: folder of a bundle, or of several, comma-separated, whose "
    "mean is taken; or dictionary or dictionary_svd, with --config. Of "
    "finetune and export: the bundle.",
  ),
  "uncertainty": (
    flags.DEFINE_boolean,
    False,
    "Of reconstruct: deviations of the maps, too.",
  ),
  "passes": (
    flags.DEFINE_integer,
    None,
    "Of reconstruct: with dropout, for deviations; None is 16.",
  ),
  "passes_seed": (
    flags.DEFINE_integer,
    None,
    "Of reconstruct: of what is dropped; None is 0.",
  ),
}
_OF_FINETUNE: dict[str, tuple] = {
  "subjects": (
    flags.DEFINE_list,
    [],
    "Of finetune: subject files with reference maps.",
  ),
  "epochs": (
    flags.DEFINE_integer,
    None,
    "Of finetune; None is by the bundle's number of steps.",
  ),
  "learning_rate": (
    flags.DEFINE_float,
    None,
    "Of finetune; None is by the bundle's own.",
  ),
}
# Of import, and of reconstruct where the scan is no subject file.
_IMPORT = {
  "scan": "Series (.nii, .nii.gz, .mat, .npy, .npz) or raw data (.mrd, .h5); "
  "of reconstruct subject files, too.",
  "imaginary": "Imaginary part of the series where it is a file of its own.",
  "variable": "Of a .mat or .npz file.",
  "imaginary_variable": "Imaginary part where it is a variable of its own.",
  "axes": "Letter of each stored axis, such as xyzt; c is real, imaginary.",
  "affine_from": "NIfTI file of the same shape that says where voxels lie.",
  "voxel_mm": "Sizes of a voxel, such as 1,1,5, instead of what a file says.",
  "mask": "NIfTI; None is the largest bright object.",
  "pd": "NIfTI map of the proton density.",
  "t1": "NIfTI map of T1.",
  "t2": "NIfTI map of T2.",
  "t1_unit": "s, ms or us; None is ms.",
  "t2_unit": "s, ms or us; None is ms.",
  "schedule": "Flip angles and times: text, .mat or .seq (Pulseq), taken to be "
  "gradient-spoiled (FISP) but for text that says # balanced.",
  "schedule_tr": "Text file of TRs where they stand apart, as its one column "
  "or the one named tr_ms.",
  "time_unit": "Of the schedule: ms or s.",
  "angle_unit": "Of the schedule: deg or rad.",
  "inversion_time_ms": "Where the schedule does not say: ms, or none; 20.",
  "trajectory_unit": "Of raw data; None finds the one that fills the band.",
  "subject": "Name of the subject; None is that of the file.",
}
_IMPORT_NUMBERS = {
  "tr_ms": "Where the schedule does not say; 15.",
  "te_ms": "Where the schedule does not say; 2.",
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
    _define(_name, None, f"Of import and reconstruct. {_help}")
for _name, (_define, _default, _help) in {
  **_OF_RECONSTRUCT,
  **_OF_FINETUNE,
}.items():
  _define(_name, _default, _help)

# Names of the flags of import, and of reconstruct.
IMPORT = (*_IMPORT, *_IMPORT_NUMBERS, *_IMPORT_COUNTS, *_IMPORT_CHOICES)
RECONSTRUCT = (*_OF_RECONSTRUCT, *IMPORT)
# Stages that several processes share.
_SHARED = ("crossval", "sweep", "simulate")
# Flags that mean something to some stages only.
_STAGES_OF = {
  "config": (*EXPERIMENT_MODES, "reconstruct"),
  "workdir": (*EXPERIMENT_MODES, "report", "verify"),
  "profile": EXPERIMENT_MODES,
  **dict.fromkeys(
    ("coordinator", "num_processes", "process_id", "coordinator_timeout_s"),
    _SHARED,
  ),
  **dict.fromkeys(IMPORT, ("import", "reconstruct")),
  **dict.fromkeys(_OF_RECONSTRUCT, ("reconstruct",)),
  **dict.fromkeys(_OF_FINETUNE, ("finetune",)),
  "model": ("reconstruct", "finetune", "export"),
  "output": ("report", "import", "reconstruct", "finetune", "export"),
  "questions": ("sweep",),
  "compare": ("report",),
}
# And those that mean something only beside, or not beside, another one.
_WANTS = {"passes": "uncertainty", "passes_seed": "uncertainty"}
_EXCLUDES = {"output": "compare"}


def check(argv: list[str]) -> None:
  """Refuses flags that do not make a command."""
  if len(argv) > 1:
    _fail(f"unknown argument {argv[1]!r}")
  given = flags.FLAGS
  for name, stages in _STAGES_OF.items():
    if given[name].present and MODE.value not in stages:
      _fail(f"--{name} is for --mode={'|'.join(stages)}, not {MODE.value}")
  for name, other in _WANTS.items():
    if given[name].present and not given[other].value:
      _fail(f"--{name} is for --{other}, which is missing")
  for name, other in _EXCLUDES.items():
    if given[name].present and given[other].value:
      _fail(f"--{name} is not for --{other}")
  if flags.FLAGS["config"].present:
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    if not os.path.isfile(path):
      _fail(f"{path}: there is no such configuration file")
  if MODE.value in FILE_MODES:
    return
  if not flags.FLAGS["config"].present:
    _fail("--config is missing")
  if not WORKDIR.value:
    _fail("--workdir is missing")


def process_options() -> dict[str, Any]:
  """Arguments of `runtime.processes.start`."""
  return {
    "coordinator": COORDINATOR.value,
    "num_processes": NUM_PROCESSES.value,
    "process_id": PROCESS_ID.value,
    "timeout_s": TIMEOUT.value,
    "say_error": say_error,
  }


def check_workdir() -> None:
  """Refuses a workdir that another run is writing to, before JAX is awake.

  Processes of one run share theirs, and look later.
  """
  alone = COORDINATOR.value is None and not in_cluster()
  if alone and WORKDIR.value and MODE.value in EXPERIMENT_MODES:
    try:
      check_unlocked(WORKDIR.value)
    except UserError as error:
      _fail(str(error))


def parse(argv: list[str]) -> list[str]:
  """Parses flags; a bad one ends the program with one line."""
  # What a configuration does wrong is said once, below.
  logging.set_verbosity(logging.FATAL)
  try:
    return flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:
    # ml_collections quotes what is quoted already.
    name = re.sub(r"[\"'\\]", "", str(error.args[0]).replace("\\n", " "))
    name = " ".join(name.split()).replace(" Did you mean", "; did you mean")
    _fail(f"--config has no value {name}")
  except (flags.Error, TypeError, ValueError) as error:
    _fail(" ".join(str(error).split()))
  except OSError as error:
    _fail(f"{error.filename}: {error.strerror}")
  except Exception as error:
    # A configuration file is a program, with a program's mistakes.
    _fail(f"--config: {type(error).__name__}: {one_line(error)}")


def _fail(message: str) -> NoReturn:
  say_error(message)
  sys.exit(1)


def say_error(message: str) -> None:
  """One line for the person at the terminal."""
  print(f"error: {message}", file=sys.stderr, flush=True)
