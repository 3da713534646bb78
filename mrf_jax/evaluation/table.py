"""Table 1: errors of all methods over the left-out subjects.

A table has one row for each method, tissue and map:

  method, tissue, map   names; one of `TISSUES`, one of `MAP_NAMES`
  mae_mean, mae_std     mean and standard deviation (`spread`) over the left-
  rmse_mean, rmse_std   out subjects of MAE and of RMSE, unit of the map
  n                     number of subjects in which the tissue has voxels
"""

import itertools
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from mrf_jax.errors import UserError, one_line
from mrf_jax.evaluation.errors import SubjectErrors
from mrf_jax.evaluation.markdown import (
  ABSENT,
  DECIMALS,
  column_headings,
  markdown_table,
  paragraphs,
  subject_counts,
  table_body,
)
from mrf_jax.evaluation.spread import STANDARD_DEVIATION, spread
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.io.atomic import replacing
from mrf_jax.maps import MAP_NAMES

# Reference rows, which do not compete with the methods: `truth` in the table
# against the acquired maps; `acquired` and `bound` in that against the truth.
_REFERENCE_ROWS = ("training_mean", "truth", "acquired", "bound")

ERRORS = ("mae", "rmse")
# Columns of the errors of each left-out subject.
BY_SUBJECT = ("method", "subject", "tissue", "map", *ERRORS)
# Columns of a terminal.
_WIDTH = 80
_KEY = ["method", "tissue", "map"]
# Type of each column.
COLUMNS = {
  "method": str,
  "tissue": str,
  "map": str,
  "mae_mean": float,
  "mae_std": float,
  "rmse_mean": float,
  "rmse_std": float,
  "n": int,
}


def errors_by_subject(
  errors: Mapping[str, Sequence[SubjectErrors]], subjects: Sequence[int]
) -> pd.DataFrame:
  """Errors of each left-out subject, columns of `BY_SUBJECT`.

  Args:
    errors: method to the errors of each left-out subject.
    subjects: their numbers.

  Returns:
    A row for each method, subject, tissue and map: `mae` and `rmse` in the unit
    of the map, nan where the subject has no voxel of the tissue.
  """
  rows = [
    (method, number, *key, *own[key])
    for method, of_method in errors.items()
    for number, own in zip(subjects, of_method, strict=True)
    for key in itertools.product(TISSUES, MAP_NAMES)
    if key in own
  ]
  return pd.DataFrame(rows, columns=[*BY_SUBJECT])


def summarise(errors: Mapping[str, Sequence[SubjectErrors]]) -> pd.DataFrame:
  """Mean and standard deviation (`spread`) over the left-out subjects.

  Args:
    errors: method to the errors of each left-out subject.

  Returns:
    Table in the order of methods, `TISSUES` and `MAP_NAMES`. Subjects in
    which a tissue has no voxels are left out; the standard deviation of one
    subject is 0; without any subject the numbers are nan and `n` is 0.
  """
  subjects = pd.DataFrame(
    [
      (method, *key, *subject[key])
      for method, subjects in errors.items()
      for key in itertools.product(TISSUES, MAP_NAMES)
      for subject in subjects
      if key in subject
    ],
    columns=[*_KEY, *ERRORS],
  ).astype(dict.fromkeys(ERRORS, float))
  return (
    subjects.groupby(_KEY, sort=False)
    .agg(
      mae_mean=("mae", _mean),
      mae_std=("mae", _std),
      rmse_mean=("rmse", _mean),
      rmse_std=("rmse", _std),
      n=("mae", "count"),
    )
    .reset_index()
  )


def _mean(values: pd.Series) -> float:
  """Mean by NumPy, because pandas sums in an order that changes last digits."""
  values = values.dropna().to_numpy()
  return np.mean(values) if len(values) else np.nan


def _std(values: pd.Series) -> float:
  """Spread of the values that there are."""
  return spread(values.dropna())


def write_rows(
  rows: pd.DataFrame, path: str | os.PathLike, float_format: str | None = None
) -> None:
  """Writes any table as CSV, complete or not at all.

  Without a format, such as `%.6g`, numbers can be read back exactly.
  """
  with replacing(path) as temporary:
    rows.to_csv(
      temporary,
      index=False,
      lineterminator="\n",
      na_rep="nan",
      float_format=float_format,
    )


