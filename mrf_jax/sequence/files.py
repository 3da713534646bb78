"""Reads schedules from text, MATLAB and Pulseq files, and writes text files."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrf_jax.checks import check_at_least, check_one_of
from mrf_jax.errors import UserError
from mrf_jax.io.atomic import replacing
from mrf_jax.sequence.columns import (
  Columns,
  read_column,
  read_comments,
  read_matlab,
  read_text,
)
from mrf_jax.sequence.pulseq import load_pulseq
from mrf_jax.sequence.sequence import (
  FRAME_FIELDS,
  PREPARATION_FIELDS,
  Sequence,
  make_sequence,
)

_TIMES = ("tr_ms", "te_ms", "inversion_time_ms")
_ANGLES = ("flip_angles_deg", "rf_phases_deg")
# Medians below these are seconds: no sequence has a TE of 20 µs, and even an
# inversion pulse takes more than 1 ms. Angles are radians if none is above π.
_SHORTEST_MS = {"tr_ms": 0.5, "te_ms": 0.02, "inversion_time_ms": 1.0}
_LARGEST_RADIAN = np.pi
# Medians above these were multiplied by a thousand once too often: no sequence
# of hundreds of frames waits a second from one frame to the next.
_LONGEST_MS = {"tr_ms": 1000.0, "te_ms": 500.0, "inversion_time_ms": 20000.0}


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
  variables: Mapping[str, str] | None = None,
  echo: str = "adc_start",
) -> Sequence:
  """Reads a schedule from a file; its suffix gives the format.

  Text: one row a frame, with numbers split by blanks or commas. Lines that
  start with # are comments, except `# inversion_time_ms 20` (or another
  preparation of `Sequence`, or `none`) and `# balanced`. The columns are flip
  angle and then, if there are more, TR, TE and RF phase; a first line of names
  (`flip_angle_deg,tr_ms`, which may be a comment) gives another order. Public
  schedules, such as the Jiang-type one, often come as two single-column files:
  name the second as `tr_path`.

  `.mat`: MATLAB files of any version with the variables FA, TR, TE, PH and TI,
  or others that `variables` names. `.seq`: see `load_pulseq`, which reads all
  times and angles from the file.

  Args:
    path: the file.
    tr_path: a text file of repetition times, with one column or with several
      of which one is named TR; it may have more frames than the other file.
    tr_ms: repetition time if no file has it, ms.
    te_ms: echo time if the file does not have it, ms.
    inversion_time_ms: delay after the adiabatic inversion if the file does not
      have it, ms; None for no inversion.
    n_frames: number of the first frames to keep; None keeps all.
    time_unit: of the file, `ms` or `s`; None is ms, and times that look like
      seconds are an error.
    angle_unit: of the file, `deg` or `rad`; None is deg, and flip angles that
      look like radians are an error.
    variables: field of `Sequence` to the variable of a MATLAB file.
    echo: of a Pulseq file, see `load_pulseq`.

  Returns:
    The checked sequence.

  Raises:
    UserError: a file is missing, is not what its suffix says, or is too short;
      lists differ in length; a keyword is not for this kind of file.
  """
  path = pathlib.Path(path)
  if n_frames is not None:
    check_at_least("n_frames", n_frames, 1)
  if time_unit is not None:
    check_one_of("time_unit", time_unit, ("ms", "s"))
  if angle_unit is not None:
    check_one_of("angle_unit", angle_unit, ("deg", "rad"))
  if path.suffix.lower() == ".seq":
    for name, value in (
      ("tr_path", tr_path),
      ("time_unit", time_unit),
      ("angle_unit", angle_unit),
      ("variables", variables),
    ):
      if value is not None:
        raise UserError(f"{path}: {name} is {value!r}, but not for .seq files")
    return load_pulseq(path, echo=echo, n_frames=n_frames)
  columns = _read_columns(path, variables or {})
  if tr_path is not None:
    columns["tr_ms"] = read_column(pathlib.Path(tr_path), "tr_ms")
  _convert_units(columns, path, time_unit, angle_unit)
  defaults = {"tr_ms": tr_ms, "te_ms": te_ms, "rf_phases_deg": 0.0}
  fields = _frame_fields(columns, defaults, path, tr_path, n_frames)
  if "inversion_time_ms" in columns:
    inversion_time_ms = float(columns["inversion_time_ms"][0])
  fields["inversion_time_ms"] = inversion_time_ms
  if path.suffix.lower() != ".mat":
    fields |= read_comments(path)
  try:
    return make_sequence(**fields)
  except UserError as error:
    raise UserError(f"{path}: {error}") from error


def _read_columns(path: pathlib.Path, variables: Mapping[str, str]) -> Columns:
  """The columns of a text or MATLAB file, of as many frames as flip angles."""
  if path.suffix.lower() == ".mat":
    columns = read_matlab(path, variables)
  else:
    columns = read_text(path)
  n_angles = len(columns["flip_angles_deg"])
  for name, values in columns.items():
    expected = 1 if name == "inversion_time_ms" else n_angles
    # A single number is that of all frames.
    if len(values) == 1 and name != "flip_angles_deg":
      columns[name] = np.full(expected, values[0])
    elif len(values) != expected:
      raise UserError(
        f"{path}: {name} has length {len(values)}, not {expected}"
        + ("" if expected == 1 else " as flip_angles_deg")
      )
  return columns


def _frame_fields(
  columns: Columns, defaults: Mapping[str, float], path, tr_path, n_frames
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


def open_times(
  path: str | os.PathLike, *, tr_path: str | os.PathLike | None = None
) -> tuple[str, ...]:
  """Those of TR, TE and inversion time that no file has, by their names."""
  path = pathlib.Path(path)
  if path.suffix.lower() == ".seq":
    return ()
  if path.suffix.lower() == ".mat":
    given = {*read_matlab(path, {})}
  else:
    given = {*read_text(path), *read_comments(path)}
  if tr_path is not None:
    given.add("tr_ms")
  return tuple(name for name in _TIMES if name not in given)


def save_sequence(sequence: Sequence, path: str | os.PathLike) -> None:
  """Writes a schedule as text that `load_sequence` reads.

  Its comments hold what applies to the whole sequence: preparations, and
  whether it is balanced.

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
  lines.append(",".join(FRAME_FIELDS))
  columns = (getattr(sequence, name) for name in FRAME_FIELDS)
  for frame in zip(*columns, strict=True):
    lines.append(",".join(f"{float(value):.9g}" for value in frame))
  with replacing(path) as temporary:
    temporary.write_text("\n".join(lines) + "\n")


