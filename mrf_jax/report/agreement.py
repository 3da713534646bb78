"""Mean errors and their spread: Bland and Altman's view of the maps."""

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
# Deviations of normal differences that hold 95 % of them.
_LIMITS = 1.96
_DPI = 110


@dataclasses.dataclass(frozen=True)
class Agreement:
  """One method, tissue and map of one left-out subject.

  Attributes:
    method: name of the method.
    tissue: one of `TISSUES`.
    map: one of `MAP_NAMES`.
    subject: its number.
    bias: mean of estimate − reference, unit of the map.
    deviation: standard deviation of the differences.
    n_voxels: their number.
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
    results: of `load_results`.
  """
  rows = []
  for one in results:
    for method, maps in one.estimates.items():
      for tissue in _TISSUES:
        mask = one.tissues[tissue]
        for name in MAP_NAMES if mask.any() else ():
          difference = _difference(one, maps, name)[mask]
          rows.append(
            Agreement(
              method,
              tissue,
              name,
              one.number,
              float(difference.mean()),
              float(difference.std()),
              int(np.count_nonzero(mask)),
            )
          )
  return rows


def format_agreements(rows: Sequence[Agreement]) -> str:
  """Means over the subjects in Markdown.

  Of each map the bias, by how much it differs from subject to subject, and the
  spread within a subject.

  Args:
    rows: of `agreements`.
  """
  found: dict[tuple[str, str, str], list[Agreement]] = {}
  for row in rows:
    found.setdefault((row.method, row.tissue, row.map), []).append(row)
  head = ["tissue", "method"]
  for label in _LABELS.values():
    head += [f"{label} bias ± between subjects", "within"]
  body = []
  for tissue in _TISSUES:
    for method in dict.fromkeys(row.method for row in rows):
      cells = [tissue_heading(tissue), method]
      for name in MAP_NAMES:
        own = found.get((method, tissue, name))
        if not own:
          cells += [ABSENT, ABSENT]
          continue
        biases = [row.bias for row in own]
        spread = np.std(biases, ddof=1) if len(biases) > 1 else 0.0
        within = np.sqrt(np.mean([row.deviation**2 for row in own]))
        digits = DECIMALS[name]
        cells += [
          f"{np.mean(biases):+.{digits}f} ± {spread:.{digits}f}",
          f"{within:.{digits}f}",
        ]
      body.append(cells)
  return markdown_table(head, body)


def agreement_figure(
  results: Sequence[LeftOut], method: str, *, title: str
) -> bytes:
  """Estimates over references, and Bland–Altman plots, tissue by tissue.

  All left-out subjects together; darker where there are more voxels. Lines are
  identity, bias, and the limits that hold 95 % of normal differences.

  Args:
    results: of `load_results`.
    method: whose.
    title: of the figure.

  Returns:
    A PNG file.
  """
  columns = 2 * len(MAP_NAMES)
  figure = Figure(
    figsize=(2.1 * columns, 2.1 * len(_TISSUES) + 0.4), layout="constrained"
  )
  figure.suptitle(title, fontsize=10)
  panels = figure.subplots(len(_TISSUES), columns, squeeze=False)
  for tissue, row in zip(_TISSUES, panels, strict=True):
    for i, name in enumerate(MAP_NAMES):
      reference, estimate = (
        np.concatenate(
          [
            np.asarray(getattr(maps, name), np.float64)[one.tissues[tissue]]
            for one, maps in pairs
          ]
        )
        for pairs in (
          [(one, one.reference) for one in results],
          [(one, one.estimates[method]) for one in results],
        )
      )
      _scatter(row[2 * i], reference, estimate, name)
      _bland_altman(row[2 * i + 1], reference, estimate, name)
    row[0].set_ylabel(f"{tissue_heading(tissue)}\nestimate", fontsize=8)
  buffer = io.BytesIO()
  FigureCanvasAgg(figure)
  figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
  return buffer.getvalue()


def _scatter(axis, reference, estimate, name: str) -> None:
  axis.set_title(_LABELS[name], fontsize=8)
  axis.tick_params(labelsize=6)
  axis.set_xlabel("reference", fontsize=7)
  if not reference.size:
    return
  ends = np.percentile(np.concatenate([reference, estimate]), [0.5, 99.5])
  _density(axis, reference, estimate, (*ends, *ends))
  axis.plot(ends, ends, color="tab:red", linewidth=0.8)


def _bland_altman(axis, reference, estimate, name: str) -> None:
  axis.set_title(f"Δ {_LABELS[name]}", fontsize=8)
  axis.tick_params(labelsize=6)
  axis.set_xlabel("mean of both", fontsize=7)
  if not reference.size:
    return
  mean, difference = (estimate + reference) / 2, estimate - reference
  bias, spread = difference.mean(), _LIMITS * difference.std()
  far = np.percentile(np.abs(difference - bias), 99.5)
  box = (*np.percentile(mean, [0.5, 99.5]), bias - far, bias + far)
  _density(axis, mean, difference, box)
  axis.axhline(bias, color="tab:red", linewidth=0.8)
  for end in (bias - spread, bias + spread):
    axis.axhline(end, color="tab:red", linewidth=0.8, linestyle="--")


def _density(axis, x, y, box) -> None:
  """How many voxels lie where, on a logarithmic scale."""
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


def _difference(one: LeftOut, maps, name: str) -> np.ndarray:
  estimate, reference = (
    np.asarray(getattr(m, name), np.float64) for m in (maps, one.reference)
  )
  return estimate - reference
