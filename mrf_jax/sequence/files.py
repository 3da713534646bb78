"""Reads schedules from text, MATLAB and Pulseq files, and writes text files."""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrf_jax.checks import check_at_least, check_one_of
from mrf_jax.errors import UserError
from mrf_jax.io.atomic import replacing
from mrf_jax.sequence.columns import (
  Table,
  check_order,
  read_column,
  read_text,
)
from mrf_jax.sequence.pulseq import is_pulseq, read_train
from mrf_jax.sequence.sequence import (
  FRAME_FIELDS,
  PREPARATION_FIELDS,
  PULSE_FIELDS,
  Sequence,
  make_sequence,
)
from mrf_jax.sequence.variables import read_matlab
from mrf_jax.units import (
  ANGLES_DEG,
  PHASES_DEG,
  SECONDS,
  TIMES_MS,
  TOO_LONG,
  are_within_radians,
  check_sequence_time,
  flip_problem,
  look_like_radians,
  phase_units,
  sequence_time_problem,
  short_inversion,
)

_TIMES = ("tr_ms", "te_ms", "inversion_time_ms")
# A first pulse above the one, and others below the other, are an inversion
# among the frames, degrees.
_INVERSION_DEG, _EXCITATION_DEG = 170.0, 120.0


@dataclasses.dataclass(frozen=True)
class Schedule:
  """A pulse sequence as a file has it, and what the file leaves open.

  Attributes:
    sequence: the checked sequence.
    open_times: those of TR, TE and inversion time that no file has.
    by_position: fields of the columns of a text file, if they have no names.
    notes: sentences on what was not read, or may mean something else.
  """

  sequence: Sequence
  open_times: tuple[str, ...] = ()
  by_position: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()

  def open_values(self) -> dict[str, float]:
    """What the open times were taken to be, of the first frame, ms."""
    values = {name: getattr(self.sequence, name) for name in self.open_times}
    return {
      name: float(np.ravel(value)[0])
      for name, value in values.items()
      if value is not None
    }


def load_sequence(
  path: str | os.PathLike,
  *,
  tr_path: str | os.PathLike | None = None,
  tr_ms: float = 15.0,
  te_ms: float = 2.0,
  inversion_time_ms: float | None = 20.0,
  n_frames: int | None = None,
  time_unit: str | None = None,
  angle_unit: str | None = None,
  phase_unit: str | None = None,
  variables: Mapping[str, str] | None = None,
  echo: str = "adc_start",
) -> Sequence:
  """Reads a schedule from a file; its suffix gives the format.

  Text: one row a frame, with numbers split by blanks, commas or semicolons.
  Lines that start with #, % or // are comments, except for settings of the
  whole sequence, such as `# inversion_time_ms 20` (or another preparation of
  `Sequence`, or `none`), `# TI = 20 ms`, `# balanced` and
  `# slice_time_bandwidth 4`. The columns are flip angle and then, if there are
  more, TR, TE and RF phase; a first line of names (`flip_angle_deg,tr_ms`,
  which may be a comment, and may state units as in `TR [s]`) gives another
  order. Public schedules, such as the Jiang-type one,
  often come as two single-column files: name the second as `tr_path`.

  `.mat`: MATLAB files of any version with the variables FA, TR, TE, PH and TI,
  similar ones, or others that `variables` names. `.seq`: see `read_train`,
  which reads all times and angles from the file, and whether it is balanced.

  Args:
    path: the file.
    tr_path: a text file of repetition times, with one column or with several
      of which one is named TR; it may have more frames than the other file.
    tr_ms: repetition time if no file has it, ms.
    te_ms: echo time if the file does not have it, ms.
    inversion_time_ms: delay after the adiabatic inversion if the file does not
      have it, ms; None for no inversion.
    n_frames: number of the first frames to keep; None keeps all.
    time_unit: of the file, `ms`, `s` or `us`; None is ms, and times that look
      like another unit are an error.
    angle_unit: of the file, `deg` or `rad`; None is deg, and flip angles that
      look like radians, or are above 180°, are an error.
    phase_unit: of the phases, `deg`, `rad`, `cycles` or `half_turns`; None is
      `angle_unit`, and phases that may be in another unit are an error.
    variables: field of `Sequence` to the variable of a MATLAB file.
    echo: of a Pulseq file, see `read_train`.

  Returns:
    The checked sequence.

  Raises:
    UserError: a file is missing, is not what its suffix says, or is too short;
      lists differ in length; a unit, a name or a comment is doubtful; a keyword
      is not for this kind of file.

  Warns:
    UserWarning: a part of the file is not read, or what it says is doubtful.
  """
  schedule = read_schedule(
    path,
    tr_path=tr_path,
    tr_ms=tr_ms,
    te_ms=te_ms,
    inversion_time_ms=inversion_time_ms,
    n_frames=n_frames,
    time_unit=time_unit,
    angle_unit=angle_unit,
    phase_unit=phase_unit,
    variables=variables,
    echo=echo,
  )
  for note in schedule.notes:
    warnings.warn(note, stacklevel=2)
  return schedule.sequence


