"""Table 1: errors of all methods over the left-out subjects."""

import csv
import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.evaluation.errors import SubjectErrors
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.io.atomic import replacing
from mrf_jax.maps import MAP_NAMES

# Rows to read the methods against, which do not compete with them: `truth`
# in the table against the acquired maps; `acquired` and `bound` in that against
# the truth.
REFERENCE_ROWS = ("training_mean", "truth", "acquired", "bound")

# Map to its heading, unit and decimals in print.
_PRINT = {
  "pd": ("PD", "a.u.", 3),
  "t1_ms": ("T1", "ms", 1),
  "t2_ms": ("T2", "ms", 1),
}
DECIMALS = {name: decimals for name, (_, _, decimals) in _PRINT.items()}
ABSENT = "–"


@dataclasses.dataclass(frozen=True)
class Row:
  """One method, tissue and map of `table1.csv`.

  Attributes:
    method: name of the method.
    tissue: one of `TISSUES`.
    map: one of `MAP_NAMES`.
    mae_mean: mean over the left-out subjects of the MAE, unit of the map.
    mae_std: its sample standard deviation.
    rmse_mean: mean over the left-out subjects of the RMSE, unit of the map.
    rmse_std: its sample standard deviation.
    n: number of subjects used, those in which the tissue has voxels.
  """

  method: str
  tissue: str
  map: str
  mae_mean: float
  mae_std: float
  rmse_mean: float
  rmse_std: float
  n: int


_COLUMNS = tuple(f.name for f in dataclasses.fields(Row))


def summarise(errors: Mapping[str, Sequence[SubjectErrors]]) -> list[Row]:
  """Mean and sample standard deviation over the left-out subjects.

  Args:
    errors: method to the errors of each left-out subject.

  Returns:
    Rows by method, tissue and map. Subjects without the tissue are left
    out; the standard deviation of one subject is 0, and without any subject
    all numbers are nan and `n` is 0.
  """
  rows = []
  for method, subjects in errors.items():
    keys = {key for subject in subjects for key in subject}
    for tissue in TISSUES:
      for name in MAP_NAMES:
        if (tissue, name) not in keys:
          continue
        pairs = [s[tissue, name] for s in subjects if (tissue, name) in s]
        pairs = [p for p in pairs if not math.isnan(p[0])]
        mae_mean, mae_std = _mean_std([p[0] for p in pairs])
        rmse_mean, rmse_std = _mean_std([p[1] for p in pairs])
        rows.append(
          Row(
            method=method,
            tissue=tissue,
            map=name,
            mae_mean=mae_mean,
            mae_std=mae_std,
            rmse_mean=rmse_mean,
            rmse_std=rmse_std,
            n=len(pairs),
          )
        )
  return rows


def write_csv(rows: Sequence[Row], path: str | os.PathLike) -> None:
  """Writes the rows with all digits, so that `read_csv` is exact.

  Args:
    rows: the table.
    path: the file, replaced as a whole.
  """
  with replacing(path) as temporary:
    with open(temporary, "w", encoding="utf-8", newline="") as file:
      writer = csv.writer(file, lineterminator="\n")
      writer.writerow(_COLUMNS)
      writer.writerows(dataclasses.astuple(row) for row in rows)


def write_text(text: str, path: str | os.PathLike) -> None:
  """Writes a formatted table to its file, complete or not at all."""
  with replacing(path) as temporary:
    temporary.write_text(text)


def read_csv(path: str | os.PathLike) -> list[Row]:
  """Rows that `write_csv` has written.

  Args:
    path: the file.

  Returns:
    The rows in the order of the file.

  Raises:
    UserError: no such file, other columns, or fields that are no numbers.
  """
  try:
    with open(path, encoding="utf-8", newline="") as file:
      lines = list(csv.reader(file))
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise UserError(f"{path}: cannot read the table: {error}") from error
  if not lines or tuple(lines[0]) != _COLUMNS:
    raise UserError(f"{path}: the first line is not {','.join(_COLUMNS)}")
  rows = []
  for number, line in enumerate(lines[1:], start=2):
    try:
      method, tissue, name, *numbers, n = line
      a, b, c, d = map(float, numbers)
      rows.append(Row(method, tissue, name, a, b, c, d, int(n)))
    except ValueError as error:
      raise UserError(f"{path}, line {number}: {error}") from error
  return rows


