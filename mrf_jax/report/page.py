"""Results of a study as a Markdown page, written from its record."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from mrf_jax.evaluation import calibration, differences
from mrf_jax.evaluation.errors import RELATIVE_PD
from mrf_jax.evaluation.fit import FIT_NOTE, format_fit
from mrf_jax.evaluation.markdown import (
  ABSENT,
  column_headings,
  mae_rmse,
  markdown_table,
  paragraphs,
  picture,
  tissue_heading,
)
from mrf_jax.evaluation.spread import STANDARD_DEVIATION
from mrf_jax.evaluation.table import format_markdown
from mrf_jax.evaluation.tissues import PAPER_TISSUES
from mrf_jax.maps import MAP_NAMES
from mrf_jax.report import paper
from mrf_jax.report.agreement import format_agreements
from mrf_jax.report.answers import answers
from mrf_jax.report.record import rows_of

# Our network, and the one that the paper proposes.
OURS = "spatiotemporal_plus"
PROPOSED = "spatiotemporal"

# (method, tissue, map) to MAE and RMSE.
_Errors = Mapping[tuple[str, str, str], tuple[float, float]]


def results_page(record: dict, notes: Mapping[str, str]) -> str:
  """Writes the page of a study's record.

  The notes are paragraphs by hand for each section; `intro` is the first.
  """
  rows = rows_of(record["table1"])
  truth = rows_of(record["truth_table"])
  errors = _errors(rows)
  sections = [
    "# Results",
    "Written by `python launch.py --mode=report`"
    + (", text between the tables by hand" if notes else "")
    + f". {_data_source(record)} {_made_by(record)}",
    notes.get("intro", ""),
    "## Table 1",
    _body(format_markdown(rows, title="Table 1")),
    _ranking(errors),
    notes.get("table1", ""),
    "### Compared with the paper",
    "MAE / RMSE. The paper's scans are in vivo, so only the ranking and the "
    "margins are comparable.",
    _paper_errors(errors),
    notes.get("paper", ""),
    _our_network(errors, _errors(truth), record),
    notes.get("plus", ""),
    _against_truth(truth),
    notes.get("truth", ""),
    "## Differences, subject by subject",
    _differences(record),
    _bias(record),
    notes.get("bias", ""),
    "## Predicted standard deviations",
    _calibration(record),
    notes.get("calibration", ""),
    _fit(record),
    "## Maps and errors",
    *_maps(record["config"]["methods"]),
    notes.get("maps", ""),
    "## Learning curves",
    picture(
      "results/learning_curves.png",
      alt="Curves over the epochs, a row for each network: training loss, and "
      "MAE of PD, T1 and T2 in the training subjects and in the left-out one",
      caption="Loss, and errors in watched voxels. Thin lines are folds, thick "
      "lines their mean; blue are training subjects, red the left-out one.",
    ),
    notes.get("learning", ""),
    "## Thresholds of the tissues",
    _thresholds(record),
    notes.get("thresholds", ""),
    *answers(record, notes),
    "## Not run\n\n" + ", ".join(record["missing"])
    if record["missing"]
    else "",
  ]
  return paragraphs(*(section.strip() for section in sections))


def _maps(methods: Sequence[str]) -> tuple[str, str]:
  """Figure 3 of a study, and the figure of all differences."""
  where = "PD, T1 and T2 in the middle slice of the first left-out subject"
  names = ", ".join(methods)
  return (
    picture(
      "results/figure3.png",
      alt=f"Maps in a grid, rows PD, T1 and T2, columns reference, {names}, "
      f"and the difference of {methods[0]} from the reference",
      caption=f"{where}: reference, estimates, and {methods[0]} − reference. "
      "Values beyond the ends of a colour bar have its last colour.",
    ),
    picture(
      "results/errors.png",
      alt="Differences from the reference in a grid, rows PD, T1 and T2, "
      f"columns {names}: red where an estimate is too high, blue where it is "
      "too low",
      caption=f"Estimate − reference of {where}. A row has one colour bar.",
    ),
  )


def _fit(record: dict) -> str:
  """Section on goodness of fit; empty for a record without it."""
  if not record.get("fit"):
    return ""
  rows = pd.DataFrame(record["fit"]).astype(
    {"residual": float, "doubtful": float}
  )
  return paragraphs("## Goodness of fit", FIT_NOTE, format_fit(rows)).strip()


def _data_source(record: dict) -> str:
  """Tells whether scans are simulated."""
  files = record["config"]["data"].get("files")
  if files:
    # As in the tables of the cross-validation.
    return f"The scans are {', '.join(files)}. {RELATIVE_PD}"
  return "**All scans are simulated.**"


def _made_by(record: dict) -> str:
  """Tells commit, machine, number of subjects and time."""
  environment, config = record["environment"], record["config"]
  noise = f"noise level {config['scan']['noise_level']:g}, "
  if config["data"].get("files"):
    noise = ""
  seconds = sum(sum(stages.values()) for stages in record["times"].values())
  time = f"{seconds / 3600:.1f} hours" if seconds > 1800 else f"{seconds:.0f} s"
  return (
    f"Commit {environment['git_commit']}, Python {environment['python']}, jax "
    f"{environment['versions']['jax']}, {environment['cores']} cores "
    f"({', '.join(sorted(set(environment['devices'])))}), {noise}"
    f"{config['data']['n_subjects']} subjects; training and reconstruction of "
    f"all folds took {time}."
  )


def _body(text: str) -> str:
  """A formatted table without its heading."""
  return text.partition("\n\n")[2]


def _errors(rows: pd.DataFrame) -> _Errors:
  """Mean errors of a table."""
  return {
    (row.method, row.tissue, row.map): (row.mae_mean, row.rmse_mean)
    for row in rows.itertuples()
  }


def _ranking(errors: _Errors) -> str:
  """Number of cells in which methods rank as in the paper."""
  methods = [m for m in paper.METHODS if (m, "wm", "pd") in errors]
  cells = [(t, m) for t in PAPER_TISSUES for m in MAP_NAMES]
  if PROPOSED not in methods:
    return ""

  def wins(rivals):
    return sum(
      all(
        errors[(PROPOSED, *cell)][0] < errors[(rival, *cell)][0]
        for rival in rivals
      )
      for cell in cells
    )

  rivals = [m for m in methods if m != PROPOSED]
  counts = [f"lowest MAE of the paper's methods in {wins(rivals)} of 9 cells"]
  counts += [f"lower than {r} in {wins([r])}" for r in rivals]
  return (
    f"**The paper's ranking:** {PROPOSED} has the " + ", ".join(counts) + "."
  )


def _paper_errors(errors: _Errors) -> str:
  """Errors next to those of the paper."""
  head = ["tissue", "method"]
  for name in ("PD", "T1 (ms)", "T2 (ms)"):
    head += [f"{name} here", f"{name} paper"]
  body = []
  for tissue in PAPER_TISSUES:
    for method in paper.METHODS:
      if (method, tissue, "pd") not in errors:
        continue
      values = paper.TABLE_1[tissue, method]
      cells = [tissue_heading(tissue), method]
      for i, name in enumerate(MAP_NAMES):
        cells += [
          mae_rmse(errors[method, tissue, name], name),
          f"{values[2 * i]:g} / {values[2 * i + 1]:g}",
        ]
      body.append(cells)
  return markdown_table(head, body)


def _our_network(errors: _Errors, true_errors: _Errors, record: dict) -> str:
  """Our network compared with the paper's: errors, bound, arithmetic, time."""
  if not {(OURS, "wm", "pd"), (PROPOSED, "wm", "pd")} <= set(errors):
    return ""
  body = []
  for tissue in (*PAPER_TISSUES, "brain"):
    cells = [tissue_heading(tissue), "change of error"]
    for name in MAP_NAMES:
      for i in range(2):
        ours, theirs = (errors[m, tissue, name][i] for m in (OURS, PROPOSED))
        cells.append(f"{100 * (ours / theirs - 1):+.0f} %")
    body.append(cells)
    if ("bound", tissue, "pd") in true_errors:
      cells = [tissue_heading(tissue), "true RMSE / bound"]
      for name in MAP_NAMES:
        rmse, bound = (true_errors[m, tissue, name][1] for m in (OURS, "bound"))
        cells += ["", f"{rmse / bound:.2f}"]
      body.append(cells)
  return paragraphs(
    f"## {OURS} compared with {PROPOSED}",
    markdown_table(["tissue", "quantity", *column_headings(MAP_NAMES)], body),
    _cost(record),
  )