def read_schedule(
  path: str | os.PathLike,
  *,
  tr_path: str | os.PathLike | None = None,
  tr_ms: float = 15.0,
  te_ms: float = 2.0,
  inversion_time_ms: float | None = 20.0,
  n_frames: int | None = None,
  time_unit: str | None = None,
  angle_unit: str | None = None,
  phase_unit: str | None = None,
  variables: Mapping[str, str] | None = None,
  echo: str = "adc_start",
) -> Schedule:
  """Reads a schedule as `load_sequence` does, and says what it leaves open.

  Its sentences are returned, where `load_sequence` warns.
  """
  path = pathlib.Path(path)
  if n_frames is not None:
    check_at_least("n_frames", n_frames, 1)
  units = {"time": time_unit, "angle": angle_unit, "phase": phase_unit}
  for kind, known in (
    ("time", TIMES_MS),
    ("angle", ANGLES_DEG),
    ("phase", PHASES_DEG),
  ):
    if units[kind] is not None:
      check_one_of(f"{kind}_unit", units[kind], known)
  if is_pulseq(path):
    for name, value in (
      ("tr_path", tr_path),
      *((f"{kind}_unit", unit) for kind, unit in units.items()),
      ("variables", variables),
    ):
      if value is not None:
        raise UserError(f"{path}: {name} is {value!r}, but not for .seq files")
    train = read_train(path, echo=echo, n_frames=n_frames)
    return Schedule(train.sequence, notes=train.remarks)
  defaults = {
    "tr_ms": tr_ms,
    "te_ms": te_ms,
    "inversion_time_ms": inversion_time_ms,
  }
  for name, default in defaults.items():
    if default is not None:
      check_sequence_time(name, name, default)
  table = _read_table(path, variables or {}, time_unit)
  if tr_path is not None:
    other = read_column(pathlib.Path(tr_path), "tr_ms")
    table.columns["tr_ms"] = other.columns["tr_ms"]
    table.units = {**table.units, **other.units}
    if not table.is_named and not other.is_named:
      check_order(path, table.columns)
  _convert_times(table, path, time_unit)
  _convert_flips(table, path, angle_unit)
  _convert_phases(table, path, angle_unit, phase_unit)
  return _schedule(table, defaults, path, tr_path, n_frames)


def _read_table(
  path: pathlib.Path, variables: Mapping[str, str], time_unit: str | None
) -> Table:
  """The columns of a text or MATLAB file, of as many frames as flip angles."""
  if path.suffix.lower() == ".mat":
    table = read_matlab(path, variables)
  else:
    table = read_text(path, time_unit=time_unit)
  columns = table.columns
  n_angles = len(columns["flip_angles_deg"])
  for name, values in columns.items():
    expected = 1 if name in PREPARATION_FIELDS else n_angles
    # A single number is that of all frames.
    if len(values) == 1 and name != "flip_angles_deg":
      columns[name] = np.full(expected, values[0])
    elif len(values) != expected:
      raise UserError(
        f"{path}: {name} has length {len(values)}, not {expected}"
        + ("" if expected == 1 else " as flip_angles_deg")
      )
  return table


