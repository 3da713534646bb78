"""Checks of a configuration, and the objects that its values describe."""

import dataclasses
import math
import os
from typing import Any

import ml_collections

from mrf_jax.checks import (
  check_at_least,
  check_gradient_delays,
  check_noise_correlation,
  check_one_of,
  check_t2_bound,
)
from mrf_jax.dataset.subject import load_subject
from mrf_jax.errors import UserError
from mrf_jax.experiment.generated_heads import check_generated_heads
from mrf_jax.importing.map_folder import read_head_maps
from mrf_jax.methods import METHODS
from mrf_jax.runtime.precision import check_precision
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.files import load_sequence, read_schedule
from mrf_jax.sequence.schedules import SEQUENCES
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.simulation.imperfections import Imperfections
from mrf_jax.simulation.tissue import FIELD_STRENGTH_T, brain_at

_SECTIONS = (
  "seed",
  "precision",
  "methods",
  "data",
  "sequence",
  "scan",
  "reference",
  "preprocessing",
  "training",
  "gomez",
  "dictionary",
  "evaluation",
)
# Values to the least that they may be.
_LEAST = {
  "data.n_subjects": 1,
  "data.grid.matrix": 8,
  "data.grid.n_slices": 1,
  "data.between_subjects": 0,
  "data.within_tissue": 0,
  "data.b1_deviation": 0,
  "data.local_variation.wm": 0,
  "data.local_variation.gm": 0,
  "data.local_variation.csf": 0,
  "data.b0.shim_hz": 0,
  "data.phase_deg": 0,
  "data.b0.r2_prime_per_s": 0,
  "data.motion.between_scans_mm": 0,
  "data.motion.between_scans_deg": 0,
  "data.motion.between_slices_mm": 0,
  "data.motion.between_slices_deg": 0,
  "data.lesions.count": 0,
  "scan.n_coils": 1,
  "scan.spiral.n_arms": 1,
  "scan.spiral.samples_per_arm": 1,
  "scan.noise_level": 0,
  "scan.slice_time_bandwidth": 0,
  "scan.inversion_efficiency": 0,
  "reference.noise_level": 0,
}
# And the most of what another unit would make large: Hz, 1/s, mm, degrees.
_MOST = {
  "data.b0.shim_hz": 1000.0,
  "data.b0.r2_prime_per_s": 1000.0,
  "data.motion.between_scans_mm": 50.0,
  "data.motion.between_scans_deg": 45.0,
  "data.motion.between_slices_mm": 50.0,
  "data.motion.between_slices_deg": 45.0,
}
# Of a measured map, from which on it would say nothing.
_MOST_B1_ERROR = 0.5
_ABOVE_ZERO = (
  "scan.spiral.readout_ms",
  "data.grid.fov_mm",
  "data.grid.slice_thickness_mm",
  "scan.subspace_tolerance",
  "reference.vfa_tr_ms",
  "reference.fse_tr_ms",
)
_FINITE = (
  "data.b0.shim_hz",
  "data.phase_deg",
  "data.b0.r2_prime_per_s",
  "data.grid.centre_z_mm",
  "data.between_subjects",
  "data.within_tissue",
  "data.b1_deviation",
  "data.local_variation.wm",
  "data.local_variation.gm",
  "data.local_variation.csf",
  "scan.noise_level",
  "reference.noise_level",
)
# Extent of the simulated brain from feet to head.
_BRAIN_Z_MM = (-75.0, 85.0)


