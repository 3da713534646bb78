"""Columns of a pulse sequence's fields in text files, and its comments."""

import codecs
import contextlib
import dataclasses
import io
import pathlib
import re
from typing import Any

import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.sequence.comments import check_sentences, read_settings
from mrf_jax.sequence.names import field_and_unit, split_names
from mrf_jax.sequence.sequence import FRAME_FIELDS
from mrf_jax.units import is_counter

# A number whose comma is followed by what no number of a column begins with, or
# which stands between semicolons.
_DECIMAL_COMMA = re.compile(r"\d,0\d|;.*\d,\d|\d,\d.*;")
# Lines that MATLAB and C take for comments begin so.
_COMMENTS = ("%", "//")
# TEs of published schedules are constant, or span less than this, greatest by
# least; phases in radians span more.
_WIDE_TE = 3.0
# A TR that spans less than this, and flip angles that span more, greatest by
# least: those of published schedules span 1.0 to 1.3, and more than 3.
_NARROW, _WIDE = 1.5, 2.0


@dataclasses.dataclass
class Table:
  """What a file says of a pulse sequence, in the file's units.

  Attributes:
    columns: values, [frame] each or one, by the field of `Sequence`.
    units: units that names of columns state, by field.
    settings: what needs no conversion: fields of the whole sequence, and of
      frames, in ms and degrees.
    notes: sentences on what was not read.
    is_named: whether the columns have names.
  """

  columns: dict[str, np.ndarray]
  units: dict[str, str] = dataclasses.field(default_factory=dict)
  settings: dict[str, Any] = dataclasses.field(default_factory=dict)
  notes: list[str] = dataclasses.field(default_factory=list)
  is_named: bool = True


@dataclasses.dataclass(frozen=True)
class _Rows:
  """Names of the columns, if it has any, cells of the rows, and comments."""

  names: list[str]
  rows: list[list[str]]
  comments: list[str]


def read_text(path: pathlib.Path, *, time_unit: str | None = None) -> Table:
  """Reads the columns of a text file, by name or by position.

  Args:
    path: the file.
    time_unit: unit of times in comments that state none; None for ms.

  Raises:
    UserError: there is no such file, it is not a table of these fields, or a
      comment cannot be read.
  """
  lines = _read_rows(path)
  named = [field_and_unit(name) for name in lines.names]
  fields: list[str] = []
  for name, (field, _) in zip(lines.names, named, strict=True):
    if field not in FRAME_FIELDS:
      known = ", ".join(FRAME_FIELDS)
      raise UserError(
        f"{path}: column {name!r} is unknown; known are {known}; remove it"
      )
    if field in fields:
      raise UserError(f"{path}: {field} has two columns, {name!r} again")
    fields.append(field)
  if lines.names and "flip_angles_deg" not in fields:
    raise UserError(f"{path}: no column of flip angles (flip_angles_deg)")
  # A row has all named columns, or as many as the first row.
  width = len(fields) if lines.names else len(lines.rows[0])
  if not lines.names and width > len(FRAME_FIELDS):
    raise UserError(
      f"{path}: {width} columns; at most {len(FRAME_FIELDS)} are known, and "
      "each frame has a line of its own"
    )
  if len(lines.rows[0]) != width:
    raise UserError(
      f"{path}: row 0 has {len(lines.rows[0])} columns, not {width} as the "
      f"names {', '.join(lines.names)}"
    )
  fields = fields or list(FRAME_FIELDS[:width])
  columns = _numbers(path, lines.rows, dict(enumerate(fields)), width)
  settings = read_settings(
    path, lines.comments, columns=fields, time_unit=time_unit
  )
  notes = check_sentences(path, lines.comments, {*fields, *settings})
  table = Table(columns, _units(named), settings, notes, bool(lines.names))
  if width > 1 and not lines.names:
    check_order(path, columns)
    if "te_ms" in columns:
      _check_echo_times(path, columns)
  return table


def read_column(path: pathlib.Path, field: str) -> Table:
  """Reads the values of one field from a text file.

  Args:
    path: a file of one column, or of several of which one has the field's name.
    field: a field of `Sequence`.

  Returns:
    A table of this column alone.

  Raises:
    UserError: there is no such file, it is not a table of numbers, or the
      field's column is not clear.
  """
  lines = _read_rows(path)
  named = [field_and_unit(name) for name in lines.names]
  width = len(lines.rows[0])
  if width == 1:
    for name, (known, _) in zip(lines.names, named, strict=True):
      if known not in (field, None):
        raise UserError(f"{path}: the column is {name!r}, not {field}")
    columns = _numbers(path, lines.rows, {0: field}, width)
    return Table(columns, _units(named), is_named=bool(lines.names))
  fields = [known for known, _ in named]
  if fields.count(field) != 1:
    raise UserError(
      f"{path}: {width} columns, {fields.count(field) or 'none'} of them named "
      f"{field}; one is needed, or a single column"
    )
  place = fields.index(field)
  columns = _numbers(path, lines.rows, {place: field}, len(fields))
  return Table(columns, _units(named))


def _units(named: list[tuple[str | None, str | None]]) -> dict[str, str]:
  """Units by field, of names that state both."""
  return {field: unit for field, unit in named if field and unit}


