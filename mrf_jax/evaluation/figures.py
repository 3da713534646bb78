"""Figure 3 of the paper, and a look at one frame of the signals."""

import os
from collections.abc import Mapping

import numpy as np
from cmcrameri import cm
from jaxtyping import Bool, Complex
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mrf_jax.errors import UserError
from mrf_jax.files import replacing
from mrf_jax.maps import MAP_NAMES, Maps

# Lipari for T1 and Navia for T2 are the relaxometry community's colour maps.
_COLOURS = {"pd": colormaps["gray"], "t1_ms": cm.lipari, "t2_ms": cm.navia}
_LABELS = {"pd": "PD (a.u.)", "t1_ms": "T1 (ms)", "t2_ms": "T2 (ms)"}
_PAPER, _INK = "black", "white"
_PANEL_IN = 1.7
_DPI = 150


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
  margin: int = 2,
) -> None:
  """Maps of one axial slice: reference, each method, and a difference.

  Rows are PD, T1 and T2. The last column is estimate - reference of the
  method `difference_of`.

  Args:
    path: PNG file, replaced as a whole.
    reference: reference maps, [y, x], y increasing to anterior.
    estimates: method to its maps, [y, x]; columns in this order.
    mask: voxels that are shown, [y, x].
    difference_of: the method of the last column.
    title: says what is seen, for example "simulated subject 3".
    limits: map name to the upper end of its colours, in the map's unit; the
      maps not named get `default_limits`. The lower end is 0.
    difference_limits: map name to the end of the difference's symmetric
      colours; maps not named get four times the median of |difference|,
      2.7 standard deviations of normal errors, whatever fluid does.
    margin: voxels kept around the mask.

  Raises:
    UserError: unknown method, an empty mask, or shapes that differ.
  """
  if difference_of not in estimates:
    raise UserError(
      f"figure: no estimate of {difference_of!r}; "
      f"there are {', '.join(estimates)}"
    )
  mask = np.asarray(mask, bool)
  if not mask.any():
    raise UserError("figure: the mask of the slice is empty")
  columns = {"reference": reference, **estimates}
  for method, maps in columns.items():
    for name in MAP_NAMES:
      shape = np.shape(getattr(maps, name))
      if shape != mask.shape:
        raise UserError(
          f"figure: {name} of {method} has shape {shape}, the mask {mask.shape}"
        )
  limits = {**default_limits(reference, mask), **(limits or {})}
  difference_limits = difference_limits or {}
  crop = _bounding_box(mask, margin)

  def panel(maps, name):
    values = np.asarray(getattr(maps, name), np.float64)
    hidden = ~mask | ~np.isfinite(values)
    return np.ma.masked_array(values, hidden)[crop]

  figure, axes, bars = _panels(len(columns) + 1, panel(reference, "pd").shape)
  for row, name in enumerate(MAP_NAMES):
    for column, maps in enumerate(columns.values()):
      shown = _show(
        axes[row][column], panel(maps, name), _COLOURS[name], 0, limits[name]
      )
    _colour_bar(figure, shown, bars[row][0], _LABELS[name], extend="max")

    difference = panel(estimates[difference_of], name) - panel(reference, name)
    end = difference_limits.get(name) or 4 * _percentile(np.abs(difference), 50)
    shown = _show(axes[row][-1], difference, cm.vik, -end, end)
    _colour_bar(
      figure, shown, bars[row][1], "Δ " + _LABELS[name], extend="both"
    )

  names = [*columns, f"{difference_of}\n− reference"]
  for axis, text in zip(axes[0], names, strict=True):
    axis.set_title(text, color=_INK, fontsize=9)
  _save(figure, path, title)


def error_figure(
  path: str | os.PathLike,
  *,
  reference: Maps,
  estimates: Mapping[str, Maps],
  mask: Bool[np.ndarray, "y x"],
  title: str,
  margin: int = 2,
) -> None:
  """Estimate − reference of every method, one axial slice.

  Rows are PD, T1 and T2, each with the same colours for all methods, which
  end at four times the median of |estimate − reference| over all of them.

  Args:
    path: PNG file, replaced as a whole.
    reference: reference maps, [y, x], y increasing to anterior.
    estimates: method to its maps, [y, x]; columns in this order.
    mask: voxels that are shown, [y, x].
    title: says what is seen.
    margin: voxels kept around the mask.
  """
  mask = np.asarray(mask, bool)
  crop = _bounding_box(mask, margin)
  height, width = mask[crop].shape
  figure, axes, bars = _panels(len(estimates), (height, width))
  for row, name in enumerate(MAP_NAMES):
    differences = [
      np.asarray(getattr(maps, name), np.float64) - getattr(reference, name)
      for maps in estimates.values()
    ]
    inside = np.abs(np.stack(differences)[:, mask])
    end = 4 * _percentile(inside, 50)
    for axis, difference in zip(axes[row], differences, strict=True):
      hidden = ~mask | ~np.isfinite(difference)
      values = np.ma.masked_array(difference, hidden)[crop]
      shown = _show(axis, values, cm.vik, -end, end)
    _colour_bar(
      figure, shown, bars[row][-1], "Δ " + _LABELS[name], extend="both"
    )
    for unused in bars[row][:-1]:
      unused.remove()
  for axis, text in zip(axes[0], estimates, strict=True):
    axis.set_title(text, color=_INK, fontsize=9)
  _save(figure, path, title)


