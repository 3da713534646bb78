"""Errors of all methods against noise, and against training steps."""

import os
from collections.abc import Sequence

from matplotlib.figure import Figure

from mrf_jax.evaluation.panels import save

_TISSUES = ("wm", "gm", "csf")
_MAPS = {"pd": "PD (a.u.)", "t1_ms": "T1 (ms)", "t2_ms": "T2 (ms)"}


def error_curves(
  path: str | os.PathLike,
  points: Sequence[tuple[str, float, dict]],
  *,
  label: str,
  title: str,
) -> None:
  """A panel for each map and tissue, a line for each method.

  Args:
    path: PNG file, replaced as a whole.
    points: method, position along x, and its errors, tissue and map to MAE and
      RMSE; the MAE is drawn.
    label: of the x axis.
    title: of the figure.
  """
  figure = Figure(figsize=(10.5, 8), layout="constrained")
  figure.suptitle(title, fontsize=11)
  panels = figure.subplots(len(_MAPS), len(_TISSUES), sharex=True)
  methods = list(dict.fromkeys(method for method, _, _ in points))
  for row, (name, unit) in zip(panels, _MAPS.items(), strict=True):
    for axis, tissue in zip(row, _TISSUES, strict=True):
      for method in methods:
        line = sorted(
          (x, errors[tissue][name][0])
          for m, x, errors in points
          if m == method and tissue in errors
        )
        axis.plot(*zip(*line, strict=True), "o-", ms=4, lw=1.2, label=method)
      axis.set(xscale="log", yscale="log")
      axis.grid(which="both", alpha=0.2)
      axis.tick_params(which="both", labelsize=8)
      if row is panels[0]:
        axis.set_title(tissue.upper(), fontsize=10)
      if row is panels[-1]:
        axis.set_xlabel(label, fontsize=9)
    row[0].set_ylabel(f"MAE of {unit}", fontsize=9)
  handles, labels = panels[0, 0].get_legend_handles_labels()
  figure.legend(
    handles, labels, loc="outside lower center", ncols=4, fontsize=9
  )
  save(figure, path)
