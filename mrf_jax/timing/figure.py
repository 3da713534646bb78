"""Figure of the time of a scan over the number of atoms."""

import os
from collections.abc import Sequence

from matplotlib.figure import Figure

from mrf_jax.evaluation.panels import save
from mrf_jax.timing.tables import MATCHING


def timing_figure(
  path: str | os.PathLike, rows: Sequence[dict], *, title: str
) -> None:
  """Draws the seconds of each method over the atoms of the dictionary, log-log.

  Rows are those of a `benchmark.json`. Methods without a dictionary are
  horizontal lines.
  """
  figure = Figure(figsize=(9, 4.8), layout="constrained")
  axis = figure.subplots()
  axis.set_title(title, fontsize=10)
  whole = [r for r in rows if r["stage"].startswith("reconstruct")]
  atoms = [r["atoms"] for r in whole if r["method"].startswith("dictionary")]
  low, high = min(atoms, default=1e3), max(atoms, default=1e6)
  for (method, stage), label in MATCHING.items():
    points = [r for r in whole if (r["method"], r["stage"]) == (method, stage)]
    axis.plot(
      [point["atoms"] for point in points],
      [point["seconds"] for point in points],
      "o-",
      label=label,
    )
  for row, style in zip(
    [r for r in whole if not r["method"].startswith("dictionary")],
    ("-", "--", "-.", ":"),
    strict=False,
  ):
    label = row["method"]
    if row["atoms"]:
      label += f" ({row['atoms']:,} atlas voxels)"
    axis.plot(
      [low, high], [row["seconds"]] * 2, style, color="black", label=label
    )
  axis.set(
    xscale="log",
    yscale="log",
    xlabel="atoms of the dictionary",
    ylabel="seconds per scan, warm",
  )
  axis.grid(which="major", alpha=0.3)
  figure.legend(loc="outside right upper", fontsize=8)
  save(figure, path)
