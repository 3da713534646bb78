"""Variables of a MATLAB file that are fields of a pulse sequence."""

import pathlib
import re
from collections.abc import Mapping

import numpy as np

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.io.matlab import MatlabFile, open_matlab
from mrf_jax.sequence.columns import Table
from mrf_jax.sequence.names import exact_field, field_and_unit, resembles
from mrf_jax.sequence.sequence import FRAME_FIELDS, PREPARATION_FIELDS

_FIELDS = (*FRAME_FIELDS, *PREPARATION_FIELDS)
# Names of complex pulses, flip angle times exp(i phase).
_PULSES = re.compile(r"rf|rf_?pulses?|pulses?|b1", re.IGNORECASE)
_BALANCED = re.compile(
  r"(?:is|use)?_?(?:balanced|bssfp|true?fisp|trufi)(?:_?flag)?", re.IGNORECASE
)
_INVERSIONS = re.compile(
  r"(?:is|has|do|use|with|play)?_?(?:inversion|invert|inv|ir)"
  r"(?:_?(?:pulse|flag|on))?",
  re.IGNORECASE,
)
# Rules from which phases follow, such as the increment of RF spoiling.
_PHASE_RULES = re.compile(
  r"rf_?spoil|phase?_?(inc|cyc|step)|spoil\w*_?inc", re.IGNORECASE
)
# Magnitudes are flip angles in some unit if they correlate with them like this.
_PROPORTIONAL = 0.9999


def read_matlab(path: pathlib.Path, variables: Mapping[str, str]) -> Table:
  """Reads the vectors of a MATLAB file that are fields of a sequence.

  A variable is a field by its name. One whose name nearly says so, such as
  `RFphase`, is read too if it has as many values as there are flip angles; if
  it may mean a field that is missing, such as `phase_inc`, it is an error.

  Args:
    path: a file of any version.
    variables: field of `Sequence` to the variable that holds it.

  Raises:
    UserError: there is no such file, it is damaged, has no flip angles, or a
      variable that may matter is not clear.
  """
  for field in variables:
    check_one_of("variables", field, _FIELDS)
  file = open_matlab(path)
  names = dict(variables)
  for name in file.variables:
    _add(names, file, exact_field(name), name, variables)
  table = Table({})
  _read_flips(file, names, variables, table)
  n_frames = len(table.columns["flip_angles_deg"])
  _add_similar(file, names, variables, n_frames)
  for field, name in names.items():
    if field == "flip_angles_deg":
      continue
    if name not in file.variables:
      raise _missing(file, name)
    table.columns[field] = _read_vector(file, name)
    _state_unit(table, field, name)
  used = {*names.values()}
  unread = [name for name in file.variables if name not in used]
  for name in unread:
    if _size(file, name) == n_frames > 1:
      _describe_unread(file, name, table)
  others = []
  for name in unread:
    if 0 < _size(file, name) != n_frames:
      _check_length(file, name, table, n_frames)
      if not _read_setting(file, name, table) and _size(file, name) == 1:
        others.append(f"{name} ({_values(file, name)[0]})")
  if others:
    table.notes.append(f"{path}: the numbers {', '.join(others)} are not read")
  texts = [name for name in unread if file.variables[name].kind == "char"]
  for name in texts:
    if _BALANCED.fullmatch(name):
      raise UserError(f"{path}: {name} is a text, not 1 or 0")
  if texts:
    table.notes.append(f"{path}: the texts {', '.join(texts)} are not read")
  return table


def _read_flips(
  file: MatlabFile,
  names: dict[str, str],
  variables: Mapping[str, str],
  table: Table,
) -> None:
  """Reads flip angles by their exact name, a similar one, or as pulses."""
  field = "flip_angles_deg"
  if field not in names:
    for name in file.variables:
      if field_and_unit(name)[0] == field and _size(file, name) > 1:
        _add(names, file, field, name, variables)
  if field in names:
    name = names[field]
    if name not in file.variables:
      raise _missing(file, name)
    _state_unit(table, field, name)
    if not _add_pulses(file, name, table):
      table.columns[field] = _read_vector(file, name)
    return
  for name in file.variables:
    if _PULSES.fullmatch(name) and _add_pulses(file, name, table):
      names[field] = name
      return
  has = ", ".join(file.variables) or "none"
  raise UserError(f"{file.path}: no flip angles (FA); it has {has}")


def _add_pulses(file: MatlabFile, name: str, table: Table) -> bool:
  """Adds flip angles and phases of complex pulses, if a variable holds them.

  Raises:
    UserError: a few values alone are complex, and the name is not of pulses.
  """
  if _size(file, name) < 2:
    return False
  pulses = _values(file, name)
  if pulses.dtype.kind != "c":
    return False
  n_complex = int(np.count_nonzero(pulses.imag))
  if 0 < n_complex < pulses.size / 2 and not _PULSES.fullmatch(name):
    # Such as an arcsine of more than one.
    raise UserError(
      f"{file.path}: {name}, {n_complex} of {pulses.size} values are complex; "
      "flip angles are real (if these are pulses, flip angle times exp(i "
      "phase), name them rf)"
    )
  table.columns["flip_angles_deg"] = np.abs(pulses)
  table.settings["rf_phases_deg"] = np.rad2deg(np.angle(pulses))
  table.notes.append(
    f"{file.path}: flip angles and phases are those of the complex {name}"
  )
  return True


