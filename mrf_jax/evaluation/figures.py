"""Figures of maps, of their errors, and of one frame of the signals."""

import os
from collections.abc import Mapping

import numpy as np
from cmcrameri import cm
from jaxtyping import Bool, Complex
from matplotlib import colormaps
from matplotlib.figure import Figure

from mrf_jax.errors import UserError
from mrf_jax.evaluation.markdown import LABELS
from mrf_jax.evaluation.panels import (
  PAPER,
  bounding_box,
  colour_bar,
  panel_grid,
  percentile,
  save,
  show,
  write_heading,
  write_title,
)
from mrf_jax.maps import MAP_NAMES, Maps

# Lipari for T1 and Navia for T2 are the colour maps usual in relaxometry.
COLOURS = {"pd": colormaps["gray"], "t1_ms": cm.lipari, "t2_ms": cm.navia}
DIFFERENCES = cm.vik


def figure3(
  path: str | os.PathLike,
  *,
  reference: Maps,
  estimates: Mapping[str, Maps],
  mask: Bool[np.ndarray, "y x"],
  difference_of: str,
  title: str,
  limits: Mapping[str, float] | None = None,
  difference_limits: Mapping[str, float] | None = None,
) -> None:
  """Draws Figure 3 of the paper: reference, methods and a difference.

  Rows are PD, T1 and T2 of one axial slice. The last column is estimate −
  reference of the method `difference_of`.

  Args:
    path: PNG file, replaced as a whole.
    reference: reference maps, [y, x], y increasing to anterior.
    estimates: method to its maps, [y, x]; columns in this order.
    mask: voxels that are shown, [y, x].
    difference_of: the method of the last column.
    title: title of the figure, for example "simulated subject 3".
    limits: map name to the upper end of its colours, in the map's unit.
      Default: `default_limits`. The lower end is 0.
    difference_limits: map name to the end of the difference's symmetric
      colours. Default: four times the median of |difference|, which is 2.7
      standard deviations of normal errors and robust against fluid.

  Raises:
    UserError: the method is unknown, the mask is empty, or shapes differ.
  """
  if difference_of not in estimates:
    raise UserError(
      f"figure: no estimate of {difference_of!r}; "
      f"the estimates are of {', '.join(estimates)}"
    )
  mask = np.asarray(mask, bool)
  columns = _cropped({"reference": reference, **estimates}, mask)
  limits = {**default_limits(reference, mask), **(limits or {})}
  difference_limits = difference_limits or {}

  last = len(columns)
  figure, axes, bars = panel_grid(
    columns["reference"]["pd"].shape,
    n_rows=len(MAP_NAMES),
    n_columns=last + 1,
    bars_after=(last - 1, last),
    title=title,
  )
  for row, name in enumerate(MAP_NAMES):
    for axis, maps in zip(axes[row][:last], columns.values(), strict=True):
      image = show(axis, maps[name], COLOURS[name], 0, limits[name])
    colour_bar(figure, image, bars[row][0], LABELS[name], extend="max")
    _show_differences(
      figure,
      axes[row][last:],
      bars[row][1],
      [columns[difference_of][name] - columns["reference"][name]],
      label=LABELS[name],
      end=difference_limits.get(name),
    )
  names = [*columns, f"{difference_of}\n− reference"]
  for axis, text in zip(axes[0], names, strict=True):
    write_heading(axis, text)
  save(figure, path)


def error_figure(
  path: str | os.PathLike,
  *,
  reference: Maps,
  estimates: Mapping[str, Maps],
  mask: Bool[np.ndarray, "y x"],
  title: str,
  difference_limits: Mapping[str, float] | None = None,
) -> None:
  """Draws estimate − reference of every method in one axial slice.

  Rows are PD, T1 and T2. A row has the same colours for all methods, so that
  its columns can be compared, and anatomy in an error differs from noise.

  Arguments are those of `figure3`; by default, `difference_limits` are four
  times the median of |difference| over all methods.

  Raises:
    UserError: there is no method, the mask is empty, or shapes differ.
  """
  if not estimates:
    raise UserError("figure: there are no estimates")
  mask = np.asarray(mask, bool)
  target = _cropped({"reference": reference}, mask)["reference"]
  columns = _cropped(estimates, mask)
  difference_limits = difference_limits or {}

  last = len(columns) - 1
  figure, axes, bars = panel_grid(
    target["pd"].shape,
    n_rows=len(MAP_NAMES),
    n_columns=len(columns),
    bars_after=(last,),
    title=title,
  )
  for row, name in enumerate(MAP_NAMES):
    _show_differences(
      figure,
      axes[row],
      bars[row][0],
      [maps[name] - target[name] for maps in columns.values()],
      label=LABELS[name],
      end=difference_limits.get(name),
    )
  for axis, text in zip(axes[0], columns, strict=True):
    write_heading(axis, text)
  save(figure, path)


def default_limits(
  reference: Maps, mask: Bool[np.ndarray, "*voxel"]
) -> dict[str, float]:
  """Upper ends of the colours, from the reference inside the mask.

  PD and T1 end at their 99th percentile. T2 ends at three times its median,
  which is about the T2 of grey and white matter: the 99th percentile is the T2
  of fluid, ten times as long, and the brain would be dark.
  """
  inside = {n: np.asarray(getattr(reference, n))[mask] for n in MAP_NAMES}
  return {
    "pd": percentile(inside["pd"], 99),
    "t1_ms": percentile(inside["t1_ms"], 99),
    "t2_ms": 3 * percentile(inside["t2_ms"], 50),
  }


def signal_figure(
  path: str | os.PathLike, image: Complex[np.ndarray, "y x"], *, title: str
) -> None:
  """Draws the magnitude of a slice in grey, y increasing to anterior."""
  magnitude = np.ma.masked_invalid(np.abs(np.asarray(image)))
  height = 4.0 * magnitude.shape[0] / magnitude.shape[1]
  figure = Figure(figsize=(4.9, height + 0.5), facecolor=PAPER)
  write_title(figure, title)
  axis = figure.add_axes((0.02, 0.02, 0.8, height / (height + 0.5)))
  bar = figure.add_axes((0.84, 0.06, 0.02, height / (height + 0.5) - 0.08))
  drawn = show(
    axis, magnitude, colormaps["gray"], 0, percentile(magnitude, 99.5)
  )
  colour_bar(figure, drawn, bar, "magnitude (a.u.)", extend="max")
  save(figure, path)


def _cropped(estimates, mask):
  """Masked maps by method and map name, cut to the mask and a margin."""
  if not mask.any():
    raise UserError("figure: the mask of the slice is empty")
  box = bounding_box(mask)

  def panel(method, maps, name):
    values = np.asarray(getattr(maps, name), np.float64)
    if values.shape != mask.shape:
      raise UserError(
        f"figure: {name} of {method} has shape {values.shape}, "
        f"the mask {mask.shape}"
      )
    hidden = ~mask | ~np.isfinite(values)
    return np.ma.masked_array(values, hidden)[box]

  return {
    method: {name: panel(method, maps, name) for name in MAP_NAMES}
    for method, maps in estimates.items()
  }


def _show_differences(figure, axes, bar, differences, *, label, end):
  """Draws differences with the same symmetric colours, which end at `end`."""
  end = end or 4 * percentile(np.abs(np.ma.stack(differences)), 50)
  for axis, difference in zip(axes, differences, strict=True):
    image = show(axis, difference, DIFFERENCES, -end, end)
  colour_bar(figure, image, bar, "Δ " + label, extend="both")