def _convert_units(columns: Columns, path, time_unit, angle_unit) -> None:
  """Converts times to ms and angles to degrees, in place."""
  flips = columns["flip_angles_deg"]
  largest = int(np.argmax(np.abs(flips)))
  if angle_unit is None and 0 < np.abs(flips[largest]) <= _LARGEST_RADIAN:
    raise UserError(
      f"{path}: flip_angles_deg[{largest}] is the largest, {flips[largest]:g}, "
      "which looks like radians; angle_unit='rad' (or 'deg') says what it is"
    )
  for name in columns:
    median = float(np.median(columns[name]))
    if time_unit is None and 0 < median < _SHORTEST_MS.get(name, 0.0):
      raise UserError(
        f"{path}: the median of {name} is {median:g}, which looks like "
        "seconds; time_unit='s' (or 'ms') says what it is"
      )
    if name in _TIMES and time_unit == "s":
      columns[name] = columns[name] * 1000
    if name in _ANGLES and angle_unit == "rad":
      columns[name] = np.rad2deg(columns[name])
  for name, longest in _LONGEST_MS.items():
    median = float(np.median(columns.get(name, 0.0)))
    if median > longest:
      raise UserError(
        f"{path}: the median of {name} is {median:g} ms, a thousand times too "
        f"long? time_unit is {time_unit or 'ms'}"
      )