def format_markdown(
  rows: Sequence[Row],
  *,
  title: str,
  note: str = "",
  reference_rows: Sequence[str] = REFERENCE_ROWS,
) -> str:
  """The paper's Table 1 in Markdown, the best mean of each tissue in bold.

  Args:
    rows: the table.
    title: heading.
    note: paragraph between heading and table.
    reference_rows: methods that come last and are never in bold.

  Returns:
    The text, which ends with a newline.
  """
  head, body = _grid(rows, reference_rows, bold="**{}**".format)
  parts = [f"# {title}", note, markdown_table(head, body), _subjects(rows)]
  return "\n\n".join(part for part in parts if part) + "\n"


def format_text(
  rows: Sequence[Row], *, reference_rows: Sequence[str] = REFERENCE_ROWS
) -> str:
  """The paper's Table 1 in aligned columns for the screen.

  Args:
    rows: the table.
    reference_rows: methods that come last in each tissue.

  Returns:
    The text, which ends with a newline.
  """
  head, body = _grid(rows, reference_rows, bold=str)
  widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
  lines = []
  for cells in [head, *body]:
    left = [c.ljust(w) for c, w in zip(cells[:2], widths[:2], strict=True)]
    right = [c.rjust(w) for c, w in zip(cells[2:], widths[2:], strict=True)]
    lines.append("  ".join(left + right).rstrip())
  return "\n".join([*lines, _subjects(rows)]) + "\n"


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
  """Lines of a Markdown table, the first two columns to the left."""
  align = [":--", ":--"] + ["--:"] * (len(head) - 2)
  return "\n".join(
    "| " + " | ".join(row) + " |" for row in [head, align, *body]
  )


def column_headings(names: Sequence[str]) -> list[str]:
  """MAE and RMSE of each map with its unit."""
  return [
    f"{_PRINT[name][0]} {error} ({_PRINT[name][1]})"
    for name in names
    for error in ("MAE", "RMSE")
  ]


def tissue_heading(tissue: str) -> str:
  """A tissue as tables print it."""
  return "brain" if tissue == "brain" else tissue.upper()


def subject_counts(counts: Iterable[tuple[str, int]]) -> str:
  """Numbers of subjects in words, by tissue where they differ.

  Args:
    counts: tissue and number of subjects of each cell of a table.

  Returns:
    For example `6`, `5–6` or `6 (wm), 5 (csf)`.
  """
  found: dict[str, set[int]] = {}
  for tissue, n in counts:
    found.setdefault(tissue, set()).add(n)
  ranges = {}
  for tissue in TISSUES:
    if tissue in found:
      low, high = min(found[tissue]), max(found[tissue])
      ranges[tissue] = f"{low}" if low == high else f"{low}–{high}"
  if len(set(ranges.values())) <= 1:
    return next(iter(ranges.values()), "0")
  return ", ".join(f"{n} ({tissue})" for tissue, n in ranges.items())


def _mean_std(values):
  """Mean and sample standard deviation, (nan, nan) of nothing."""
  if not values:
    return float("nan"), float("nan")
  std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
  return float(np.mean(values)), std


def _grid(rows, reference_rows, bold):
  """Heading and lines of the printed table, as lists of cells."""
  names = [n for n in MAP_NAMES if any(r.map == n for r in rows)]
  columns = [(n, error) for n in names for error in ("mae", "rmse")]
  head = ["tissue", "method", *column_headings(names)]

  found = {(r.method, r.tissue, r.map): r for r in rows}
  methods = list(dict.fromkeys(r.method for r in rows))
  methods.sort(key=lambda m: m in reference_rows)  # stable

  body = []
  for tissue in TISSUES:
    here = [m for m in methods if any((m, tissue, n) in found for n in names)]
    best = {}
    for name, error in columns:
      rivals = [found.get((m, tissue, name)) for m in here]
      means = [
        getattr(r, f"{error}_mean")
        for r in rivals
        if r is not None and r.n and r.method not in reference_rows
      ]
      best[name, error] = min(means, default=None)
    for method in here:
      cells = [tissue_heading(tissue), method]
      for name, error in columns:
        row = found.get((method, tissue, name))
        if row is None or row.n == 0:
          cells.append(ABSENT)
          continue
        mean = getattr(row, f"{error}_mean")
        std = getattr(row, f"{error}_std")
        decimals = DECIMALS[name]
        cell = f"{mean:.{decimals}f} ± {std:.{decimals}f}"
        wins = method not in reference_rows and mean == best[name, error]
        cells.append(bold(cell) if wins else cell)
      body.append(cells)
  return head, body


def _subjects(rows):
  """The line that says over how many subjects the means were taken."""
  said = subject_counts((r.tissue, r.n) for r in rows)
  return f"Mean ± standard deviation over the left-out subjects, n = {said}."