def _read_rows(path: pathlib.Path) -> _Rows:
  """Splits a text file into names, rows and comments."""
  lines = [_parted(line) for line in _read_lines(path)]
  comments = [comment.strip(" #\t\r") for _, _, comment in lines]
  stored = [line.strip() for line, _, _ in lines if line.strip()]
  names: list[str] = []
  title = ""
  if stored and not _is_number(_words(stored[0])[0]):
    title = stored.pop(0)
    names = split_names(title)
  _check_commas(path, stored)
  rows = [_words(line) for line in stored]
  if not rows:
    why = f"nothing but {title[:40]!r}" if title else "it is empty"
    raise UserError(f"{path}: not a table of numbers ({why})")
  if not names:
    names = _commented_names(path, lines, len(rows[0]))
  return _Rows(names, rows, [comment for comment in comments if comment])


def _read_lines(path: pathlib.Path) -> list[str]:
  """The lines of a text in one of the encodings that spreadsheets write."""
  try:
    data = path.read_bytes()
  except FileNotFoundError as error:
    raise UserError(f"{path}: there is no such file") from error
  except OSError as error:
    raise UserError(f"{path}: cannot be read ({error.strerror})") from error
  encodings = ["utf-8-sig", "cp1252"]
  if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
    encodings = ["utf-16"]
  for encoding in encodings:
    with contextlib.suppress(UnicodeDecodeError):
      text = data.decode(encoding)
      if "\0" not in text:
        return io.StringIO(text, newline=None).read().split("\n")
  raise UserError(f"{path}: not a table of numbers (it is no text)")


def _parted(line: str) -> tuple[str, str, str]:
  """What stands before a comment, its mark, and the comment."""
  for mark in _COMMENTS:
    if line.lstrip().startswith(mark):
      return "", mark, line.lstrip().lstrip(mark)
  return line.partition("#")


def _check_commas(path: pathlib.Path, rows: list[str]) -> None:
  """Raises `UserError` if numbers seem to have decimal commas."""
  if any("." in row for row in rows):
    return
  for number, row in enumerate(rows):
    row = row.rstrip(",; \t")
    # Commas beside a blank are between columns, and so are blanks.
    rest = re.sub(r"\s*,\s+|\s+,", ";", row)
    is_mixed = "," in rest and re.search(r"\s", rest)
    if _DECIMAL_COMMA.search(row) or is_mixed:
      raise UserError(
        f"{path}: row {number} is {row[:40]!r}, which looks like numbers with "
        "decimal commas; points are needed"
      )


def _numbers(
  path: pathlib.Path, rows: list[list[str]], fields: dict[int, str], width: int
) -> dict[str, np.ndarray]:
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
  line = line.strip()
  # Spreadsheets end lines with the marks of cells that are empty.
  return re.split(r"\s*[,;]\s*|\s+", line.rstrip(",; \t") or line)


def _commented_names(
  path: pathlib.Path, lines: list[tuple[str, str, str]], width: int
) -> list[str]:
  """Names of columns in the last comment before the numbers, or none.

  Raises:
    UserError: most words are names of columns, but not as many as columns.
  """
  comment = ""
  for before, mark, text in lines:
    if before.strip():
      break
    comment = text.strip(" #\t\r") if mark else comment
  names = split_names(comment) if comment else []
  fields = [field_and_unit(name)[0] for name in names]
  n_known = sum(field in FRAME_FIELDS for field in fields)
  if names and n_known == len(names) == width:
    return names
  # A title of several words may have a name in it; names have nothing else.
  if 2 * n_known > len(names) and fields != ["flip_angles_deg"]:
    unknown = [n for n, f in zip(names, fields, strict=True) if f is None]
    raise UserError(
      f"{path}: the comment {comment!r} looks like names of {len(names)} "
      f"columns, but {unknown[0]!r} is unknown"
      if len(names) == width and unknown
      else f"{path}: the comment {comment!r} looks like names of columns, but "
      f"rows have {width}"
    )
  return []


def check_order(path: pathlib.Path, columns: dict[str, np.ndarray]) -> None:
  """Raises `UserError` if columns without names seem to have another order."""
  flips, trs = columns["flip_angles_deg"], columns["tr_ms"]
  remedy = (
    "a first line of names, such as tr_ms,flip_angle_deg, says what it is"
  )
  if is_counter(flips):
    raise UserError(
      f"{path}: its first column counts {flips[0]:g}, {flips[1]:g} … "
      f"{flips[-1]:g}: numbers of the frames? Flip angles come first; {remedy}"
    )
  ranges = [(float(v.min()), float(v.max())) for v in (flips, trs)]
  narrow, wide = (high / low if low > 0 else np.inf for low, high in ranges)
  if narrow < _NARROW and wide > _WIDE:
    flip, tr = (f"{low:g} to {high:g}" for low, high in ranges)
    raise UserError(
      f"{path}: its columns have no names; what is taken for flip angles, "
      f"{flip}, may be TRs, and what for TRs, {tr}, flip angles: {remedy}"
    )


def _check_echo_times(
  path: pathlib.Path, columns: dict[str, np.ndarray]
) -> None:
  """Raises `UserError` if a third column without a name may be phases."""
  low, high = float(columns["te_ms"].min()), float(columns["te_ms"].max())
  if high > _WIDE_TE * low:
    raise UserError(
      f"{path}: its columns have no names; the third, {low:g} to {high:g}, is "
      "taken for TEs but may be phases: a first line of names, such as "
      "flip_angle_deg,tr_ms,te_ms, tells"
    )


def _is_number(word: str) -> bool:
  try:
    float(word)
  except ValueError:
    return False
  return True