def _schedule(
  table: Table, defaults: Mapping[str, Any], path, tr_path, n_frames
) -> Schedule:
  """The schedule of a table in ms and degrees."""
  given = {*table.columns, *table.settings}
  # A column has precedence over a comment.
  frames = {
    name: np.full(len(table.columns["flip_angles_deg"]), value)
    for name, value in table.settings.items()
    if name in ("tr_ms", "te_ms", "rf_phases_deg")
  }
  columns = {**frames, **table.columns}
  fields = _frame_fields(
    columns, {**defaults, "rf_phases_deg": 0.0}, path, tr_path, n_frames
  )
  fields["inversion_time_ms"] = defaults["inversion_time_ms"]
  for name in (*PREPARATION_FIELDS, "balanced", *PULSE_FIELDS):
    if name in table.columns:
      fields[name] = float(table.columns[name][0])
    elif name in table.settings:
      fields[name] = table.settings[name]
  # A saturation stands for the inversion that is assumed, not for a stated one.
  if fields.get("saturation_time_ms") is not None:
    if "inversion_time_ms" not in given:
      given.add("inversion_time_ms")
      fields["inversion_time_ms"] = None
  try:
    sequence = make_sequence(**fields)
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  return Schedule(
    sequence,
    tuple(name for name in _TIMES if name not in given),
    () if table.is_named else tuple(table.columns),
    (*table.notes, *_notes(sequence, path)),
  )


def _notes(sequence: Sequence, path) -> list[str]:
  """Sentences on what is possible, but may mean something else."""
  notes = []
  flips = np.abs(sequence.flip_angles_deg)
  first, others = float(flips[0]), flips[1:]
  if first >= _INVERSION_DEG and np.all(others <= _EXCITATION_DEG):
    before = sequence.inversion_time_ms
    notes.append(
      f"{path}: the first frame is a pulse of {first:g}°; if it is the "
      "inversion, it is no frame"
      + ("" if before is None else f", and another one {before:g} ms before it")
    )
  short = short_inversion(sequence.inversion_time_ms)
  return [*notes, f"{path}: {short}"] if short else notes


def _frame_fields(
  columns: Mapping[str, np.ndarray],
  defaults: Mapping[str, Any],
  path,
  tr_path,
  n_frames: int | None,
) -> dict[str, Any]:
  """The frame fields of a sequence, of the first `n_frames` if given."""
  n_angles = len(columns["flip_angles_deg"])
  if n_frames is None:
    n_frames = n_angles
  fields: dict[str, Any] = {}
  for name in FRAME_FIELDS:
    if name not in columns:
      fields[name] = np.full(n_frames, defaults[name])
      continue
    values = columns[name]
    if name == "tr_ms" and len(values) < n_frames <= n_angles:
      raise UserError(
        f"{tr_path}: tr_ms[{len(values)}] is missing: {len(values)} TRs, but "
        f"{path} has {n_angles} flip angles"
      )
    if len(values) < n_frames:
      raise UserError(
        f"{path}: {name}: {len(values)} frames, {n_frames} are needed"
      )
    fields[name] = values[:n_frames]
  return fields


def save_sequence(sequence: Sequence, path: str | os.PathLike) -> None:
  """Writes a schedule as text that `load_sequence` reads.

  Its comments hold what applies to the whole sequence: preparations, whether
  it is balanced, and what is known of its pulses.

  Args:
    sequence: the pulse sequence.
    path: the file; an old one is replaced.
  """
  preparations = {name: getattr(sequence, name) for name in PREPARATION_FIELDS}
  lines = [
    f"# {name} {'none' if value is None else f'{value:.9g}'}"
    for name, value in preparations.items()
  ]
  if sequence.balanced:
    lines.append("# balanced")
  if sequence.slice_time_bandwidth is not None:
    lines.append(f"# slice_time_bandwidth {sequence.slice_time_bandwidth:.9g}")
  if sequence.inversion_efficiency != 1:
    lines.append(f"# inversion_efficiency {sequence.inversion_efficiency:.9g}")
  lines.append(",".join(FRAME_FIELDS))
  columns = (getattr(sequence, name) for name in FRAME_FIELDS)
  for frame in zip(*columns, strict=True):
    lines.append(",".join(f"{float(value):.9g}" for value in frame))
  with replacing(path) as temporary:
    temporary.write_text("\n".join(lines) + "\n")