def default_limits(
  reference: Maps, mask: Bool[np.ndarray, "y x"]
) -> dict[str, float]:
  """Upper ends of the colours, from the reference inside the mask.

  PD and T1 end at their 99th percentile. T2 ends at three times its median,
  which is near that of grey and white matter: up to its 99th percentile
  fluid, ten times as long, would leave the brain dark.

  Args:
    reference: reference maps, [y, x].
    mask: voxels to count, [y, x].

  Returns:
    Map name to limit, in the unit of the map.
  """
  inside = {n: np.asarray(getattr(reference, n))[mask] for n in MAP_NAMES}
  return {
    "pd": _percentile(inside["pd"], 99),
    "t1_ms": _percentile(inside["t1_ms"], 99),
    "t2_ms": 3 * _percentile(inside["t2_ms"], 50),
  }


def signal_figure(
  path: str | os.PathLike, image: Complex[np.ndarray, "y x"], *, title: str
) -> None:
  """Magnitude of one complex slice in grey.

  Args:
    path: PNG file, replaced as a whole.
    image: the slice, [y, x], y increasing to anterior, arbitrary units.
    title: says what is seen.
  """
  magnitude = np.ma.masked_invalid(np.abs(np.asarray(image)))
  height = 4.0 * magnitude.shape[0] / magnitude.shape[1]
  figure = Figure(figsize=(4.9, height + 0.5), facecolor=_PAPER)
  axis = figure.add_axes((0.02, 0.02, 0.8, height / (height + 0.5)))
  bar = figure.add_axes((0.84, 0.06, 0.02, height / (height + 0.5) - 0.08))
  shown = _show(
    axis, magnitude, colormaps["gray"], 0, _percentile(magnitude, 99.5)
  )
  _colour_bar(figure, shown, bar, "magnitude (a.u.)", extend="max")
  _save(figure, path, title)


def _bounding_box(mask, margin):
  """Slices [y, x] around the mask and `margin` voxels more."""
  box = []
  for axis in (1, 0):
    inside = np.flatnonzero(mask.any(axis))
    box.append(slice(max(inside[0] - margin, 0), inside[-1] + margin + 1))
  return tuple(box)


def _percentile(values, percent):
  """Percentile of the finite values, or 1 where it gives no colour range."""
  values = np.ma.masked_invalid(values).compressed()
  end = float(np.percentile(values, percent)) if values.size else 0.0
  return end if end > 0 else 1.0


def _panels(n_columns, shape):
  """Figure, its axes [3][column], and its colour bars [3][2]."""
  height = _PANEL_IN * shape[0] / shape[1]
  bar, gap, top, edge = 0.09, 0.06, 0.75, 0.1
  numbers = 0.65  # room for the numbers and the label of a bar
  width = n_columns * (_PANEL_IN + gap) + 2 * (bar + numbers) + edge
  total = top + len(MAP_NAMES) * (height + gap) + edge
  figure = Figure(figsize=(width, total), facecolor=_PAPER)

  def place(x, y, w, h):
    return figure.add_axes((x / width, y / total, w / width, h / total))

  axes: list[list[Axes]] = []
  bars: list[list[Axes]] = []
  for row in range(len(MAP_NAMES)):
    y = total - top - (row + 1) * (height + gap)
    x = edge
    axes.append([])
    bars.append([])
    for column in range(n_columns):
      axes[row].append(place(x, y, _PANEL_IN, height))
      x += _PANEL_IN + gap
      if column >= n_columns - 2:  # after the last method, and at the end
        bars[row].append(place(x, y + 0.05 * height, bar, 0.9 * height))
        x += bar + numbers
  return figure, axes, bars


def _show(axis, values, colours, low, high):
  axis.set_axis_off()
  return axis.imshow(
    values,
    cmap=colours.with_extremes(bad=_PAPER),
    vmin=low,
    vmax=high,
    origin="lower",
    interpolation="nearest",
  )


def _colour_bar(figure, shown, axis, label, *, extend):
  # The pointed ends say that values beyond the limits are saturated.
  bar = figure.colorbar(shown, cax=axis, extend=extend, extendfrac=0.03)
  bar.locator = MaxNLocator(5)
  bar.set_label(label, color=_INK, fontsize=8)
  bar.ax.tick_params(colors=_INK, labelsize=7, length=2, pad=2)
  bar.outline.set_edgecolor(_INK)
  bar.outline.set_linewidth(0.5)


def _save(figure, path, title):
  inches = figure.get_size_inches()[1]
  figure.suptitle(title, color=_INK, fontsize=11, y=1 - 0.08 / inches, va="top")
  FigureCanvasAgg(figure)
  with replacing(path) as temporary:
    # Without the program's name the file does not depend on its version.
    figure.savefig(
      temporary, format="png", dpi=_DPI, metadata={"Software": None}
    )
