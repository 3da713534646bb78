"""Results of a study as a Markdown page, written from its record."""

import math
from collections.abc import Mapping, Sequence

from mrf_jax.evaluation.calibration import Calibration, format_calibration
from mrf_jax.evaluation.differences import Difference, format_differences
from mrf_jax.evaluation.table import (
  ABSENT,
  DECIMALS,
  Row,
  column_headings,
  format_markdown,
  markdown_table,
  tissue_heading,
)
from mrf_jax.maps import MAP_NAMES
from mrf_jax.report import paper
from mrf_jax.report.agreement import Agreement, format_agreements
from mrf_jax.report.answers import answers
from mrf_jax.report.record import rows_of

_TISSUES = ("wm", "gm", "csf")
_ERRORS = ("mae", "rmse")
OURS = "spatiotemporal_plus"
PROPOSED = "spatiotemporal"


def results_page(record: dict, notes: Mapping[str, str]) -> str:
  """Writes the page of a study's results.

  Args:
    record: from `study_record`.
    notes: text written by hand for a section, by the section's name; `intro`
      comes before the first section.

  Returns:
    The page in Markdown.
  """
  rows = rows_of(record["table1"])
  truth = rows_of(record["truth_table"])
  sections = [
    "# Results",
    "Written by `python launch.py --mode=report`"
    + (", text between the tables by hand" if notes else "")
    + f". {_origin_of_scans(record)} {_provenance(record)}",
    notes.get("intro", ""),
    "## Table 1",
    _body(format_markdown(rows, title="Table 1")),
    _ranking(rows),
    notes.get("table1", ""),
    "### Compared with the paper",
    "MAE / RMSE. The paper's scans are in vivo, so only the ranking and the "
    "margins are comparable.",
    _paper_comparison(rows),
    notes.get("paper", ""),
    _network_comparison(rows, truth, record),
    notes.get("plus", ""),
    _truth_section(truth),
    notes.get("truth", ""),
    "## Differences, subject by subject",
    _differences(record),
    _bias_section(record),
    notes.get("bias", ""),
    "## Predicted standard deviations",
    _calibration(record),
    notes.get("calibration", ""),
    "## Maps and errors",
    "![Reference, estimates and difference](results/figure3.png)",
    "![Estimate minus reference of every method](results/errors.png)",
    notes.get("maps", ""),
    "## Learning curves",
    "![Loss and errors in watched voxels](results/learning_curves.png)",
    notes.get("learning", ""),
    "## Thresholds of the tissues",
    _thresholds(record),
    notes.get("thresholds", ""),
    *answers(record, notes),
    _missing(record),
  ]
  return "\n\n".join(part.strip() for part in sections if part.strip()) + "\n"


def _origin_of_scans(record) -> str:
  """Sentence that names the scans, or marks them as simulated."""
  files = record["config"]["data"].get("files")
  if files:
    return f"The scans are {', '.join(files)}."
  return "**All scans are simulated.**"


def _provenance(record) -> str:
  """Sentence with commit, versions, machine and duration."""
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


def _errors(rows: Sequence[Row]) -> dict[tuple, tuple[float, float]]:
  """Method, tissue and map to mean MAE and RMSE."""
  return {(r.method, r.tissue, r.map): (r.mae_mean, r.rmse_mean) for r in rows}


def _ranking(rows: Sequence[Row]) -> str:
  """Sentence that counts the cells in which the paper's ranking is the same."""
  errors = _errors(rows)
  methods = [m for m in paper.METHODS if (m, "wm", "pd") in errors]
  cells = [(t, m) for t in _TISSUES for m in MAP_NAMES]
  if PROPOSED not in methods:
    return ""

  def wins(rivals):
    """Number of cells in which the proposed network beats all rivals."""
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
  return f"**The paper's ranking:** {PROPOSED} has the {', '.join(counts)}."


def _cells(errors, method, tissue) -> list[str]:
  """MAE and RMSE of each map."""
  cells = []
  for name in MAP_NAMES:
    mae, rmse = errors[method, tissue, name]
    digits = DECIMALS[name]
    cells.append(f"{mae:.{digits}f} / {rmse:.{digits}f}")
  return cells


def _paper_comparison(rows: Sequence[Row]) -> str:
  """Our errors and those of the paper's Table 1, for each of its methods."""
  errors = _errors(rows)
  head = ["tissue", "method"]
  for name in ("PD", "T1 (ms)", "T2 (ms)"):
    head += [f"{name} here", f"{name} paper"]
  body = []
  for tissue in _TISSUES:
    for method in paper.METHODS:
      if (method, tissue, "pd") not in errors:
        continue
      values = paper.TABLE_1[tissue, method]
      paper_cells = [
        f"{values[2 * i]:g} / {values[2 * i + 1]:g}"
        for i in range(len(MAP_NAMES))
      ]
      pairs = zip(_cells(errors, method, tissue), paper_cells, strict=True)
      cells = [cell for pair in pairs for cell in pair]
      body.append([tissue_heading(tissue), method, *cells])
  return markdown_table(head, body)


