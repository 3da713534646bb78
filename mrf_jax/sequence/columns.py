"""Columns of a pulse sequence's fields in text and MATLAB files."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.io.matlab import MatlabFile, open_matlab
from mrf_jax.sequence.sequence import FRAME_FIELDS, PREPARATION_FIELDS

# Names of columns and variables by the field that they hold, in lower case.
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

Columns = dict[str, np.ndarray]


def _field_of(name: str) -> str | None:
  """The field that a column or variable of this name holds."""
  fields = (field for field, names in _NAMES.items() if name.lower() in names)
  return next(fields, None)


def read_text(path: pathlib.Path) -> Columns:
  """Reads the columns of a text file, by name or by position.

  Returns:
    Values, [frame] each, by the field of `Sequence`, in the file's units.

  Raises:
    UserError: there is no such file, or it is not a table of these fields.
  """
  names, rows = _read_rows(path)
  fields = []
  for name in names:
    field = _field_of(name)
    if field is None or field == "inversion_time_ms":
      known = ", ".join(FRAME_FIELDS)
      raise UserError(f"{path}: column {name!r} is unknown; known are {known}")
    if field in fields:
      raise UserError(f"{path}: {field} has two columns, {name!r} again")
    fields.append(field)
  if names and "flip_angles_deg" not in fields:
    raise UserError(f"{path}: no column of flip angles (flip_angles_deg)")
  # A row has all named columns, or as many as the first row.
  width = len(fields) if names else len(rows[0])
  if not names and width > len(FRAME_FIELDS):
    raise UserError(
      f"{path}: {width} columns; at most {len(FRAME_FIELDS)} are known"
    )
  fields = fields or list(FRAME_FIELDS[:width])
  return _numbers(path, rows, dict(enumerate(fields)), width)


def read_column(path: pathlib.Path, field: str) -> np.ndarray:
  """Reads the values of one field from a text file.

  Args:
    path: a file of one column, or of several of which one has the field's name.
    field: a field of `Sequence`.

  Returns:
    Its values, [frame], in the file's units.

  Raises:
    UserError: there is no such file, it is not a table of numbers, or the
      field's column is not clear.
  """
  names, rows = _read_rows(path)
  fields = [_field_of(name) for name in names]
  width = len(rows[0])
  if width == 1:
    others = [name for name in names if _field_of(name) not in (field, None)]
    if others:
      raise UserError(f"{path}: the column is {others[0]!r}, not {field}")
    return _numbers(path, rows, {0: field}, width)[field]
  if fields.count(field) != 1:
    raise UserError(
      f"{path}: {width} columns, {fields.count(field) or 'none'} of them named "
      f"{field}; one is needed, or a single column"
    )
  place = fields.index(field)
  return _numbers(path, rows, {place: field}, len(fields))[field]


def _read_rows(path: pathlib.Path) -> tuple[list[str], list[list[str]]]:
  """Names of the columns, if it has any, and the cells of each row."""
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
  names = []
  if rows and not _is_number(rows[0][0]):
    names = rows.pop(0)
  elif rows and len(commented := _commented_names(text)) == len(rows[0]):
    names = commented
  if not rows:
    raise UserError(f"{path}: not a table of numbers (it is empty)")
  return names, rows


def _numbers(
  path: pathlib.Path, rows: list[list[str]], fields: dict[int, str], width: int
) -> Columns:
  """The columns at some places of a table of so many."""
  for number, row in enumerate(rows):
    for place, field in fields.items():
      if place < len(row) and not _is_number(row[place]):
        raise UserError(
          f"{path}: {field}[{number}] is {row[place]!r}, not a number"
        )
    if len(row) != width:
      raise UserError(
        f"{path}: row {number} has {len(row)} columns, not {width}"
      )
  return {
    field: np.array([row[place] for row in rows], np.float64)
    for place, field in fields.items()
  }


def _words(line: str) -> list[str]:
  """The cells of a line, of which those between two commas may be empty."""
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


def read_comments(path: pathlib.Path) -> dict[str, Any]:
  """Reads the fields of the whole sequence from a text file's comments.

  They are those that `save_sequence` writes: times of preparations, ms or None
  for `none`, and whether the sequence is balanced.
  """
  text = path.read_text(encoding="utf-8-sig")
  fields: dict[str, Any] = {}
  # Blanks, but no line ends: the value is on the same line.
  pattern = r"^#[ \t]*(\w+)[ \t]+(\S+)[ \t]*$"
  for name, word in re.findall(pattern, text, re.MULTILINE):
    if name in PREPARATION_FIELDS and word == "none":
      fields[name] = None
    elif name in PREPARATION_FIELDS and _is_number(word):
      fields[name] = float(word)
  if re.search(r"^#[ \t]*balanced[ \t]*$", text, re.MULTILINE):
    fields["balanced"] = True
  return fields


def _is_number(word: str) -> bool:
  try:
    float(word)
  except ValueError:
    return False
  return True


def read_matlab(path: pathlib.Path, variables: Mapping[str, str]) -> Columns:
  """Reads the vectors of a MATLAB file that are fields of a sequence.

  Args:
    path: a file of any version.
    variables: field of `Sequence` to the variable that holds it.

  Returns:
    Values by the field of `Sequence`, in the file's units.

  Raises:
    UserError: there is no such file, it is damaged, or has no flip angles.
  """
  for field in variables:
    check_one_of("variables", field, _NAMES)
  file = open_matlab(path)
  has = f"it has {', '.join(file.variables) or 'none'}"
  columns = {}
  for field, name in _variables_of_fields(file, variables).items():
    if name not in file.variables:
      raise UserError(f"{path}: no variable {name!r}; {has}")
    columns[field] = _read_vector(file, name)
  if "flip_angles_deg" not in columns:
    raise UserError(f"{path}: no flip angles (FA); {has}")
  return columns


def _variables_of_fields(
  file: MatlabFile, variables: Mapping[str, str]
) -> dict[str, str]:
  """Field of `Sequence` to the variable of it, given or with its name."""
  names = dict(variables)
  for name in file.variables:
    field = _field_of(name)
    if field is None or field in variables:
      continue
    if field in names:
      raise UserError(
        f"{file.path}: {names[field]} and {name} both look like {field}; "
        "`variables` says which it is"
      )
    names[field] = name
  return names


def _read_vector(file: MatlabFile, name: str) -> np.ndarray:
  """The values of a variable that is a vector of real numbers."""
  variable = file.variables[name]
  other = f"{file.path}: {name} is not a vector of real numbers"
  if variable.dtype is None:
    raise UserError(f"{other}, but {variable.kind}")
  values = np.squeeze(file.read(name))
  if not values.size:
    raise UserError(f"{file.path}: {name} is empty")
  if values.dtype.kind not in "iufb" or values.ndim > 1:
    raise UserError(f"{other}, but {values.dtype} of shape {values.shape}")
  # FA may be double and TE uint8 in one file: one type before arithmetic.
  return np.atleast_1d(values.astype(np.float64))
