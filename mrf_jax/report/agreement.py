"""Agreement of estimated and reference maps (Bland and Altman 1986)."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrf_jax.evaluation.table import (
  ABSENT,
  DECIMALS,
  markdown_table,
  tissue_heading,
)
from mrf_jax.maps import MAP_NAMES
from mrf_jax.report.results import LeftOut

_TISSUES = ("wm", "gm", "csf")
_LABELS = {"pd": "PD (a.u.)", "t1_ms": "T1 (ms)", "t2_ms": "T2 (ms)"}
# 95 % of normal differences lie within so many standard deviations.
_LIMITS = 1.96
_DPI = 110


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Bias and spread of one method in one tissue and map of one subject.

  Attributes:
    method: name of the method.
    tissue: one of `TISSUES`.
    map: one of `MAP_NAMES`.
    subject: number of the left-out subject.
    bias: mean of estimate − reference over the voxels, unit of the map.
    deviation: standard deviation of estimate − reference, unit of the map.
    n_voxels: voxels of the tissue.
  """

  method: str
  tissue: str
  map: str
  subject: int
  bias: float
  deviation: float
  n_voxels: int


def agreements(results: Sequence[LeftOut]) -> list[Agreement]:
  """Bias and spread of every method, tissue, map and subject.

  Args:
    results: from `load_results`.

  Returns:
    One row for each that has voxels.
  """
  return [
    _agreement(left_out, method, tissue, name)
    for left_out in results
    for method in left_out.estimates
    for tissue in _TISSUES
    for name in MAP_NAMES
    if left_out.tissues[tissue].any()
  ]


def _agreement(
  left_out: LeftOut, method: str, tissue: str, name: str
) -> Agreement:
  estimate, reference = _pair(left_out, method, tissue, name)
  difference = estimate - reference
  return Agreement(
    method=method,
    tissue=tissue,
    map=name,
    subject=left_out.number,
    bias=float(difference.mean()),
    deviation=float(difference.std()),
    n_voxels=difference.size,
  )


def _pair(
  left_out: LeftOut, method: str, tissue: str, name: str
) -> tuple[np.ndarray, np.ndarray]:
  """Estimate and reference in the voxels of a tissue, in float64."""
  mask = left_out.tissues[tissue]
  estimate, reference = (
    np.asarray(getattr(maps, name), np.float64)[mask]
    for maps in (left_out.estimates[method], left_out.reference)
  )
  return estimate, reference


def format_agreements(rows: Sequence[Agreement]) -> str:
  """Table of the agreement over all subjects, in Markdown.

  For each map: mean bias ± its standard deviation between subjects, and the
  root mean square of the standard deviations within subjects.

  Args:
    rows: from `agreements`.
  """
  groups: dict[tuple[str, str, str], list[Agreement]] = {}
  for row in rows:
    groups.setdefault((row.method, row.tissue, row.map), []).append(row)
  head = ["tissue", "method"]
  for label in _LABELS.values():
    head += [f"{label} bias ± between subjects", "within"]
  body = []
  for tissue in _TISSUES:
    for method in dict.fromkeys(row.method for row in rows):
      cells = [tissue_heading(tissue), method]
      for name in MAP_NAMES:
        cells += _summary(groups.get((method, tissue, name), []), name)
      body.append(cells)
  return markdown_table(head, body)


def _summary(rows: Sequence[Agreement], name: str) -> list[str]:
  """Cells of one method, tissue and map: bias and spread within subjects."""
  if not rows:
    return [ABSENT, ABSENT]
  biases = [row.bias for row in rows]
  between = np.std(biases, ddof=1) if len(biases) > 1 else 0.0
  within = np.sqrt(np.mean([row.deviation**2 for row in rows]))
  digits = DECIMALS[name]
  return [
    f"{np.mean(biases):+.{digits}f} ± {between:.{digits}f}",
    f"{within:.{digits}f}",
  ]


def agreement_figure(
  results: Sequence[LeftOut], method: str, *, title: str
) -> bytes:
  """Scatter and Bland–Altman plots of a method, one row for each tissue.

  All left-out subjects together, darker where there are more voxels. Lines are
  identity, bias, and bias ± 1.96 standard deviations, the limits of 95 % of
  normal differences.

  Args:
    results: from `load_results`.
    method: name of the method.
    title: title of the figure.

  Returns:
    The content of a PNG file.
  """
  columns = 2 * len(MAP_NAMES)
  figure = Figure(
    figsize=(2.1 * columns, 2.1 * len(_TISSUES) + 0.4), layout="constrained"
  )
  figure.suptitle(title, fontsize=10)
  panels = figure.subplots(len(_TISSUES), columns, squeeze=False)
  for tissue, row in zip(_TISSUES, panels, strict=True):
    for i, name in enumerate(MAP_NAMES):
      pairs = [_pair(left_out, method, tissue, name) for left_out in results]
      estimate, reference = map(np.concatenate, zip(*pairs, strict=True))
      _scatter(row[2 * i], reference, estimate, name)
      _bland_altman(row[2 * i + 1], reference, estimate, name)
    row[0].set_ylabel(f"{tissue_heading(tissue)}\nestimate", fontsize=8)
  buffer = io.BytesIO()
  FigureCanvasAgg(figure)
  figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
  return buffer.getvalue()


def _scatter(axis, reference, estimate, name: str) -> None:
  """Estimates over references, with the line of identity."""
  axis.set_title(_LABELS[name], fontsize=8)
  axis.tick_params(labelsize=6)
  axis.set_xlabel("reference", fontsize=7)
  if not reference.size:
    return
  ends = np.percentile(np.concatenate([reference, estimate]), [0.5, 99.5])
  _density(axis, reference, estimate, (*ends, *ends))
  axis.plot(ends, ends, color="tab:red", linewidth=0.8)


def _bland_altman(axis, reference, estimate, name: str) -> None:
  """Differences over means of both, with bias and 95 % limits."""
  axis.set_title(f"Δ {_LABELS[name]}", fontsize=8)
  axis.tick_params(labelsize=6)
  axis.set_xlabel("mean of both", fontsize=7)
  if not reference.size:
    return
  mean, difference = (estimate + reference) / 2, estimate - reference
  bias, limit = difference.mean(), _LIMITS * difference.std()
  # Outliers beyond this distance from the bias are not shown.
  far = np.percentile(np.abs(difference - bias), 99.5)
  box = (*np.percentile(mean, [0.5, 99.5]), bias - far, bias + far)
  _density(axis, mean, difference, box)
  axis.axhline(bias, color="tab:red", linewidth=0.8)
  for end in (bias - limit, bias + limit):
    axis.axhline(end, color="tab:red", linewidth=0.8, linestyle="--")


def _density(axis, x, y, box) -> None:
  """Two-dimensional histogram of voxels on a logarithmic scale."""
  low_x, high_x, low_y, high_y = box
  if not (high_x > low_x and high_y > low_y):
    axis.plot(x, y, ".", markersize=1)
    return
  counts, *_ = np.histogram2d(
    x, y, bins=60, range=((low_x, high_x), (low_y, high_y))
  )
  axis.imshow(
    np.log1p(counts.T),
    origin="lower",
    extent=box,
    aspect="auto",
    cmap="Blues",
    interpolation="nearest",
  )