def _add_similar(
  file: MatlabFile,
  names: dict[str, str],
  variables: Mapping[str, str],
  n_frames: int,
) -> None:
  """Adds variables whose names nearly mean a field that is still missing."""
  exact = set(names)
  for name in file.variables:
    field, _ = field_and_unit(name)
    if field in exact or name in names.values():
      continue
    # A phase of one value is something else, or the same for all pulses.
    sizes = {n_frames} if field == "rf_phases_deg" else {1, n_frames}
    if field in PREPARATION_FIELDS:
      sizes = {1}
    if _size(file, name) in sizes:
      _add(names, file, field, name, variables)


def _add(
  names: dict[str, str],
  file: MatlabFile,
  field: str | None,
  name: str,
  variables: Mapping[str, str],
) -> None:
  """Adds the variable of a field, unless `variables` says which it is."""
  if field is None or field in variables:
    return
  if field in names:
    raise UserError(
      f"{file.path}: {names[field]} and {name} both look like {field}; "
      "`variables` says which it is"
    )
  names[field] = name


def _state_unit(table: Table, field: str, name: str) -> None:
  known, unit = field_and_unit(name)
  if unit and known == field:
    table.units[field] = unit


def _describe_unread(file: MatlabFile, name: str, table: Table) -> None:
  """Adds a sentence, or phases, of a vector of as many values as frames.

  Raises:
    UserError: it may be a field that is missing.
  """
  values = _values(file, name)
  field = field_and_unit(name)[0] or resembles(name)
  known = {*table.columns, *table.settings}
  has_no_phases = "rf_phases_deg" not in known
  if values.dtype.kind == "c":
    is_pulse = _are_pulses(values, table.columns["flip_angles_deg"], name)
    if has_no_phases and is_pulse:
      table.settings["rf_phases_deg"] = np.rad2deg(np.angle(values))
      table.notes.append(
        f"{file.path}: the phases of the pulses are those of the complex {name}"
      )
      return
  elif field in FRAME_FIELDS and field not in known:
    raise UserError(
      f"{file.path}: {name} has as many values as there are frames and may be "
      f"{field}, which is missing; name it {field}, or remove it"
    )
  kind = "complex values" if values.dtype.kind == "c" else "values"
  table.notes.append(
    f"{file.path}: {name}, {values.size} {kind}, one a frame, is not read"
  )


def _check_length(
  file: MatlabFile, name: str, table: Table, n_frames: int
) -> None:
  """Raises `UserError` if a field is missing but for its length."""
  field, _ = field_and_unit(name)
  size = _size(file, name)
  # A phase of one value is the same for all pulses, or another phase.
  if size == 1 or field in {None, *table.columns, *table.settings}:
    return
  raise UserError(
    f"{file.path}: {name} has {size} values, but {field} needs "
    + ("1" if field in PREPARATION_FIELDS else f"{n_frames}, one a frame")
  )


def _read_setting(file: MatlabFile, name: str, table: Table) -> bool:
  """Whether a variable describes the whole sequence, which it is read for.

  Raises:
    UserError: it describes phases of the pulses, which are missing.
  """
  known = {*table.columns, *table.settings}
  is_one = _size(file, name) == 1
  has_inversion = "inversion_time_ms" in known
  if is_one and _BALANCED.fullmatch(name):
    table.settings["balanced"] = bool(_values(file, name)[0])
    return True
  if is_one and _INVERSIONS.fullmatch(name) and not has_inversion:
    # 0 plays none, 1 plays one whose time is open, other numbers are times.
    value = float(_values(file, name)[0])
    if value == 0:
      table.settings["inversion_time_ms"] = None
    elif value != 1:
      table.columns["inversion_time_ms"] = np.array([value])
    return True
  if "rf_phases_deg" not in known and _PHASE_RULES.search(name):
    if np.any(_values(file, name)):
      raise UserError(
        f"{file.path}: {name} may describe the phases of the pulses, which are "
        "missing; PH gives one a frame (or remove it)"
      )
    return True
  return False


def _are_pulses(values: np.ndarray, flips: np.ndarray, name: str) -> bool:
  """Whether complex values, [frame], are flip angles with a phase."""
  sizes = np.abs(values)
  if not np.all(np.isfinite(values)) or not sizes.any():
    return False
  flips = np.abs(flips)
  if np.ptp(flips) == 0 or np.ptp(sizes) == 0:
    is_flat = np.ptp(flips) == 0 and np.ptp(sizes) <= 1e-6 * sizes.max()
    return is_flat and bool(_PULSES.fullmatch(name))
  return float(np.corrcoef(sizes, flips)[0, 1]) > _PROPORTIONAL


def _missing(file: MatlabFile, name: str) -> UserError:
  has = ", ".join(file.variables) or "none"
  return UserError(f"{file.path}: no variable {name!r}; it has {has}")


def _size(file: MatlabFile, name: str) -> int:
  """Number of values of a vector of numbers; 0 for any other variable."""
  variable = file.variables[name]
  is_vector = sum(size != 1 for size in variable.shape) <= 1
  if variable.dtype is None or not is_vector:
    return 0
  return int(np.prod(variable.shape))


def _values(file: MatlabFile, name: str) -> np.ndarray:
  """The values of a variable of numbers as a vector."""
  return np.ravel(file.read(name))


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