def read_table(path: str | os.PathLike) -> pd.DataFrame:
  """Reads a table of `summarise` that `write_rows` has written, unchanged.

  Raises:
    UserError: no such file, other columns, or fields that are not numbers.
  """
  try:
    # Numbers are parsed by astype: pandas before 3 rounds them in read_csv.
    rows = pd.read_csv(
      path, dtype=object, keep_default_na=False, skip_blank_lines=False
    )
    # With one field too many in all lines, pandas takes the first as index.
    if [*rows] == [*COLUMNS] and isinstance(rows.index, pd.RangeIndex):
      return rows.astype(COLUMNS)
  except (OSError, ValueError, OverflowError) as error:
    raise UserError(
      f"{path}: cannot read the table: {one_line(error)}"
    ) from error
  raise UserError(f"{path}: the columns are not {','.join(COLUMNS)}")


def format_markdown(rows: pd.DataFrame, *, title: str, note: str = "") -> str:
  """Formats the paper's Table 1 in Markdown, the best means in bold.

  The note is a paragraph between heading and table. The reference rows come
  last and are never in bold.
  """
  head, body = _grid(rows, bold="**{}**".format)
  return paragraphs(
    f"# {title}", note, markdown_table(head, body), _subjects(rows)
  )


def format_text(rows: pd.DataFrame) -> str:
  """Formats the paper's Table 1 for a terminal, within its 80 columns.

  MAE and RMSE are two tables. The best means have a star.
  """
  # Without a star there is a space, so that the digits stay aligned.
  head, body = _grid(rows, bold="{}*".format, plain="{} ".format)
  parts = []
  for k, error in enumerate(ERRORS):
    columns = [0, 1, *range(2 + k, len(head), len(ERRORS))]
    cells = [[line[c] for c in columns] for line in (head, *body)]
    cells[0][2:] = [
      name.replace(f" {error.upper()}", "") + " " for name in cells[0][2:]
    ]
    parts.append(f"{error.upper()}\n{_aligned(cells)}")
  note = f"* is the best of the methods. {_subjects(rows)}"
  return "\n\n".join([*parts, textwrap.fill(note, _WIDTH)]) + "\n"


def _aligned(cells: Sequence[Sequence[str]]) -> str:
  """Lines of a table, each tissue set off, the first two columns to the left.

  A tissue is named in its first line only.
  """
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  lines, before = [], cells[0][0]
  for tissue, method, *numbers in cells:
    is_new = tissue != before
    if is_new:
      lines.append("")
    name = tissue if is_new or not lines else ""
    before = tissue
    numbers = [f"{n} " if n == ABSENT else n for n in numbers]
    left = f"{name:<{widths[0]}}  {method:<{widths[1]}}"
    right = (f"{n:>{w}}" for n, w in zip(numbers, widths[2:], strict=True))
    lines.append("  ".join([left, *right]).rstrip())
  return "\n".join(lines)


def _grid(
  rows: pd.DataFrame,
  bold: Callable[[str], str],
  plain: Callable[[str], str] = str,
) -> tuple[list[str], list[list[str]]]:
  """Headings and lines: the best cells by `bold`, the others by `plain`."""
  rows = rows.sort_values(
    "method", key=lambda m: m.isin(_REFERENCE_ROWS), kind="stable"
  )
  used = rows[rows["n"] > 0]
  rivals = used[~used["method"].isin(_REFERENCE_ROWS)]
  best = rivals.groupby(["tissue", "map"]).min(numeric_only=True)
  cells = {}
  for row in used.itertuples():
    decimals = DECIMALS[row.map]
    for error in ERRORS:
      mean, std = getattr(row, f"{error}_mean"), getattr(row, f"{error}_std")
      cell = f"{mean:.{decimals}f} ± {std:.{decimals}f}"
      is_best = (
        row.method not in _REFERENCE_ROWS
        and mean == best.at[(row.tissue, row.map), f"{error}_mean"]
      )
      cells[row.tissue, row.method, (row.map, error)] = (
        bold(cell) if is_best else plain(cell)
      )
  names = [name for name in MAP_NAMES if name in set(rows["map"])]
  body = table_body(
    zip(rows["tissue"], rows["method"], strict=True),
    list(itertools.product(names, ERRORS)),
    cells,
  )
  return ["tissue", "method", *column_headings(names)], body


def _subjects(rows: pd.DataFrame) -> str:
  """Sentence that tells over how many subjects the means were taken."""
  n = subject_counts(zip(rows["tissue"], rows["n"], strict=True))
  return f"Mean ± {STANDARD_DEVIATION} over the left-out subjects, n = {n}."
