"""Differences between methods over the left-out subjects, with confidence."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from mrf_jax.errors import UserError
from mrf_jax.evaluation.errors import SubjectErrors
from mrf_jax.evaluation.markdown import (
  DECIMALS,
  column_headings,
  markdown_table,
  paragraphs,
  subject_counts,
  table_body,
)
from mrf_jax.evaluation.table import ERRORS
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.maps import MAP_NAMES

# Type of each column of a table of differences, see `paired_differences`.
COLUMNS = {
  "method": str,
  "other": str,
  "tissue": str,
  "map": str,
  "error": str,
  "mean": float,
  "low": float,
  "high": float,
  "n": int,
}


def paired_differences(
  errors: Mapping[str, Sequence[SubjectErrors]], *, confidence: float = 0.95
) -> pd.DataFrame:
  """Compares every pair of methods, subject by subject.

  Args:
    errors: method to the errors of each left-out subject.
    confidence: confidence level of the two-sided interval.

  Returns:
    A row for each pair of methods, in the order of `errors`, tissue, map and
    kind of `error` (`mae` or `rmse`): `mean` over the left-out subjects of the
    error of `method` minus that of `other`, unit of the map, negative if
    `method` is better; `low` and `high`, ends of its confidence interval; `n`,
    subjects in which the tissue has voxels for both. A tissue that neither
    method names is left out. The interval is nan if n < 2, the mean if n is 0.

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
      for i, error in enumerate(ERRORS):
        differences = [
          ours[key][i] - theirs[key][i]
          for ours, theirs in pairs
          if key in ours and key in theirs
        ]
        differences = [d for d in differences if not math.isnan(d)]
        numbers = mean_interval(differences, confidence=confidence)
        rows.append((method, other, *key, error, *numbers, len(differences)))
  return pd.DataFrame(rows, columns=[*COLUMNS])


def format_differences(
  rows: pd.DataFrame,
  *,
  against: str,
  title: str,
  note: str = "",
  confidence: float = 0.95,
) -> str:
  """Formats the differences of all methods from one of them in Markdown.

  Args:
    rows: table of `paired_differences`.
    against: the method that the others are compared with.
    title: heading.
    note: paragraph between heading and table.
    confidence: of the intervals, as given to `paired_differences`.

  Returns:
    The text, which ends with a newline. An interval without zero is in bold.

  Raises:
    UserError: there are differences, but not from `against`.
  """
  methods = dict.fromkeys([*rows["method"], *rows["other"]])
  if methods and against not in methods:
    raise UserError(
      f"differences: no method {against!r}; there are {', '.join(methods)}"
    )
  rows = _seen_from(against, rows)
  cells = {
    (row.tissue, row.method, (row.map, row.error)): difference_cell(row)
    for row in rows[rows["n"] > 0].itertuples()
  }
  body = table_body(
    zip(rows["tissue"], rows["method"], strict=True),
    list(itertools.product(MAP_NAMES, ERRORS)),
    cells,
  )
  head = ["tissue", "method", *column_headings(MAP_NAMES)]
  n = subject_counts(zip(rows["tissue"], rows["n"], strict=True))
  caveat = (
    f"Error of the method minus that of {against}: mean over the left-out "
    f"subjects [{100 * confidence:g} % confidence interval by Student's t], "
    f"n = {n}; negative is better, bold where the interval excludes zero. "
    "Folds share training subjects, so that their errors are not quite "
    "independent, n is small, and each interval is for one comparison, not "
    "adjusted for their number."
  )
  return paragraphs(f"# {title}", note, markdown_table(head, body), caveat)


def mean_interval(
  differences: Sequence[float], *, confidence: float = 0.95
) -> tuple[float, float, float]:
  """Mean of differences and the ends of its two-sided confidence interval.

  mean ± t s / √n, with the sample standard deviation s of the n differences
  and Student's t of n − 1 degrees of freedom. `stats.ttest_1samp` gives the
  same but for the last digits, and warns if all differences are equal. The
  interval is nan if n < 2, the mean if n is 0.
  """
  n = len(differences)
  mean = float(np.mean(differences)) if n else math.nan
  if n < 2:
    return mean, math.nan, math.nan
  t = stats.t.ppf((1 + confidence) / 2, n - 1)
  half = float(t * np.std(differences, ddof=1) / math.sqrt(n))
  return mean, mean - half, mean + half


def _seen_from(against: str, rows: pd.DataFrame) -> pd.DataFrame:
  """Rows of a method and others, turned so that it is the other method."""
  turned = rows["method"] == against
  opposite = rows[turned].rename(
    columns={"method": "other", "other": "method", "low": "high", "high": "low"}
  )
  # Not -x, which makes a negative zero.
  opposite[["mean", "low", "high"]] = 0.0 - opposite[["mean", "low", "high"]]
  straight = rows[rows["other"] == against]
  return pd.concat([straight, opposite[[*COLUMNS]]]).sort_index()


def difference_cell(row) -> str:
  """Text of a row: mean [low, high], in bold if these exclude zero."""
  d = DECIMALS[row.map]
  if math.isnan(row.low):
    return f"{row.mean:+.{d}f}"
  cell = f"{row.mean:+.{d}f} [{row.low:+.{d}f}, {row.high:+.{d}f}]"
  return f"**{cell}**" if row.low > 0 or row.high < 0 else cell
