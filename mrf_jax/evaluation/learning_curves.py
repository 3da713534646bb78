"""How loss and errors fell while the networks were trained."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mrf_jax.evaluation.panels import save

_COLUMNS = {
  "loss": "training loss",
  "mae_pd": "PD, MAE (a.u.)",
  "mae_t1_ms": "T1, MAE (ms)",
  "mae_t2_ms": "T2, MAE (ms)",
}
_COLOURS = {"training": "tab:blue", "left_out": "tab:red"}
_LABELS = {"training": "training subjects", "left_out": "left-out subject"}


def learning_curves(
  path: str | os.PathLike, records: Sequence[dict], *, title: str
) -> None:
  """A row for each network: its loss, and its errors in the watched voxels.

  Thin lines are folds, thick ones their mean.

  Args:
    path: PNG file, replaced as a whole.
    records: lines of `metrics.jsonl`, at least one.
    title: of the figure.
  """
  methods = list(dict.fromkeys(record["method"] for record in records))
  figure = Figure(
    figsize=(3.2 * len(_COLUMNS), 2.4 * len(methods) + 0.6),
    layout="constrained",
  )
  figure.suptitle(title, fontsize=11)
  panels = figure.subplots(len(methods), len(_COLUMNS), squeeze=False)
  for method, row in zip(methods, panels, strict=True):
    own = [record for record in records if record["method"] == method]
    for (quantity, label), axis in zip(_COLUMNS.items(), row, strict=True):
      for whose, colour in _COLOURS.items():
        _curves(axis, own, f"{whose}_{quantity}", colour)
      # Likelihoods fall below zero.
      if all(np.min(line.get_ydata()) > 0 for line in axis.lines):
        axis.set(yscale="log")
      axis.tick_params(which="both", labelsize=8)
      axis.xaxis.set_major_locator(MaxNLocator(integer=True))
      axis.grid(which="both", alpha=0.2)
      if axis in panels[0]:
        axis.set_title(label, fontsize=10)
      if axis in panels[-1]:
        axis.set_xlabel("epoch", fontsize=9)
    row[0].set_ylabel(method, fontsize=10)
  figure.legend(
    [Line2D([], [], color=colour) for colour in _COLOURS.values()],
    list(_LABELS.values()),
    loc="outside lower center",
    ncols=2,
    fontsize=9,
    frameon=False,
  )
  save(figure, path)


def _curves(axis, records, name: str, colour: str) -> None:
  """One quantity of all folds over the epochs, where it was recorded."""
  folds: dict[int, dict[int, float]] = {}
  for record in records:
    if name in record:
      folds.setdefault(record["fold"], {})[record["epoch"]] = record[name]
  for values in folds.values():
    epochs = sorted(values)
    curve = [values[epoch] for epoch in epochs]
    axis.plot(epochs, curve, color=colour, linewidth=0.7, alpha=0.4)
  common = set.intersection(*map(set, folds.values())) if folds else set()
  if common:
    epochs = sorted(common)
    mean = [np.mean([v[epoch] for v in folds.values()]) for epoch in epochs]
    marker = "o" if len(epochs) == 1 else None
    axis.plot(epochs, mean, color=colour, linewidth=1.8, marker=marker)