def _cost(record: dict) -> str:
  """Arithmetic and training time of our network and the paper's."""
  adds, times = record["multiply_adds"], record["times"]
  head = ["network", "multiply-adds per voxel", "training, all folds (s)"]
  body = [
    [
      method,
      f"{adds[method]:,}" if method in adds else ABSENT,
      f"{times.get(method, {}).get('train', 0):,.0f}",
    ]
    for method in (PROPOSED, OURS)
  ]
  return markdown_table(head, body, n_left=1)


def _against_truth(truth: pd.DataFrame) -> str:
  """Errors against the true parameters of simulated subjects."""
  if truth.empty:
    return ""
  return paragraphs(
    "## Against the true parameters",
    "*acquired*, if it is there: the reference maps. *bound*: Cramér-Rao "
    "bound, the least error of an unbiased estimate from one fingerprint.",
    _body(format_markdown(truth, title="Truth")),
  )


def _differences(record: dict) -> str:
  """Differences of all methods from the paper's network."""
  methods = record["config"]["methods"]
  if len(methods) < 2:
    return ""
  columns = differences.COLUMNS
  rows = pd.DataFrame(record["differences"], columns=[*columns])
  against = PROPOSED if PROPOSED in methods else methods[0]
  return _body(
    differences.format_differences(
      rows.astype(columns), against=against, title="Differences"
    )
  )


