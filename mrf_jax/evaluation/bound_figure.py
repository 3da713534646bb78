"""Figure of the Cramér-Rao bounds of T1 and T2 over the T1-T2 plane."""

import os
from collections.abc import Mapping

import numpy as np
from cmcrameri import cm
from jaxtyping import Float
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from mrf_jax.evaluation.panels import save
from mrf_jax.evaluation.ticks import set_plain_ticks


def bound_figure(
  path: str | os.PathLike,
  *,
  t1_ms: Float[np.ndarray, "n"],
  t2_ms: Float[np.ndarray, "m"],
  relative_t1: Float[np.ndarray, "n m"],
  relative_t2: Float[np.ndarray, "n m"],
  tissues: Mapping[str, tuple[float, float]],
  title: str,
) -> None:
  """Draws the least standard deviation of T1 and of T2, divided by T1 and T2.

  It may be NaN; the axes have logarithmic steps. Tissues to mark are given as
  (T1, T2), ms.
  """
  figure = Figure(figsize=(10, 4.6), layout="constrained")
  figure.suptitle(title, fontsize=11)
  for axis, name, values in zip(
    figure.subplots(1, 2), ("T1", "T2"), (relative_t1, relative_t2), strict=True
  ):
    percent = np.ma.masked_invalid(100 * values.T)  # [T2, T1]
    low, high = np.percentile(percent.compressed(), (1, 99))
    image = axis.pcolormesh(
      t1_ms,
      t2_ms,
      percent,
      norm=LogNorm(low, max(high, 1.01 * low)),
      cmap=cm.lipari if name == "T1" else cm.navia,
      shading="nearest",
    )
    for tissue, (t1, t2) in tissues.items():
      axis.plot(t1, t2, "o", color="white", markeredgecolor="black")
      axis.annotate(
        tissue.upper(),
        (t1, t2),
        xytext=(6, 4),
        textcoords="offset points",
        fontsize=9,
        bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"},
      )
    axis.set(xscale="log", yscale="log", xlabel="T1 (ms)", ylabel="T2 (ms)")
    axis.set_title(f"least relative standard deviation of {name}", fontsize=10)
    bar = figure.colorbar(image, ax=axis, label="%", extend="both")
    for ticks in (axis.xaxis, axis.yaxis, bar.ax.yaxis):
      set_plain_ticks(ticks)
  save(figure, path)
