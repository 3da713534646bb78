"""Schedules from text, MATLAB and Pulseq files."""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import scipy.io

from mrf_jax.errors import UserError, one_line
from mrf_jax.files import replacing
from mrf_jax.hdf5 import check_dataset, check_links
from mrf_jax.pulseq import load_pulseq
from mrf_jax.sequence import (
  FRAME_FIELDS,
  PREPARATION_FIELDS,
  Sequence,
  make_sequence,
)
from mrf_jax.trial import HDF5, MATLAB, try_file
from mrf_jax.watchdog import patience

# What columns and variables are called, in lower case.
_NAMES = {
  "flip_angles_deg": (
    "flip_angles_deg",
    "flip_angle_deg",
    "flip_angles",
    "flip_angle",
    "flipangles",
    "flipangle",
    "flip",
    "fa",
  ),
  "tr_ms": ("tr_ms", "tr"),
  "te_ms": ("te_ms", "te"),
  "rf_phases_deg": (
    "rf_phases_deg",
    "rf_phase_deg",
    "phases",
    "phase",
    "ph",
  ),
  "inversion_time_ms": ("inversion_time_ms", "ti_ms", "ti"),
}
_TIMES = ("tr_ms", "te_ms", "inversion_time_ms")
_ANGLES = ("flip_angles_deg", "rf_phases_deg")
# Medians below these are seconds: no sequence has 20 µs of TE, and an inversion
# pulse alone takes longer than 1 ms. No flip angle above π may be radians.
_SHORTEST_MS = {"tr_ms": 0.5, "te_ms": 0.02, "inversion_time_ms": 1.0}
_LARGEST_RADIAN = np.pi
# And medians above these were multiplied by a thousand too often: no train of
# hundreds of frames waits a second from each to the next.
_LONGEST_MS = {"tr_ms": 1000.0, "te_ms": 500.0, "inversion_time_ms": 20000.0}

Columns = dict[str, np.ndarray]


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
  """A schedule from a file, by its suffix.

  Text: one row a frame, numbers split by blanks or commas, lines that start
  with # are comments, but for `# inversion_time_ms 20`. The columns are flip
  angle, then, where given, TR, TE and RF phase; a first line of names
  (`flip_angle_deg,tr_ms`, which may be a comment) orders them otherwise. Public
  schedules, such as the Jiang-type one, often come as two
  single-column files: name the second as `tr_path`.

  `.mat`: MATLAB files of any version with the variables FA, TR, TE, PH and TI,
  or others that `variables` names. `.seq`: see `load_pulseq`, which finds all
  times and angles in the file.

  Args:
    path: the file.
    tr_path: a text file of repetition times; it may be longer than the other.
    tr_ms: repetition time where no file gives one, ms.
    te_ms: echo time where the file gives none, ms.
    inversion_time_ms: delay after the adiabatic inversion where the file gives
      none, ms, or None.
    n_frames: keep the first frames only.
    time_unit: of the file, `ms` or `s`; None is ms, and refuses times that
      look like seconds.
    angle_unit: of the file, `deg` or `rad`; None is deg, and refuses flip
      angles that look like radians.
    variables: field of `Sequence` to the variable of a MATLAB file.
    echo: of a Pulseq file, see `load_pulseq`.

  Returns:
    The checked sequence.

  Raises:
    UserError: a file is missing, is not what its suffix says, or is too short;
      lists differ in length; a keyword is not for this kind of file.
  """
  return load_schedule(
    path,
    tr_path=tr_path,
    tr_ms=tr_ms,
    te_ms=te_ms,
    inversion_time_ms=inversion_time_ms,
    n_frames=n_frames,
    time_unit=time_unit,
    angle_unit=angle_unit,
    variables=variables,
    echo=echo,
  )[0]


