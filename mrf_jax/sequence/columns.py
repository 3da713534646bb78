"""Columns of numbers by the fields of a train, from text and MATLAB files."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import scipy.io

from mrf_jax.errors import UserError, one_line
from mrf_jax.io.hdf5 import check_dataset, check_links
from mrf_jax.io.untrusted import HDF5, MATLAB, time_limit, try_file
from mrf_jax.sequence.sequence import FRAME_FIELDS, PREPARATION_FIELDS

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

Columns = dict[str, np.ndarray]


def _field_of(name: str) -> str | None:
  """The field that a column or variable of this name holds."""
  for field, names in _NAMES.items():
    if name.lower() in names:
      return field
  return None


def read_text(path: pathlib.Path) -> Columns:
  """The columns of a text file, by name or by position.

  Args:
    path: see `load_sequence` for how it is written.

  Returns:
    Values, [frame] each, by the field of `Sequence`, in the file's units.

  Raises:
    UserError: there is no such file, or it is not such a table.
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
  # Named columns are all there, and positional ones as the first row has.
  width = len(fields) if names else len(rows[0])
  if not names and width > len(FRAME_FIELDS):
    raise UserError(
      f"{path}: {width} columns; at most {len(FRAME_FIELDS)} are known"
    )
  fields = fields or list(FRAME_FIELDS[:width])
  return _numbers(path, rows, dict(enumerate(fields)), width)


def read_column(path: pathlib.Path, field: str) -> np.ndarray:
  """The values of one field in a text file.

  Args:
    path: one column, or several of which one has the field's name.
    field: of `Sequence`.

  Returns:
    Its values, [frame], in the file's units.

  Raises:
    UserError: there is no such file, it is not such a table, or does not say
      which column it is.
  """
  names, rows = _read_rows(path)
  fields = [_field_of(name) for name in names]
  width = len(rows[0])
  if width == 1:
    others = [
      name
      for name, held in zip(names, fields, strict=True)
      if held not in (field, None)
    ]
    if others:
      raise UserError(f"{path}: the column is {others[0]!r}, not {field}")
    return _numbers(path, rows, {0: field}, width)[field]
  if fields.count(field) != 1:
    raise UserError(
      f"{path}: {width} columns, {fields.count(field) or 'none'} of them named "
      f"{field}; one is wanted, or a single column"
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


def noted(path: pathlib.Path) -> dict[str, Any]:
  """What comments of a text file say of the whole train.

  Args:
    path: a file that `read_text` has read.

  Returns:
    Fields of `Sequence`: times of preparations, ms or None for `none`, and
    whether it is balanced, of what `save_sequence` writes and is there.
  """
  text = path.read_text(encoding="utf-8-sig")
  found: dict[str, Any] = {}
  # Blanks alone: a value is not to be found on the next line.
  pattern = r"^#[ \t]*(\w+)[ \t]+(\S+)[ \t]*$"
  for name, word in re.findall(pattern, text, re.MULTILINE):
    if name in PREPARATION_FIELDS and word == "none":
      found[name] = None
    elif name in PREPARATION_FIELDS and _is_number(word):
      found[name] = float(word)
  if re.search(r"^#[ \t]*balanced[ \t]*$", text, re.MULTILINE):
    found["balanced"] = True
  return found


def _is_number(word: str) -> bool:
  try:
    float(word)
  except ValueError:
    return False
  return True


def read_matlab(path: pathlib.Path, variables: Mapping[str, str]) -> Columns:
  """The vectors of a MATLAB file that hold fields of a train.

  Args:
    path: a file of any version.
    variables: field of `Sequence` to the variable that holds it.

  Returns:
    Values by the field of `Sequence`, in the file's units.

  Raises:
    UserError: there is no such file, it is damaged, or it holds no flip angles.
  """
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
    if not values.size:
      raise UserError(f"{path}: {name} is empty")
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
      with time_limit(path), h5py.File(path) as file:
        check_links(file)
        items = {n: i for n, i in file.items() if isinstance(i, h5py.Dataset)}
        for item in items.values():
          check_dataset(item)
        return {
          name: np.empty(0) if _is_empty(item) else item[()]
          for name, item in items.items()
        }
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


def _is_empty(item: h5py.Dataset) -> bool:
  """Whether MATLAB marked it so, and stored its shape as its values."""
  if "MATLAB_empty" not in item.attrs:
    return False
  mark = item.attrs.get_id("MATLAB_empty")
  whole = mark.dtype.kind in "iu" and mark.shape == ()
  return whole and bool(item.attrs["MATLAB_empty"])