def _bias(record: dict) -> str:
  """Errors that are the same in a whole subject."""
  rows = pd.DataFrame(record.get("agreement", []))
  if rows.empty:
    return ""
  return paragraphs(
    "## Bias and spread",
    "Estimate minus reference map: mean over the left-out subjects ± "
    f"{STANDARD_DEVIATION} between subjects, and the root mean square of the "
    "standard deviations within subjects.",
    format_agreements(rows),
  )


def _calibration(record: dict) -> str:
  """Predicted standard deviations compared with errors."""
  if not record["calibration"]:
    return "No method predicts them."
  rows = pd.DataFrame(record["calibration"]).astype(calibration.COLUMNS)
  return paragraphs(
    "Root mean squares over voxels, and the share of voxels whose error is at "
    "most one and two predicted standard deviations (0.68 and 0.95 of normal "
    "errors).",
    calibration.format_calibration(rows),
  )


def _thresholds(record: dict) -> str:
  """Errors of the methods in tissues of other thresholds."""
  evaluation = record["config"]["evaluation"]
  all_thresholds = {
    "default": evaluation["thresholds_ms"],
    **evaluation["other_thresholds_ms"],
  }
  tables = {"default": record["table1"], **record["thresholds"]}
  head = [
    "tissue",
    "method",
    *(f"{n} {m}" for n in tables for m in ("T1", "T2")),
  ]
  errors = {name: _errors(rows_of(rows)) for name, rows in tables.items()}
  body = []
  for tissue in PAPER_TISSUES:
    for method in record["config"]["methods"]:
      cells = [tissue_heading(tissue), method]
      for table in errors.values():
        for name in ("t1_ms", "t2_ms"):
          pair = table[method, tissue, name]
          cells.append(ABSENT if math.isnan(pair[0]) else mae_rmse(pair, name))
      body.append(cells)
  ranges = "; ".join(
    f"{name}: "
    + ", ".join(f"{t} {low:g} to {high:g}" for t, (low, high) in limits.items())
    for name, limits in all_thresholds.items()
  )
  return paragraphs(
    f"MAE / RMSE, ms. T1 in ms, {ranges}.", markdown_table(head, body)
  )