def load_schedule(
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
) -> tuple[Sequence, tuple[str, ...]]:
  """A schedule, and which of its times no file gives.

  Arguments and errors are those of `load_sequence`.

  Returns:
    The checked sequence, and those of `tr_ms`, `te_ms` and `inversion_time_ms`
    that were taken from the arguments.
  """
  path = pathlib.Path(path)
  if n_frames is not None and n_frames < 1:
    raise UserError(f"n_frames is {n_frames}, not at least 1")
  for name, unit, known in (
    ("time_unit", time_unit, ("ms", "s")),
    ("angle_unit", angle_unit, ("deg", "rad")),
  ):
    if unit is not None and unit not in known:
      raise UserError(f"{name}: {unit!r} is not one of {', '.join(known)}")
  if path.suffix.lower() == ".seq":
    for name, value in (
      ("tr_path", tr_path),
      ("time_unit", time_unit),
      ("angle_unit", angle_unit),
      ("variables", variables),
    ):
      if value is not None:
        raise UserError(f"{path}: {name} is {value!r}, but not for .seq files")
    return load_pulseq(path, echo=echo, n_frames=n_frames), ()
  if path.suffix.lower() == ".mat":
    columns = _read_matlab(path, variables or {})
  else:
    columns = _read_text(path)
  length = len(columns["flip_angles_deg"])
  for name, values in columns.items():
    expected = 1 if name == "inversion_time_ms" else length
    # One number holds for all frames.
    if len(values) == 1 and name != "flip_angles_deg":
      columns[name] = np.full(expected, values[0])
    elif len(values) != expected:
      raise UserError(
        f"{path}: {name} has length {len(values)}, not {expected}"
        + ("" if expected == 1 else " as flip_angles_deg")
      )
  if tr_path is not None:
    columns["tr_ms"] = next(iter(_read_text(pathlib.Path(tr_path)).values()))
  _to_house_units(columns, path, time_unit, angle_unit)
  if path.suffix.lower() != ".mat":
    noted_ms = _noted_inversion(path)
    if noted_ms is not None:
      columns["inversion_time_ms"] = np.array([noted_ms])
  missing = tuple(name for name in _TIMES if name not in columns)
  wanted = length if n_frames is None else n_frames
  defaults = {"tr_ms": tr_ms, "te_ms": te_ms, "rf_phases_deg": 0.0}
  fields: dict[str, Any] = {}
  for name in FRAME_FIELDS:
    values = columns.get(name, np.full(wanted, defaults.get(name)))
    if name == "tr_ms" and len(values) < wanted <= length:
      raise UserError(
        f"{tr_path}: tr_ms[{len(values)}] is missing: {len(values)} TRs, but "
        f"{path} has {length} flip angles"
      )
    if len(values) < wanted:
      raise UserError(
        f"{path}: {name}: {len(values)} frames, {wanted} are wanted"
      )
    fields[name] = values[:wanted]
  if "inversion_time_ms" in columns:
    inversion_time_ms = float(columns["inversion_time_ms"][0])
  try:
    sequence = make_sequence(**fields, inversion_time_ms=inversion_time_ms)
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  return sequence, missing


def save_sequence(sequence: Sequence, path: str | os.PathLike) -> None:
  """Writes a schedule as text that `load_sequence` reads.

  Preparation and balance, of which text knows nothing, are comments.

  Args:
    sequence: the train.
    path: the file, replaced as a whole.
  """
  lines = [
    f"# {name} {value:g}"
    for name in PREPARATION_FIELDS
    if (value := getattr(sequence, name)) is not None
  ]
  if sequence.balanced:
    lines.append("# balanced")
  lines.append(",".join(FRAME_FIELDS))
  columns = (getattr(sequence, name) for name in FRAME_FIELDS)
  for frame in zip(*columns, strict=True):
    lines.append(",".join(f"{float(value):.9g}" for value in frame))
  with replacing(path) as temporary:
    temporary.write_text("\n".join(lines) + "\n")


def _to_house_units(columns: Columns, path, time_unit, angle_unit) -> None:
  """Turns times into ms and angles into degrees, in place."""
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
  for name in columns:
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


def _field_of(name: str) -> str | None:
  """The field that a column or variable of this name holds."""
  for field, names in _NAMES.items():
    if name.lower() in names:
      return field
  return None