def _convert_times(table: Table, path, time_unit: str | None) -> None:
  """Converts times to ms, in place."""
  for name in ("tr_ms", "te_ms", *PREPARATION_FIELDS):
    if name not in table.columns:
      continue
    stated = table.units.get(name)
    factor = TIMES_MS[time_unit or stated or "ms"]
    median = float(np.median(table.columns[name])) * factor
    problem = sequence_time_problem(name, median)
    # Whoever says ms means ms; but no sequence repeats that fast.
    is_meant = time_unit is not None and name != "tr_ms"
    if problem == SECONDS and not is_meant:
      short = name.removesuffix("_ms")
      remedy = f"--time_unit=s if all times are, or the name {short}_s"
      if name != "tr_ms":
        remedy += "; --time_unit=ms if not"
      if time_unit or stated:
        remedy = _stated(time_unit, stated)
      raise UserError(
        f"{path}: the median of {name} is {median:g} ms, which looks like "
        f"seconds; {remedy}"
      )
    if problem == TOO_LONG:
      raise UserError(
        f"{path}: the median of {name} is {median:g} ms, a thousand times too "
        f"long? {_stated(time_unit, stated)}"
        + ("" if time_unit or stated else "; --time_unit=us is for µs")
      )
    table.columns[name] = table.columns[name] * factor


def _stated(unit: str | None, named: str | None) -> str:
  """Where the unit of times comes from, in words."""
  if unit is None and named is not None:
    return f"its name says {named}"
  return f"time_unit is {unit or 'ms'}"


def _convert_flips(table: Table, path, angle_unit: str | None) -> None:
  """Converts flip angles to degrees, in place."""
  name = "flip_angles_deg"
  flips = table.columns[name]
  largest = int(np.argmax(np.abs(flips)))
  unit = angle_unit or table.units.get(name)
  if unit is None and look_like_radians(flips):
    share = " or a share of the largest angle" if flips[largest] == 1 else ""
    raise UserError(
      f"{path}: {name}[{largest}] is the largest, {flips[largest]:g}, which "
      f"looks like radians{share}; --angle_unit=rad or --angle_unit=deg "
      "says what it is"
    )
  flips = flips * ANGLES_DEG[unit or "deg"]
  problem = flip_problem(flips, unit)
  if problem:
    remedy = "" if unit else "; --angle_unit=deg if they are meant so"
    raise UserError(f"{path}: {name}[{largest}] is {problem}{remedy}")
  table.columns[name] = flips


def _convert_phases(
  table: Table, path, angle_unit: str | None, phase_unit: str | None
) -> None:
  """Converts phases of the pulses to degrees, in place."""
  name = "rf_phases_deg"
  if name not in table.columns:
    return
  phases = table.columns[name]
  unit = phase_unit or table.units.get(name)
  remedy = "--phase_unit=rad" if unit is None else ""
  if unit is None and np.all(np.isfinite(phases)):
    low, high = float(phases.min()), float(phases.max())
    if angle_unit == "rad" and not are_within_radians(phases):
      raise UserError(
        f"{path}: {name} are {low:g} to {high:g}, but angles are in rad; "
        f"{remedy} or --phase_unit=deg says what they are"
      )
    units = phase_units(phases)
    if angle_unit != "rad" and len(units) > 1:
      raise UserError(
        f"{path}: {name} are {low:g} to {high:g} and may be in "
        f"{' or '.join(units)}; --phase_unit={' or --phase_unit='.join(units)} "
        "says what they are"
      )
  table.columns[name] = phases * PHASES_DEG[unit or angle_unit or "deg"]
