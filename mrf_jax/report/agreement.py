"""Bias and spread of maps, by Bland and Altman's method."""

import io
import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrf_jax.evaluation.markdown import (
  DECIMALS,
  LABELS,
  markdown_table,
  table_body,
  tissue_heading,
)
from mrf_jax.evaluation.spread import spread
from mrf_jax.evaluation.tissues import PAPER_TISSUES
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.report.results import LeftOut

# The mean ± this many standard deviations has 95 % of normal differences.
_LIMITS = 1.96
_DPI = 110
_KEY = ("method", "tissue", "map", "subject")
_COLUMNS = (*_KEY, "bias", "deviation", "n_voxels")


def agreements(results: Sequence[LeftOut]) -> pd.DataFrame:
  """Computes bias and spread of every method, tissue, map and subject.

  Returns:
    A row for each of them: `bias`, mean of estimate − reference, unit of the
    map; `deviation`, standard deviation of these differences; `n_voxels`, their
    number. Tissues without voxels are left out.
  """
  rows = []
  for left_out in results:
    for method, maps in left_out.estimates.items():
      for tissue, name in itertools.product(PAPER_TISSUES, MAP_NAMES):
        mask = left_out.tissues[tissue]
        if mask.any():
          estimate, reference = (
            _pooled([m], [mask], name) for m in (maps, left_out.reference)
          )
          values = estimate - reference
          numbers = values.mean(), values.std(), len(values)
          rows.append((method, tissue, name, left_out.number, *numbers))
  return pd.DataFrame(rows, columns=[*_COLUMNS])


def format_agreements(rows: pd.DataFrame) -> str:
  """Formats means over the subjects in Markdown.

  For each map: the bias, its standard deviation between subjects, and the
  spread within a subject.
  """
  head = ["tissue", "method"]
  for label in LABELS.values():
    head += [f"{label} bias ± between subjects", "within"]
  cells = {}
  for (method, tissue, name), own in rows.groupby(["method", "tissue", "map"]):
    biases, deviations = own["bias"].to_numpy(), own["deviation"].to_numpy()
    within = np.sqrt(np.mean(deviations**2))
    d = DECIMALS[name]
    cells[tissue, method, (name, "bias")] = (
      f"{np.mean(biases):+.{d}f} ± {spread(biases):.{d}f}"
    )
    cells[tissue, method, (name, "within")] = f"{within:.{d}f}"
  lines = itertools.product(PAPER_TISSUES, dict.fromkeys(rows["method"]))
  columns = list(itertools.product(MAP_NAMES, ("bias", "within")))
  return markdown_table(head, table_body(lines, columns, cells))


def agreement_figure(
  results: Sequence[LeftOut], method: str, *, title: str
) -> bytes:
  """Draws scatter plots of estimates and references, and Bland–Altman plots.

  One row for each tissue, all left-out subjects together; darker with more
  voxels. Lines are identity, bias, and the limits that include 95 % of normal
  differences. Returns a PNG file.
  """
  columns = 2 * len(MAP_NAMES)
  figure = Figure(
    figsize=(2.1 * columns, 2.1 * len(PAPER_TISSUES) + 0.4),
    layout="constrained",
  )
  figure.suptitle(title, fontsize=10)
  panels = figure.subplots(len(PAPER_TISSUES), columns, squeeze=False)
  references = [left_out.reference for left_out in results]
  estimates = [left_out.estimates[method] for left_out in results]
  for tissue, row in zip(PAPER_TISSUES, panels, strict=True):
    masks = [left_out.tissues[tissue] for left_out in results]
    for i, name in enumerate(MAP_NAMES):
      reference, estimate = (
        _pooled(maps, masks, name) for maps in (references, estimates)
      )
      left, right = row[2 * i : 2 * i + 2]
      left.set_title(LABELS[name], fontsize=8)
      left.set_xlabel("reference", fontsize=7)
      right.set_title(f"Δ {LABELS[name]}", fontsize=8)
      right.set_xlabel("mean of both", fontsize=7)
      for axis in (left, right):
        axis.tick_params(labelsize=6)
      if reference.size:
        _scatter(left, reference, estimate)
        _bland_altman(right, reference, estimate)
    row[0].set_ylabel(f"{tissue_heading(tissue)}\nestimate", fontsize=8)
  buffer = io.BytesIO()
  FigureCanvasAgg(figure)
  figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
  return buffer.getvalue()


def _pooled(
  maps: Sequence[Maps], masks: Sequence[np.ndarray], name: str
) -> np.ndarray:
  """One map of all subjects inside their masks, [voxel]."""
  return np.concatenate(
    [
      np.asarray(getattr(m, name), np.float64)[mask]
      for m, mask in zip(maps, masks, strict=True)
    ]
  )


def _scatter(axis: Axes, reference: np.ndarray, estimate: np.ndarray) -> None:
  """Draws estimates over references, with the line of identity."""
  ends = np.percentile(np.concatenate([reference, estimate]), [0.5, 99.5])
  _density(axis, reference, estimate, (*ends, *ends))
  axis.plot(ends, ends, color="tab:red", linewidth=0.8)


def _bland_altman(
  axis: Axes, reference: np.ndarray, estimate: np.ndarray
) -> None:
  """Draws differences over means, with bias and limits of agreement."""
  mean, difference = (estimate + reference) / 2, estimate - reference
  bias, spread = difference.mean(), _LIMITS * difference.std()
  far = np.percentile(np.abs(difference - bias), 99.5)
  box = (*np.percentile(mean, [0.5, 99.5]), bias - far, bias + far)
  _density(axis, mean, difference, box)
  axis.axhline(bias, color="tab:red", linewidth=0.8)
  for end in (bias - spread, bias + spread):
    axis.axhline(end, color="tab:red", linewidth=0.8, linestyle="--")


def _density(axis: Axes, x: np.ndarray, y: np.ndarray, box) -> None:
  """Draws numbers of voxels in small boxes, on a logarithmic scale."""
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