def with_files(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The configuration with one subject for each file or folder that it names.

  Returns:
    A copy with `data.n_subjects` set, and `data.files` and `data.maps` as
    absolute paths; the configuration itself if it names none.

  Raises:
    UserError: it is not a configuration of an experiment, or names both.
  """
  _check_sections(config)
  named = [name for name in ("files", "maps") if config.data.get(name)]
  if not named:
    return config
  if len(named) > 1:
    raise UserError("data.files, data.maps: subjects are of one of the two")
  config = config.copy_and_resolve_references()
  # Absolute, because results may later be read from another folder.
  paths = tuple(os.path.abspath(path) for path in config.data[named[0]])
  config.data[named[0]] = paths
  config.data.n_subjects = len(paths)
  return config


def acquisition_of(config: ml_collections.ConfigDict) -> Acquisition:
  """Acquisition of the first subject file; without files, of the simulation.

  Raises:
    UserError: the file or the schedule is not valid, or the window does not fit
      the sequence.
  """
  # Configurations that were stored before there were files lack the key.
  files = config.data.get("files")
  if files:
    return load_subject(files[0], with_signals=False).acquisition
  return simulated_acquisition(config)


def simulated_acquisition(config: ml_collections.ConfigDict) -> Acquisition:
  """Pulse sequence and sliding window of simulated subjects.

  Raises:
    UserError: the schedule is not valid, or the window does not fit it.
  """
  sequence, scan = sequence_of(config.sequence), config.scan
  # Of a file's own pulses, if it says what they are.
  if scan.slice_time_bandwidth and sequence.slice_time_bandwidth is None:
    sequence = dataclasses.replace(
      sequence, slice_time_bandwidth=float(scan.slice_time_bandwidth)
    )
  try:
    return Acquisition(sequence, scan.window, scan.stride)
  except UserError as error:
    raise UserError(f"scan: {error}") from error


def check_values(config: ml_collections.ConfigDict) -> None:
  """Checks the sections of a configuration, and its counts and sizes.

  Raises:
    UserError: it is not a configuration of an experiment, or a value is missing
      or out of its range.
  """
  _check_sections(config)
  for name, least in _LEAST.items():
    check_at_least(name, _number(config, name), least)
  for name in _ABOVE_ZERO:
    value = _number(config, name)
    if not 0 < value < math.inf:
      raise UserError(f"{name} is {value}, not above 0 and finite")
  for name in _FINITE:
    value = _number(config, name)
    if not math.isfinite(value):
      raise UserError(f"{name} is {value}, not finite")
  _check_field(config)
  _check_imperfections(config)
  check_generated_heads(config)
  grid = config.data.grid
  half = grid.n_slices * grid.slice_thickness_mm / 2
  low, high = _BRAIN_Z_MM
  if not low - half < grid.centre_z_mm < high + half:
    raise UserError(
      f"data.grid: no brain in the slices around z = {grid.centre_z_mm:g} mm"
    )


def field_strength_of(data: ml_collections.ConfigDict) -> float:
  """Main field of simulated scans, T; before there was a choice, 1.5."""
  return data.get("field_strength_t", FIELD_STRENGTH_T)


def _check_field(config: ml_collections.ConfigDict) -> None:
  """Raises `UserError` for a main field without tissue values."""
  field_t = field_strength_of(config.data)
  is_number = isinstance(field_t, (int, float)) and 0 < field_t < math.inf
  if not is_number:
    raise UserError(f"data.field_strength_t is {field_t}, not a field in T")
  # Subjects of files and of maps have their own T1 and T2.
  if config.data.get("files") or config.data.get("maps"):
    return
  try:
    brain_at(field_t)
  except UserError as error:
    raise UserError(f"data.field_strength_t: {error}") from error


def _check_imperfections(config: ml_collections.ConfigDict) -> None:
  """Raises `UserError` for imperfections of a scan that none has."""
  for name, most in _MOST.items():
    value = _number(config, name)
    if value > most:
      raise UserError(
        f"{name} is {value:g}; {most:g} is more than any scan has"
      )
  if config.data.lesions.count and config.data.get("maps"):
    raise UserError(
      "data.lesions: are of MNI152 heads; data.maps need data.lesions.count=0"
    )
  scan = config.scan
  if scan.inversion_efficiency > 1:
    raise UserError(
      f"scan.inversion_efficiency is {scan.inversion_efficiency:g}, above 1"
    )
  if 0 < scan.slice_time_bandwidth < 1:
    raise UserError(
      f"scan.slice_time_bandwidth is {scan.slice_time_bandwidth:g}, neither 0, "
      "an ideal slice, nor at least 1"
    )
  check_noise_correlation(_number(config, "scan.noise_correlation"))
  b1_map_error = scan.get("b1_map_error")
  if b1_map_error is not None and not 0 <= b1_map_error <= _MOST_B1_ERROR:
    raise UserError(
      f"scan.b1_map_error is {b1_map_error:g}, not a standard deviation of a "
      f"factor on the flip angles, from 0 to {_MOST_B1_ERROR:g}"
    )
  check_gradient_delays(
    scan.gradient_delays_us, readout_ms=scan.spiral.readout_ms
  )
  check_t2_bound(config.reference.t2_bound_ms, config.reference.te_ms)


def _check_sections(config: Any) -> None:
  """Raises `UserError` if it is not a configuration with all sections."""
  if not isinstance(config, ml_collections.ConfigDict):
    raise UserError(
      f"--config: get_config returns {type(config).__name__}, not a ConfigDict"
    )
  missing = [name for name in _SECTIONS if name not in config]
  if missing:
    raise UserError(f"--config: it has no {', '.join(missing)}")


def _number(config: ml_collections.ConfigDict, name: str) -> float:
  """The number of a dotted name."""
  value: Any = config
  for part in name.split("."):
    if not isinstance(value, ml_collections.ConfigDict) or part not in value:
      raise UserError(f"--config: it has no {name}")
    value = value[part]
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise UserError(f"{name} is {value!r}, not a number")
  return value


def check_methods(config: ml_collections.ConfigDict) -> None:
  """Checks a configuration and all its methods before anything is computed.

  Raises:
    UserError: a value is not valid, a method is unknown, or one of its options
      is out of its range or does not fit the scan.
  """
  check_values(config)
  find_folds(config)
  if not config.methods:
    raise UserError("methods: is empty; known are " + ", ".join(METHODS))
  for method in config.methods:
    if method not in METHODS:
      raise UserError(
        f"methods: {method!r} is unknown; known are {', '.join(METHODS)}"
      )
  learns = any(METHODS[method].learns for method in config.methods)
  if config.data.n_subjects < 2 and learns:
    raise UserError(
      f"data.n_subjects is {config.data.n_subjects}; leave-one-out needs at "
      "least two"
    )
  check_precision(config.precision)
  n_windows = acquisition_of(config).n_windows
  for method in config.methods:
    METHODS[method].check(config, n_windows=n_windows)


def find_folds(config: ml_collections.ConfigDict) -> tuple[int, ...]:
  """Numbers of the subjects that are left out, one in each fold.

  Raises:
    UserError: a number is not a subject's or is repeated, or the list is empty.
  """
  numbers = range(config.data.n_subjects)
  if config.folds is None:
    return tuple(numbers)
  folds = tuple(config.folds)
  if not folds or len(set(folds)) < len(folds) or not set(folds) <= {*numbers}:
    raise UserError(
      f"folds: {folds} are not different numbers from 0 to {numbers[-1]}"
    )
  return folds


def networks_of(config: ml_collections.ConfigDict) -> list[str]:
  """Methods of a configuration that are trained."""
  return [m for m in config.methods if METHODS[m].train is not None]


def field_options(data: ml_collections.ConfigDict) -> dict:
  """Arguments of `phantom_of` on fields and phase, of any head."""
  return {
    "b1_deviation": data.b1_deviation,
    "b0": data.b0.to_dict() if any(data.b0.values()) else None,
    "phase_deg": data.phase_deg,
    "field_strength_t": field_strength_of(data),
  }


def phantom_options(data: ml_collections.ConfigDict, number: int = 0) -> dict:
  """Arguments of `phantom_of` of a subject, from the section `data`.

  Raises:
    UserError: its maps are not valid.
  """
  fields = field_options(data)
  if data.get("maps"):
    return {"maps": read_head_maps(data.maps[number]), **fields}
  return {
    "head": data.head.to_dict(),
    "lesions": data.lesions.to_dict() if data.lesions.count else None,
    "between_subjects": data.between_subjects,
    "within_tissue": data.within_tissue,
    "local_variation": data.local_variation.to_dict(),
    **fields,
  }


def imperfections_of(config: ml_collections.ConfigDict) -> Imperfections:
  """Imperfections of a scan, from the sections `data` and `scan`."""
  motion, scan = config.data.motion.to_dict(), config.scan
  return Imperfections(
    inversion_efficiency=scan.inversion_efficiency,
    motion=motion if any(motion.values()) else None,
    gradient_delays_us=tuple(scan.gradient_delays_us),
    noise_correlation=scan.noise_correlation,
    # Configurations that were stored before there was one lack the key.
    b1_map_error=scan.get("b1_map_error"),
    estimated_sensitivities=scan.estimated_sensitivities,
  )


def sequence_of(options: ml_collections.ConfigDict) -> Sequence:
  """Pulse sequence of the section `sequence`: of `SEQUENCES` or from a file.

  Raises:
    UserError: the name is unknown, or the file is missing or not valid.
  """
  if options.path is None:
    check_one_of("sequence.kind", options.kind, SEQUENCES)
    return SEQUENCES[options.kind](options.n_frames)
  return load_sequence(options.path, **_of_file(options))


def schedule_in_words(options: ml_collections.ConfigDict) -> list[str]:
  """Sentences on a schedule from a file, and on what the file leaves open."""
  if options.path is None:
    return []
  schedule = read_schedule(options.path, **_of_file(options))
  lines = repr(schedule.sequence).removeprefix("Sequence: ").splitlines()
  said = [f"schedule {options.path}: " + "; ".join(map(str.strip, lines))]
  if schedule.open_times:
    times = [f"{k} {time:g}" for k, time in schedule.open_values().items()]
    said.append(
      f"{options.path} does not say all of it; assumed: {', '.join(times)}"
    )
  return [*said, *schedule.notes]


def _of_file(options: ml_collections.ConfigDict) -> dict[str, Any]:
  """Arguments of the readers of schedules."""
  return dict(
    tr_path=options.tr_path,
    te_ms=options.te_ms,
    inversion_time_ms=options.inversion_time_ms,
    n_frames=options.n_frames,
    time_unit=options.time_unit,
    angle_unit=options.angle_unit,
    echo=options.echo,
  )