def _network_comparison(rows, truth, record) -> str:
  """Our network against the paper's: errors, bound, multiply-adds and time."""
  errors, true_errors = _errors(rows), _errors(truth)
  if not {(OURS, "wm", "pd"), (PROPOSED, "wm", "pd")} <= set(errors):
    return ""
  return "\n\n".join(
    [
      f"## {OURS} compared with {PROPOSED}",
      _change_of_errors(errors, true_errors),
      _costs(record),
    ]
  )


def _change_of_errors(errors, true_errors) -> str:
  """Change of each error in percent, and our RMSE over the Cramér-Rao bound."""
  body = []
  for tissue in (*_TISSUES, "brain"):
    cells = [tissue_heading(tissue), "change of error"]
    for name in MAP_NAMES:
      for i in range(2):
        ours, proposed = (errors[m, tissue, name][i] for m in (OURS, PROPOSED))
        cells.append(f"{100 * (ours / proposed - 1):+.0f} %")
    body.append(cells)
    if ("bound", tissue, "pd") in true_errors:
      cells = [tissue_heading(tissue), "true RMSE / bound"]
      for name in MAP_NAMES:
        ratio = (
          true_errors[OURS, tissue, name][1]
          / true_errors["bound", tissue, name][1]
        )
        cells += ["", f"{ratio:.2f}"]
      body.append(cells)
  return markdown_table(["tissue", "", *column_headings(MAP_NAMES)], body)


def _costs(record) -> str:
  """Multiply-adds and training time of both networks."""
  counts, times = record["multiply_adds"], record["times"]
  body = []
  for method in (PROPOSED, OURS):
    count = f"{counts[method]:,}" if method in counts else ABSENT
    seconds = times.get(method, {}).get("train", 0)
    body.append([method, "", count, f"{seconds:,.0f}"])
  head = ["network", "", "multiply-adds per voxel", "training, all folds (s)"]
  return markdown_table(head, body)


def _truth_section(truth: Sequence[Row]) -> str:
  """Errors against the true parameters, which simulated subjects have."""
  if not truth:
    return ""
  return "\n\n".join(
    [
      "## Against the true parameters",
      "*acquired*: the reference maps. *bound*: Cramér-Rao bound, the least "
      "error of an unbiased estimate from one fingerprint.",
      _body(format_markdown(truth, title="Truth")),
    ]
  )


def _differences(record) -> str:
  """Paired differences of each method from the paper's network."""
  numbers = ("mean", "low", "high")
  rows = [
    Difference(
      **{
        **line,
        **{name: float(line[name]) for name in numbers},
        "n": int(line["n"]),
      }
    )
    for line in record["differences"]
  ]
  methods = record["config"]["methods"]
  if len(methods) < 2:
    return ""
  against = PROPOSED if PROPOSED in methods else methods[0]
  return _body(format_differences(rows, against=against, title="Differences"))


def _bias_section(record) -> str:
  """Bias, which is common to all voxels of a subject, and spread."""
  rows = [Agreement(**line) for line in record.get("agreement", [])]
  if not rows:
    return ""
  return "\n\n".join(
    [
      "## Bias and spread",
      "Estimate minus acquired map: mean over the left-out subjects ± standard "
      "deviation between subjects, and the root mean square of the standard "
      "deviations within subjects.",
      format_agreements(rows),
    ]
  )


def _calibration(record) -> str:
  """Predicted standard deviations against the actual errors."""
  rows = [
    Calibration(
      method=line["method"],
      tissue=line["tissue"],
      map=line["map"],
      rmse=float(line["rmse"]),
      predicted=float(line["predicted"]),
      within_one=float(line["within_one"]),
      within_two=float(line["within_two"]),
      n=int(line["n"]),
    )
    for line in record["calibration"]
  ]
  if not rows:
    return "No method predicts them."
  return (
    "Root mean squares over voxels, and the share of voxels whose error is at "
    "most one and two predicted standard deviations (0.68 and 0.95 of normal "
    "errors).\n\n" + format_calibration(rows)
  )


def _thresholds(record) -> str:
  """T1 and T2 errors of the methods with other thresholds of the tissues."""
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
  for tissue in _TISSUES:
    for method in record["config"]["methods"]:
      cells = [tissue_heading(tissue), method]
      for table in errors.values():
        for name in ("t1_ms", "t2_ms"):
          mae, rmse = table[method, tissue, name]
          cells.append(ABSENT if math.isnan(mae) else f"{mae:.1f} / {rmse:.1f}")
      body.append(cells)
  ranges = "; ".join(
    f"{name}: "
    + ", ".join(f"{t} {low:g} to {high:g}" for t, (low, high) in limits.items())
    for name, limits in all_thresholds.items()
  )
  return f"MAE / RMSE, ms. T1 in ms, {ranges}.\n\n{markdown_table(head, body)}"


def _missing(record) -> str:
  """Section that lists variants without results."""
  if not record["missing"]:
    return ""
  return "## Not run\n\n" + ", ".join(record["missing"])
