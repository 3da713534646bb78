"""Settings of a whole sequence in the comments of a text file.

`save_sequence` writes `# inversion_time_ms 20` and `# balanced`. Others write
`# TI = 20 ms` or `# Balanced: yes`, which are read too. A comment that speaks
of such a setting, but is not one, is an error: the file would be taken for
another sequence.
"""

import pathlib
import re
from collections.abc import Collection
from typing import Any

from mrf_jax.errors import UserError
from mrf_jax.sequence.names import UNIT_OF, field_and_unit
from mrf_jax.sequence.sequence import PREPARATION_FIELDS
from mrf_jax.units import PHASES_DEG, check_sequence_time, to_ms

# Times of the whole sequence that a comment may give.
_TIMES = (*PREPARATION_FIELDS, "tr_ms", "te_ms")
_YES = ("true", "yes", "on", "1")
_NO = ("none", "no", "false", "off", "0", "-")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# "key = value" or "key: value"; "key value unit" without a mark between.
_MARKED = re.compile(r"(?P<key>[^:=]+?)\s*[:=]\s*(?P<value>.*)")
_PLAIN = re.compile(
  rf"(?P<key>.*?\D)\s+(?P<value>{_NUMBER}\s*[a-zA-Zµμ]*|{'|'.join(_NO[:-2])}|"
  rf"{'|'.join(_YES[:-1])})",
  re.IGNORECASE,
)
_VALUE = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<unit>[a-zA-Zµμ]*)\.?")
# A clause ends at a comma, but not at a decimal one, or before "TR=".
_CLAUSES = re.compile(r"[,;]\s+|[,;](?=[A-Za-z])|\s+(?=T[REI]\s*[=:])")
# Names of an inversion that say its time or only that it is played.
_INVERSION = re.compile(r"(?:pre\s*)?inversion(?:\s+pulse)?", re.IGNORECASE)
_NO_INVERSION = re.compile(
  r"(?:no|not|without|w/o)\s+(?:an?\s+)?inver\w*(?:\s+pulse)?", re.IGNORECASE
)
_BALANCED = r"(?:balanced|b-?ssfp|true-?\s?fisp|truefi|fiesta|b-?ffe)"
_IS_BALANCED = re.compile(
  rf"(?:fully\s+|is[\s_]*)?{_BALANCED}(?:\s+(?:ssfp|sequence|steady\s+state|mrf))*",
  re.IGNORECASE,
)
_NOT_BALANCED = re.compile(
  r"(?:not|non|no|un)[\s-]*balanced|(?:gradient[\s-]*)?spoiled|fisp",
  re.IGNORECASE,
)
# Words of a sentence that is about a setting.
_OF_BALANCE = re.compile(rf"(?<![a-z]){_BALANCED}\b", re.IGNORECASE)
_NO_SPOILING = re.compile(
  r"\b(?:un|not?\s+|without\s+)(?:gradient[\s-]*)?spoil\w*"
  r"|\bspoil\w*\s*[:=]?\s*(?:none|no|false|off|0)\b",
  re.IGNORECASE,
)
_OF_NO_BALANCE = re.compile(r"\b(?:not|non|no|un)[\s-]*balanced", re.IGNORECASE)
_OF_PHASES = re.compile(
  r"(?<!no )(?<!without )\brf[\s_-]*spoil\w*"
  r"(?!\w*\s*[:=]?\s*(?:none|no|false|off|0)\b)|\b(?:quadratic|alternating)\s+"
  r"(?:rf\s+)?phases?|\bphases?\s+(?:increment|cycl|alternat)\w*",
  re.IGNORECASE,
)
_OF_PULSES = {
  "slice_time_bandwidth": re.compile(
    r"(?:(?:slice|pulse|rf|sinc)[\s_-]*)?time[\s_-]*bandwidth"
    r"(?:[\s_-]*product)?",
    re.IGNORECASE,
  ),
  "inversion_efficiency": re.compile(
    r"inversion[\s_-]*efficiency", re.IGNORECASE
  ),
}
# A number stands near the word, and no comma between them.
_NEAR_NUMBER = r"\b[^\d,;]{0,25}\d"
_OF_TIMES = {
  "inversion_time_ms": re.compile(
    rf"(?:\binver(?:sion|t)\w*|\b(?-i:TI){_NEAR_NUMBER[:2]}){_NEAR_NUMBER}",
    re.IGNORECASE,
  ),
  "saturation_time_ms": re.compile(
    rf"(?<!fat )(?<!fat-)\bsaturat\w*{_NEAR_NUMBER}", re.IGNORECASE
  ),
  "t2_preparation_ms": re.compile(
    rf"\bt2[\s_-]*prep\w*{_NEAR_NUMBER}", re.IGNORECASE
  ),
}
# Sentences that may be about a setting, which is then assumed.
_MAY_MEAN = {
  "inversion_time_ms": re.compile(
    r"\binver(?:sion|t)|\b(?-i:IR)\b", re.IGNORECASE
  ),
  "tr_ms": re.compile(rf"(?-i:\bTR\b){_NEAR_NUMBER}"),
  "te_ms": re.compile(rf"(?-i:\bTE\b){_NEAR_NUMBER}"),
}
_SPELLING = {
  "inversion_time_ms": "# inversion_time_ms 20 (or none)",
  "saturation_time_ms": "# saturation_time_ms 10 (or none)",
  "t2_preparation_ms": "# t2_preparation_ms 40 (or none)",
  "balanced": "# balanced (or # balanced false)",
  "tr_ms": "# tr_ms 12",
  "te_ms": "# te_ms 2",
  "rf_phases_deg": "a column rf_phase_deg",
  "slice_time_bandwidth": "# slice_time_bandwidth 4",
  "inversion_efficiency": "# inversion_efficiency 0.96",
}


