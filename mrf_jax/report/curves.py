"""Curves of errors over the noise level, and over training steps."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
  FixedLocator,
  FuncFormatter,
  LogLocator,
  NullFormatter,
  NullLocator,
)

from mrf_jax.evaluation.markdown import LABELS
from mrf_jax.evaluation.tissues import PAPER_TISSUES

# Number of values of x for which there is room below a panel.
_MOST_TICKS = 6


def draw_curves(
  points: Sequence[tuple[str, float, dict]], *, label: str, title: str
) -> Figure:
  """Draws a panel for each map and tissue, a line for each method.

  Points are a method, a value of x with its `label`, and the errors there:
  tissue and map to MAE and RMSE, of which the MAE is drawn.
  """
  figure = Figure(figsize=(10.5, 8), layout="constrained")
  figure.suptitle(title, fontsize=11)
  panels = figure.subplots(len(LABELS), len(PAPER_TISSUES), sharex=True)
  methods = list(dict.fromkeys(method for method, _, _ in points))
  positions = sorted({x for _, x, _ in points})
  for i, (name, map_label) in enumerate(LABELS.items()):
    for axis, tissue in zip(panels[i], PAPER_TISSUES, strict=True):
      for method in methods:
        line = sorted(
          (x, errors[tissue][name][0])
          for m, x, errors in points
          if m == method and tissue in errors
        )
        axis.plot(*zip(*line, strict=True), "o-", ms=4, lw=1.2, label=method)
      _make_logarithmic(axis, positions)
      if i == 0:
        axis.set_title(tissue.upper(), fontsize=10)
      if i == len(LABELS) - 1:
        axis.set_xlabel(label, fontsize=9)
    panels[i, 0].set_ylabel(f"MAE of {map_label}", fontsize=9)
  handles, labels = panels[0, 0].get_legend_handles_labels()
  figure.legend(
    handles, labels, loc="outside lower center", ncols=4, fontsize=9
  )
  return figure


def _make_logarithmic(axis: Axes, positions: Sequence[float]) -> None:
  """Sets logarithmic scales with plain numbers, at each x if x are few."""
  axis.set(xscale="log", yscale="log")
  few = len(positions) <= _MOST_TICKS
  axis.xaxis.set_major_locator(
    FixedLocator(positions) if few else LogLocator(subs=(1, 2, 5))
  )
  axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8)))
  for scale in (axis.xaxis, axis.yaxis):
    scale.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))
    scale.set_minor_locator(NullLocator())
    scale.set_minor_formatter(NullFormatter())
  axis.grid(alpha=0.3)
  axis.tick_params(labelsize=8)
