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
  mark_sides,
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
  sides: tuple[str, str],
  windows: Mapping[str, tuple[float, float]] | None = None,
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
    title: title of the figure, for example "simulated subject 3, slice 2 of 6".
    sides: letters of the left and the right side of a panel, such as
      ("L", "R").
    windows: map name to the ends of its colours, in the map's unit. Default:
      `map_windows`.
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
  windows = {**map_windows(reference, mask), **(windows or {})}
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
      image = show(axis, maps[name], COLOURS[name], *windows[name])
    colour_bar(figure, image, bars[row][0], LABELS[name])
    _show_differences(
      figure,
      axes[row][last:],
      bars[row][1],
      [columns[difference_of][name] - columns["reference"][name]],
      label=LABELS[name],
      end=difference_limits.get(name),
    )
  names = [*columns, f"{difference_of}\n− reference"]
  _write_around(axes, names, sides)
  save(figure, path)


def error_figure(
  path: str | os.PathLike,
  *,
  reference: Maps,
  estimates: Mapping[str, Maps],
  mask: Bool[np.ndarray, "y x"],
  title: str,
  sides: tuple[str, str],
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
  _write_around(axes, columns, sides)
  save(figure, path)


def map_windows(
  reference: Maps, mask: Bool[np.ndarray, "*voxel"]
) -> dict[str, tuple[float, float]]:
  """Ends of the colours of each map, from the reference inside the mask.

  White and grey matter are most of a brain, between the 5th and the 75th
  percentile; fluid is beyond, with a T2 ten times as long. The colours reach
  beyond these percentiles by their distance below, and one and a half times as
  far above: white and grey matter differ by about a fifth of the colours,
  noise and lesions are visible, and fluid saturates.
  """
  return {
    name: _window(np.asarray(getattr(reference, name))[mask])
    for name in MAP_NAMES
  }


def _window(values: np.ndarray) -> tuple[float, float]:
  """Ends of the colours of a map, as round numbers that are not negative."""
  values = values[np.isfinite(values)]
  low, high = np.percentile(values, (5, 75)) if values.size else (0.0, 0.0)
  if high <= 0:
    return 0.0, 1.0
  # Maps that are nearly constant are not all noise.
  reach = max(high - low, 0.2 * high)
  low, high = low - reach, high + 1.5 * reach
  step = 10.0 ** np.floor(np.log10(high - low)) / 10
  low, high = (float(np.round(x / step) * step) for x in (low, high))
  return max(low, 0.0), high


def signal_figure(
  path: str | os.PathLike,
  image: Complex[np.ndarray, "y x"],
  *,
  title: str,
  sides: tuple[str, str],
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
  mark_sides(axis, sides)
  colour_bar(figure, drawn, bar, "magnitude (a.u.)")
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
  colour_bar(figure, image, bar, "Δ " + label)


def _write_around(axes, names, sides):
  """Writes names above the columns, and marks the sides of all panels."""
  for axis, text in zip(axes[0], names, strict=True):
    write_heading(axis, text)
  for row in axes:
    for axis in row:
      mark_sides(axis, sides)