def read_settings(
  path: pathlib.Path,
  comments: list[str],
  *,
  columns: Collection[str],
  time_unit: str | None,
) -> dict[str, Any]:
  """Fields of the whole sequence that comments set.

  Args:
    path: the file, for messages.
    comments: the comments without their mark #.
    columns: fields that have a column, which a comment does not replace.
    time_unit: unit of times whose comment has none; None for ms.

  Returns:
    Times in ms, or None for none, of preparations, of TR and TE, whether the
    sequence is balanced, and what its pulses are like, by the field of
    `Sequence`.

  Raises:
    UserError: a comment sets a field to what is no value of it, or to another
      value than a comment before it, or a time has another unit.
  """
  settings: dict[str, Any] = {}
  for comment in comments:
    for clause in _CLAUSES.split(comment):
      clause = clause.strip().rstrip(".")
      found = _setting(path, clause, columns, time_unit)
      if found is None:
        continue
      field, value = found
      if field in settings and settings[field] != value:
        raise UserError(
          f"{path}: comments set {field} to {settings[field]} and to {value}"
        )
      settings[field] = value
  return settings


def check_sentences(
  path: pathlib.Path, comments: list[str], known: set[str]
) -> list[str]:
  """Looks for comments on settings that the file does not have.

  Args:
    path: the file, for messages.
    comments: see `read_settings`.
    known: fields that a column or another comment gives.

  Returns:
    Sentences on comments that may mean a setting.

  Raises:
    UserError: a comment says what is not read, such as a balanced sequence.
  """
  notes = []
  for comment in comments:
    if any(pattern.search(comment) for pattern in _OF_PULSES.values()):
      continue
    field = _field_in_words(comment, known)
    if field is not None:
      raise UserError(
        f"{path}: the comment {comment.strip()!r} is not read; "
        f"{_SPELLING[field]} says it (or remove the comment)"
      )
    notes += [
      f"{path}: the comment {comment.strip()!r} is not read; "
      f"{_SPELLING[field]} sets it"
      for field, pattern in _MAY_MEAN.items()
      if field not in known and pattern.search(comment)
    ]
  return notes


def _field_in_words(comment: str, known: set[str]) -> str | None:
  """The field that a sentence is about, if the file does not give it."""
  if "balanced" not in known:
    says_no = _OF_NO_BALANCE.search(comment)
    if _NO_SPOILING.search(comment) and "rf" not in comment.lower():
      return "balanced"
    if _OF_BALANCE.search(comment) and not says_no:
      return "balanced"
  if "rf_phases_deg" not in known and _OF_PHASES.search(comment):
    return "rf_phases_deg"
  for field, pattern in _OF_TIMES.items():
    if field not in known and pattern.search(comment):
      return field
  return None


def _setting(
  path: pathlib.Path,
  clause: str,
  columns: Collection[str],
  time_unit: str | None,
) -> tuple[str, Any] | None:
  """The field and value that a clause sets, or None if it sets none."""
  if _IS_BALANCED.fullmatch(clause):
    return "balanced", True
  if _NOT_BALANCED.fullmatch(clause):
    return "balanced", False
  if _NO_INVERSION.fullmatch(clause):
    return "inversion_time_ms", None
  match = _MARKED.fullmatch(clause) or _PLAIN.fullmatch(clause)
  key, text = (match["key"], match["value"]) if match else (clause, "")
  if _IS_BALANCED.fullmatch(key.strip()):
    if text.lower() in (*_YES, *_NO):
      return "balanced", text.lower() in _YES
    raise _not_read(path, clause, "balanced")
  for name, pattern in _OF_PULSES.items():
    if pattern.fullmatch(key.strip()):
      number = _VALUE.fullmatch(text)
      if number is None or number["unit"]:
        raise _not_read(path, clause, name)
      return name, float(number["number"])
  names_pulse = _INVERSION.fullmatch(key.strip())
  if names_pulse:
    field, unit = "inversion_time_ms", None
  else:
    known, unit = field_and_unit(key)
    if known == "rf_phases_deg" not in columns:
      # Not "phase 2 of the study".
      is_meant = text and text.lower() not in _NO
      if is_meant and (_MARKED.fullmatch(clause) or "rf" in key.lower()):
        raise _not_read(path, clause, known)
    if known not in _TIMES or known in columns:
      return None
    field = known
  # "inversion: 0" plays none, "TI: 0" one right before the first pulse.
  is_none = text.lower() in _NO and (text != "0" or names_pulse)
  if field in PREPARATION_FIELDS and is_none:
    return field, None
  value = _VALUE.fullmatch(text)
  if value is None or (value["unit"] and value["unit"] not in UNIT_OF):
    # "TR FA" names columns, and "TR: see the table" is words.
    if field not in PREPARATION_FIELDS and not re.match(r"[-+.\d]", text):
      return None
    raise _not_read(path, clause, field)
  unit = UNIT_OF[value["unit"]] if value["unit"] else unit
  if unit in PHASES_DEG:
    raise _not_read(path, clause, field)
  # A name that ends in _ms is not in the unit of the columns.
  stated = unit or ("ms" if key.lower().endswith("ms") else time_unit)
  time_ms = float(to_ms(float(value["number"]), stated or "ms"))
  check_sequence_time(
    f"{path}: {field} in the comment {clause!r}", field, time_ms
  )
  return field, time_ms


def _not_read(path: pathlib.Path, clause: str, field: str) -> UserError:
  return UserError(
    f"{path}: the comment {clause!r} looks like {field}, but cannot be read; "
    f"{_SPELLING[field]} says it"
  )