def _read_text(path: pathlib.Path) -> Columns:
  """The columns of a text file, by name or by position."""
  try:
    # Spreadsheets put a byte order mark before their CSV.
    text = path.read_text(encoding="utf-8-sig")
  except FileNotFoundError as error:
    raise UserError(f"{path}: there is no such file") from error
  except OSError as error:
    raise UserError(f"{path}: cannot be read ({error.strerror})") from error
  except UnicodeDecodeError as error:
    raise UserError(f"{path}: not a table of numbers ({error})") from error
  lines = [line.split("#")[0].strip() for line in text.split("\n")]
  rows = [_words(line) for line in lines if line]
  fields = list(FRAME_FIELDS)
  width = len(rows[0]) if rows else 0
  names = _commented_names(text)
  if names and len(names) == width and _is_number(rows[0][0]):
    rows.insert(0, names)
  if rows and not _is_number(rows[0][0]):
    fields = []
    for name in rows.pop(0):
      field = _field_of(name)
      if field is None or field == "inversion_time_ms":
        known = ", ".join(FRAME_FIELDS)
        raise UserError(
          f"{path}: column {name!r} is unknown; known are {known}"
        )
      if field in fields:
        raise UserError(f"{path}: {field} has two columns, {name!r} again")
      fields.append(field)
    # Named columns are all there, and positional ones as the first row has.
    width = len(fields)
    if "flip_angles_deg" not in fields:
      raise UserError(f"{path}: no column of flip angles (flip_angles_deg)")
  if not rows:
    raise UserError(f"{path}: not a table of numbers (it is empty)")
  if width > len(fields):
    raise UserError(f"{path}: {width} columns; at most {len(fields)} are known")
  for number, row in enumerate(rows):
    for field, word in zip(fields, row, strict=False):
      if not _is_number(word):
        raise UserError(f"{path}: {field}[{number}] is {word!r}, not a number")
    if len(row) != width:
      raise UserError(
        f"{path}: row {number} has {len(row)} columns, not {width}"
      )
  table = np.array(rows, np.float64)
  return dict(zip(fields, table.T, strict=False))


def _words(line: str) -> list[str]:
  """Cells; not the comma for a blank: an empty one must not shift the next."""
  return re.split(r"\s*,\s*|\s+", line.strip())


def _commented_names(text: str) -> list[str]:
  """Names of columns in the last comment before the numbers, or none."""
  comment = ""
  for line in text.split("\n"):
    if line.strip().startswith("#"):
      comment = line.strip().lstrip("#")
    elif line.strip():
      break
  names = _words(comment)
  return names if all(_field_of(n) in FRAME_FIELDS for n in names) else []


def _noted_inversion(path: pathlib.Path) -> float | None:
  """What a comment of a text file says, as `save_sequence` writes it."""
  text = path.read_text(encoding="utf-8-sig")
  noted = re.search(r"^#\s*inversion_time_ms\s+(\S+)\s*$", text, re.MULTILINE)
  return float(noted[1]) if noted and _is_number(noted[1]) else None


def _is_number(word: str) -> bool:
  try:
    float(word)
  except ValueError:
    return False
  return True


def _read_matlab(path: pathlib.Path, variables: Mapping[str, str]) -> Columns:
  """The vectors of a MATLAB file that hold fields of a train."""
  for field in variables:
    if field not in _NAMES:
      raise UserError(
        f"variables: {field!r} is unknown; known are {', '.join(_NAMES)}"
      )
  found = _matlab_variables(path)
  names = dict(variables)
  for name in found:
    held = _field_of(name)
    if held is None or held in variables:
      continue
    if held in names:
      raise UserError(
        f"{path}: {names[held]} and {name} both look like {held}; "
        "`variables` says which it is"
      )
    names[held] = name
  columns = {}
  for wanted, name in names.items():
    if name not in found:
      raise UserError(
        f"{path}: no variable {name!r}; it has {', '.join(found) or 'none'}"
      )
    values = np.squeeze(np.asarray(found[name]))
    if values.dtype.kind not in "iufb" or values.ndim > 1:
      raise UserError(f"{path}: {name} is not a vector of real numbers")
    # FA may be double and TE uint8 in one file: one type before arithmetic.
    columns[wanted] = np.atleast_1d(values.astype(np.float64))
  if "flip_angles_deg" not in columns:
    raise UserError(
      f"{path}: no flip angles (FA); it has {', '.join(found) or 'none'}"
    )
  return columns


def _matlab_variables(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All numeric variables of a MATLAB file, v7.3 being HDF5."""
  if not path.is_file():
    raise UserError(f"{path}: there is no such file")
  try:
    if h5py.is_hdf5(path):
      try_file(path, HDF5)
      with patience(path), h5py.File(path) as file:
        check_links(file)
        items = {n: i for n, i in file.items() if isinstance(i, h5py.Dataset)}
        for item in items.values():
          check_dataset(item)
        return {name: item[()] for name, item in items.items()}
    try_file(path, MATLAB)
    loaded = scipy.io.loadmat(path)
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  # Whatever a damaged file leads the library to.
  except Exception as error:
    raise UserError(
      f"{path}: not a MATLAB file, or cut short ({one_line(error)})"
    ) from error
  return {k: v for k, v in loaded.items() if not k.startswith("__")}
