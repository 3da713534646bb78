"""Differences between methods over the left-out subjects, with confidence."""

import csv
import dataclasses
import itertools
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from mrf_jax.errors import UserError
from mrf_jax.evaluation.errors import SubjectErrors
from mrf_jax.evaluation.table import (
  ABSENT,
  DECIMALS,
  column_headings,
  markdown_table,
  subject_counts,
  tissue_heading,
)
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.io.atomic import replacing
from mrf_jax.maps import MAP_NAMES

_ERRORS = ("mae", "rmse")


@dataclasses.dataclass(frozen=True)
class Difference:
  """One pair of methods, tissue, map and kind of error.

  Attributes:
    method: a method.
    other: the method it is compared with.
    tissue: one of `TISSUES`.
    map: one of `MAP_NAMES`.
    error: `mae` or `rmse`.
    mean: mean over the left-out subjects of the error of `method` minus that
      of `other`, unit of the map; negative where `method` is better.
    low: lower end of its confidence interval.
    high: upper end.
    n: subjects in which both have the tissue.
  """

  method: str
  other: str
  tissue: str
  map: str
  error: str
  mean: float
  low: float
  high: float
  n: int


def paired_differences(
  errors: Mapping[str, Sequence[SubjectErrors]], *, confidence: float = 0.95
) -> list[Difference]:
  """Every pair of methods, subject by subject.

  mean ± t s / √n, with the sample standard deviation s of the n differences
  and Student's t of n − 1 degrees of freedom.

  Args:
    errors: method to the errors of each left-out subject.
    confidence: of the two-sided interval.

  Returns:
    Each pair once, in the order of `errors`; a tissue that neither method
    names is left out. Without two subjects in common the interval is nan,
    without any the mean too.

  Raises:
    UserError: methods have different numbers of subjects.
  """
  if len({len(subjects) for subjects in errors.values()}) > 1:
    counts = ", ".join(f"{m} {len(s)}" for m, s in errors.items())
    raise UserError(f"differences: numbers of subjects differ: {counts}")
  rows = []
  for method, other in itertools.combinations(errors, 2):
    pairs = list(zip(errors[method], errors[other], strict=True))
    named = set().union(*(subject for pair in pairs for subject in pair))
    for key in itertools.product(TISSUES, MAP_NAMES):
      if key not in named:
        continue
      for i, error in enumerate(_ERRORS):
        differences = [
          one[key][i] - two[key][i]
          for one, two in pairs
          if key in one and key in two
        ]
        differences = [d for d in differences if not math.isnan(d)]
        numbers = _interval(differences, confidence)
        rows.append(Difference(method, other, *key, error, *numbers))
  return rows


def write_differences(
  rows: Sequence[Difference], path: str | os.PathLike
) -> None:
  """Writes the rows with all digits.

  Args:
    rows: the differences.
    path: the CSV file, replaced as a whole.
  """
  with replacing(path) as temporary:
    with open(temporary, "w", encoding="utf-8", newline="") as file:
      writer = csv.writer(file, lineterminator="\n")
      writer.writerow(f.name for f in dataclasses.fields(Difference))
      writer.writerows(dataclasses.astuple(row) for row in rows)


def format_differences(
  rows: Sequence[Difference],
  *,
  against: str,
  title: str,
  note: str = "",
  confidence: float = 0.95,
) -> str:
  """All methods against one, in Markdown.

  Args:
    rows: the differences of all pairs.
    against: the method that the others are compared with.
    title: heading.
    note: paragraph between heading and table.
    confidence: of the intervals, as given to `paired_differences`.

  Returns:
    The text, which ends with a newline. An interval without zero is in bold.

  Raises:
    UserError: there are differences, but none from `against`.
  """
  known = {name: None for row in rows for name in (row.method, row.other)}
  if known and against not in known:
    raise UserError(
      f"differences: no method {against!r}; there are {', '.join(known)}"
    )
  rows = [_seen_from(against, row) for row in rows]
  rows = [row for row in rows if row.other == against]
  found = {(r.tissue, r.method, r.map, r.error): r for r in rows}
  lines = {(r.tissue, r.method) for r in rows}
  methods = list(dict.fromkeys(row.method for row in rows))
  body = [
    [
      tissue_heading(tissue),
      method,
      *(
        _cell(found.get((tissue, method, name, error)))
        for name, error in itertools.product(MAP_NAMES, _ERRORS)
      ),
    ]
    for tissue, method in itertools.product(TISSUES, methods)
    if (tissue, method) in lines
  ]
  head = ["tissue", "method", *column_headings(MAP_NAMES)]
  n = subject_counts((r.tissue, r.n) for r in rows)
  caveat = (
    f"Error of the method minus that of {against}: mean over the left-out "
    f"subjects [{100 * confidence:g} % confidence interval by Student's t], "
    f"n = {n}; negative is better, bold where the interval excludes zero. "
    "Folds share training subjects, so that their errors are not quite "
    "independent, n is small, and each interval is for one comparison, not "
    "adjusted for their number."
  )
  parts = [f"# {title}", note, markdown_table(head, body), caveat]
  return "\n\n".join(part for part in parts if part) + "\n"


def _interval(differences, confidence):
  """Mean, low, high and count."""
  n = len(differences)
  if not n:
    return math.nan, math.nan, math.nan, 0
  mean = float(np.mean(differences))
  if n == 1:
    return mean, math.nan, math.nan, 1
  t = stats.t.ppf((1 + confidence) / 2, n - 1)
  half = float(t * np.std(differences, ddof=1) / math.sqrt(n))
  return mean, mean - half, mean + half, n


def _seen_from(against: str, row: Difference) -> Difference:
  """The row with `against` as the other method, if it is one of the two."""
  if row.method != against:
    return row
  return dataclasses.replace(
    row,
    method=row.other,
    other=row.method,
    mean=0.0 - row.mean,  # no negative zero
    low=0.0 - row.high,
    high=0.0 - row.low,
  )


def _cell(row: Difference | None) -> str:
  if row is None or not row.n:
    return ABSENT
  d = DECIMALS[row.map]
  if math.isnan(row.low):
    return f"{row.mean:+.{d}f}"
  cell = f"{row.mean:+.{d}f} [{row.low:+.{d}f}, {row.high:+.{d}f}]"
  return f"**{cell}**" if row.low > 0 or row.high < 0 else cell
