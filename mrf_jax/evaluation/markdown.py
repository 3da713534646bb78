"""Markdown tables: headings, decimals, lines by tissue and method."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

from mrf_jax.evaluation.tissues import TISSUES

# Map to its heading, unit and decimals in print.
_PRINT = {
  "pd": ("PD", "a.u.", 3),
  "t1_ms": ("T1", "ms", 1),
  "t2_ms": ("T2", "ms", 1),
}
HEADINGS = {name: heading for name, (heading, _, _) in _PRINT.items()}
LABELS = {name: f"{heading} ({u})" for name, (heading, u, _) in _PRINT.items()}
DECIMALS = {name: decimals for name, (_, _, decimals) in _PRINT.items()}
ABSENT = "–"


def mae_rmse(errors: Iterable[float], name: str) -> str:
  """MAE and RMSE of a map, with its decimals."""
  return " / ".join(f"{error:.{DECIMALS[name]}f}" for error in errors)


def picture(path: str, *, alt: str, caption: str) -> str:
  """A picture and its caption in Markdown; `alt` says what is seen in it."""
  return f"![{alt}]({path})\n\n*{caption}*"


def markdown_table(
  head: Sequence[str], body: Sequence[Sequence[str]], *, n_left: int = 2
) -> str:
  """Markdown table, the first columns aligned to the left."""
  align = [":--"] * n_left + ["--:"] * (len(head) - n_left)
  return "\n".join(
    "| " + " | ".join(row) + " |" for row in [head, align, *body]
  )


def table_body(
  lines: Iterable[tuple[str, str]],
  columns: Sequence[tuple[str, str]],
  cells: Mapping[tuple[str, str, tuple[str, str]], str],
) -> list[list[str]]:
  """Lines of a table, ordered by tissue and then by method.

  Args:
    lines: tissue and method of each line, which may be repeated. Methods keep
      the order of their first appearance, tissues that of `TISSUES`.
    columns: keys of the columns that follow tissue and method: a map, and what
      the column says of it.
    cells: (tissue, method, column) to text; cells without text get a dash.

  Returns:
    Texts of each line: tissue, method and cells.
  """
  keys = dict.fromkeys(lines)
  methods = dict.fromkeys(method for _, method in keys)
  return [
    [
      tissue_heading(tissue),
      method,
      *(cells.get((tissue, method, column), ABSENT) for column in columns),
    ]
    for tissue, method in itertools.product(TISSUES, methods)
    if (tissue, method) in keys
  ]


def column_headings(names: Sequence[str]) -> list[str]:
  """Headings of the MAE and the RMSE of each map, with its unit."""
  return [
    f"{_PRINT[name][0]} {error} ({_PRINT[name][1]})"
    for name in names
    for error in ("MAE", "RMSE")
  ]


def tissue_heading(tissue: str) -> str:
  """Name of a tissue as tables print it."""
  return "brain" if tissue == "brain" else tissue.upper()


def subject_counts(counts: Iterable[tuple[str, int]]) -> str:
  """Number of subjects in words, such as `6`, `5–6` or `6 (wm), 5 (csf)`.

  Counts are the tissue and the number of subjects of each cell of a table.
  """
  by_tissue: dict[str, set[int]] = {}
  for tissue, n in counts:
    by_tissue.setdefault(tissue, set()).add(n)
  ranges = {}
  for tissue in TISSUES:
    if tissue in by_tissue:
      low, high = min(by_tissue[tissue]), max(by_tissue[tissue])
      ranges[tissue] = f"{low}" if low == high else f"{low}–{high}"
  if len(set(ranges.values())) <= 1:
    return next(iter(ranges.values()), "0")
  return ", ".join(f"{n} ({tissue})" for tissue, n in ranges.items())


def paragraphs(*parts: str) -> str:
  """Text of paragraphs, headings and tables, without those that are empty."""
  return "\n\n".join(part for part in parts if part) + "\n"


def between_marks(text: str, name: str, part: str) -> str:
  """A page with a part between `<!-- NAME: begin -->` and its end."""
  begin, end = (f"<!-- {name}: {place} -->" for place in ("begin", "end"))
  before, rest = text.split(begin)
  _, after = rest.split(end)
  return f"{before}{begin}\n{part}\n{end}{after}"
