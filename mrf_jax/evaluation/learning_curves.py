"""Learning curves: loss and errors of the networks over the epochs."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mrf_jax.evaluation.panels import save
from mrf_jax.evaluation.ticks import set_plain_ticks

_COLUMNS = {
  "loss": "training loss",
  "mae_pd": "PD, MAE (a.u.)",
  "mae_t1_ms": "T1, MAE (ms)",
  "mae_t2_ms": "T2, MAE (ms)",
}
# Names of the losses that records have; those of older versions have none.
_LOSSES = {
  "squared_error": "mean squared error",
  "likelihood": "negative log-likelihood",
  "weighted_likelihood": "weighted likelihood: rises to 0",
  "separate_likelihood": "squared error and likelihood",
}
_COLOURS = {"training": "tab:blue", "left_out": "tab:red"}
_LABELS = {"training": "training subjects", "left_out": "left-out subject"}


def learning_curves(
  path: str | os.PathLike, records: Sequence[dict], *, title: str
) -> None:
  """Draws loss and errors in the watched voxels from lines of `metrics.jsonl`.

  A row is a network, thin lines are folds, thick lines their mean. The panel of
  a loss names it. A likelihood, which falls below zero, is that of the watched
  voxels where the loss that is minimised rises.
  """
  methods = list(dict.fromkeys(record["method"] for record in records))
  figure = Figure(
    figsize=(3.2 * len(_COLUMNS), 2.4 * len(methods) + 0.6),
    layout="constrained",
  )
  figure.suptitle(title, fontsize=11)
  panels = figure.subplots(len(methods), len(_COLUMNS), squeeze=False)
  for method, row in zip(methods, panels, strict=True):
    of_method = [record for record in records if record["method"] == method]
    loss = of_method[-1].get("loss", "")
    has_likelihood = any("training_likelihood" in r for r in of_method)
    if has_likelihood:
      loss = "likelihood"
    for (quantity, label), axis in zip(_COLUMNS.items(), row, strict=True):
      if quantity == "loss" and has_likelihood:
        quantity = "likelihood"
      for subjects, colour in _COLOURS.items():
        _draw_folds(axis, of_method, f"{subjects}_{quantity}", colour)
      # The loss of a likelihood may be negative.
      if all(np.min(line.get_ydata()) > 0 for line in axis.lines):
        axis.set(yscale="log")
        set_plain_ticks(axis.yaxis)
      axis.tick_params(which="both", labelsize=8)
      axis.xaxis.set_major_locator(MaxNLocator(integer=True))
      axis.grid(which="both", alpha=0.2)
      if axis in panels[0]:
        axis.set_title(label, fontsize=10)
      if axis in panels[-1]:
        axis.set_xlabel("epoch", fontsize=9)
    row[0].set_ylabel(method, fontsize=10)
    # Curves that fall leave this corner free.
    row[0].text(
      0.97,
      0.96,
      _LOSSES.get(loss, ""),
      transform=row[0].transAxes,
      fontsize=8,
      ha="right",
      va="top",
    )
  figure.legend(
    [Line2D([], [], color=colour) for colour in _COLOURS.values()],
    list(_LABELS.values()),
    loc="outside lower center",
    ncols=2,
    fontsize=9,
    frameon=False,
  )
  save(figure, path)


def _draw_folds(axis, records, name: str, colour: str) -> None:
  """Draws one quantity of all folds and its mean over their common epochs."""
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
