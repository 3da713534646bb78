"""Tables of a question whose variants are other scans of the same heads.

Each variant has reference maps of its own, so its errors are computed within
it; variants are compared head by head, by the numbers of the left-out heads.
"""

import itertools
from collections.abc import Mapping, Sequence

import pandas as pd

from mrf_jax.evaluation.differences import difference_cell, mean_interval
from mrf_jax.evaluation.markdown import (
  ABSENT,
  DECIMALS,
  LABELS,
  markdown_table,
  paragraphs,
  subject_counts,
  tissue_heading,
)
from mrf_jax.evaluation.table import BY_SUBJECT, ERRORS
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.experiment.variants import comparisons
from mrf_jax.maps import MAP_NAMES

# Rows that are no methods.
_REFERENCES = ("training_mean", "truth")
# What is averaged over heads.
_CELL = ("method", "tissue", "map", "error")
# Type of each column of `paired_table`.
COLUMNS = {
  "method": str,
  "variant": str,
  "other": str,
  "tissue": str,
  "map": str,
  "error": str,
  "value": float,
  "other_value": float,
  "difference": float,
  "low": float,
  "high": float,
  "n": int,
}


def paired_table(content: Mapping, variants: Sequence[dict]) -> pd.DataFrame:
  """Differences of a question's variants from those they are compared with.

  Args:
    content: entry of the question in the configuration.
    variants: its variants in the record of a study, with `by_subject`.

  Returns:
    A row for each method (and `truth` and `training_mean`), variant, tissue,
    map and kind of `error`, `mae` or `rmse`, in the unit of the map: `value`
    and `other_value`, means of the error over the left-out heads of both, and
    `difference`, the mean of the first minus the second, head by head, with
    `low` and `high`, the ends of its 95 % confidence interval by Student's t
    of n − 1 degrees of freedom. Variants that were not run are left out.
  """
  errors = {v["name"]: _long(v["by_subject"]) for v in _with_errors(variants)}
  rows = [
    row
    for other, names in comparisons(content).items()
    for name in names
    if name in errors and other in errors
    for row in _differences(name, other, errors[name], errors[other])
  ]
  # Method by method, as the page has them.
  methods = [*dict.fromkeys(row[0] for row in rows)]
  rows.sort(key=lambda row: methods.index(row[0]))
  return pd.DataFrame(rows, columns=[*COLUMNS]).astype(COLUMNS)


def _with_errors(variants: Sequence[dict]) -> list[dict]:
  """Variants whose errors are known head by head."""
  return [variant for variant in variants if variant.get("by_subject")]


def _long(rows: Sequence[Sequence]) -> pd.DataFrame:
  """Errors of a variant, a row for each head and kind of error."""
  wide = pd.DataFrame(rows, columns=[*BY_SUBJECT])
  return wide.melt(
    id_vars=[*_CELL[:-1], "subject"], value_vars=[*ERRORS], var_name="error"
  )


def _differences(
  name: str, other: str, ours: pd.DataFrame, theirs: pd.DataFrame
) -> list[tuple]:
  """Rows of two variants, of the heads that both have."""
  both = ours.merge(theirs, on=[*_CELL, "subject"], suffixes=("", "_other"))
  rows = []
  # Tissues that a head does not have are nan.
  for key, heads in both.dropna().groupby([*_CELL], sort=False):
    method, *cell = key
    value, other_value = (
      heads[column].to_numpy() for column in ("value", "value_other")
    )
    interval = mean_interval(value - other_value)
    means = float(value.mean()), float(other_value.mean())
    rows.append((method, name, other, *cell, *means, *interval, len(heads)))
  return rows


def paired_tables(record: dict) -> dict[str, pd.DataFrame]:
  """Question to its `paired_table`, of all questions that have pairs."""
  found = {}
  for question, content in record["config"]["questions"].items():
    variants = [v for v in record["ways"] if v["question"] == question]
    if variants and comparisons(content):
      found[question] = paired_table(content, variants)
  return found


def paired_file(question: str) -> str:
  """File of a question's `paired_table`, beside the page."""
  return f"results/{question}.csv"


def format_paired(
  question: str, content: Mapping, variants: Sequence[dict]
) -> str:
  """Formats a question's differences in MAE, a table for each method."""
  rows = paired_table(content, variants)
  rows = rows[rows["error"] == "mae"]
  names = {variant["name"] for variant in _with_errors(variants)}
  missing = [
    name
    for other, others in comparisons(content).items()
    for name in (other, *others)
    if name not in names
  ]
  gaps = f"Not run: {', '.join(dict.fromkeys(missing))}." if missing else ""
  if rows.empty:
    return paragraphs("No two variants have errors to compare.", gaps).strip()
  n = subject_counts(zip(rows["tissue"], rows["n"], strict=True))
  parts = [
    "MAE. A variant *in italics* has its own error, the mean over the left-out "
    "heads. Rows below it are the error of a variant minus that of the one in "
    "italics, head by head: mean [95 % confidence interval by Student's t, "
    f"n − 1 degrees of freedom], n = {n}; negative is better, bold where the "
    "interval excludes zero. Folds share training heads, so that their errors "
    "are not quite independent; each interval is for one comparison, not "
    "adjusted for their number. RMSE, the errors of all variants, and those of "
    f"*truth*: `{paired_file(question)}`.",
    gaps,
  ]
  for method, own in rows.groupby("method", sort=False):
    if method not in _REFERENCES:
      parts += [f"**{method}**", _method_table(content, own)]
  return paragraphs(*parts).strip()


def _method_table(content: Mapping, rows: pd.DataFrame) -> str:
  """Variants of one method, a column for each map in each tissue."""
  columns = [
    key
    for key in itertools.product(TISSUES, MAP_NAMES)
    if key in {*zip(rows["tissue"], rows["map"], strict=True)}
  ]
  cells: dict[tuple[str, ...], dict] = {}
  for row in rows.rename(columns={"difference": "mean"}).itertuples():
    key = row.tissue, row.map
    digits = DECIMALS[row.map]
    cells.setdefault(("of", row.other), {})[key] = (
      f"{row.other_value:.{digits}f}"
    )
    cells.setdefault((row.variant, row.other), {})[key] = difference_cell(row)
  body = []
  for other, names in comparisons(content).items():
    for name, key in (
      (f"*{other}*", ("of", other)),
      *((name, (name, other)) for name in names),
    ):
      if key in cells:
        line = (cells[key].get(column, ABSENT) for column in columns)
        body.append([name, *line])
  head = [
    f"{tissue_heading(tissue)} {LABELS[name]}" for tissue, name in columns
  ]
  return markdown_table(["variant", *head], body, n_left=1)
