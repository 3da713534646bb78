"""Layout of figures: panels, headings and colour bars on black."""

import os
import textwrap
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from mrf_jax.io.atomic import replacing

PAPER, INK = "black", "white"
_MARGIN = 2  # voxels around the mask
_PANEL_IN = 1.7
_LETTERS_PER_IN = 12  # of the title
_DPI = 150


def bounding_box(mask: Bool[np.ndarray, "y x"]) -> tuple[slice, ...]:
  """Slices [y, x] of the smallest box around the mask, plus a margin."""
  box = []
  for axis in (1, 0):
    inside = np.flatnonzero(mask.any(axis))
    box.append(slice(max(inside[0] - _MARGIN, 0), inside[-1] + _MARGIN + 1))
  return tuple(box)


def percentile(values, percent: float) -> float:
  """Percentile of the finite values as the end of colours; 1 if not above 0."""
  values = np.ma.masked_invalid(values).compressed()
  end = float(np.percentile(values, percent)) if values.size else 0.0
  return end if end > 0 else 1.0


def panel_grid(
  shape: tuple[int, ...],
  *,
  n_rows: int,
  n_columns: int,
  bars_after: Sequence[int],
  title: str,
) -> tuple[Figure, list[list[Axes]], list[list[Axes]]]:
  """Makes a figure of panels [y, x], with colour bars after some columns.

  Returns:
    The figure, its panels [row][column] and its colour bars [row][bar].
  """
  height = _PANEL_IN * shape[0] / shape[1]
  bar, gap, edge = 0.09, 0.06, 0.1
  numbers = 0.65  # room for the numbers and the label of a bar
  width = n_columns * (_PANEL_IN + gap) + len(bars_after) * (bar + numbers)
  width += edge
  top = 0.57 + 0.18 * len(_wrap(title, width))
  total = top + n_rows * (height + gap) + edge
  figure = Figure(figsize=(width, total), facecolor=PAPER)
  write_title(figure, title)

  def place(x, y, w, h):
    return figure.add_axes((x / width, y / total, w / width, h / total))

  axes: list[list[Axes]] = []
  bars: list[list[Axes]] = []
  for row in range(n_rows):
    y = total - top - (row + 1) * (height + gap)
    x = edge
    axes.append([])
    bars.append([])
    for column in range(n_columns):
      axes[row].append(place(x, y, _PANEL_IN, height))
      x += _PANEL_IN + gap
      if column in bars_after:
        bars[row].append(place(x, y + 0.05 * height, bar, 0.9 * height))
        x += bar + numbers
  return figure, axes, bars


def write_title(figure: Figure, title: str) -> None:
  """Writes the title at the top, broken if it is wider than the figure."""
  width, height = figure.get_size_inches()
  figure.suptitle(
    "\n".join(_wrap(title, width)),
    color=INK,
    fontsize=11,
    y=1 - 0.08 / height,
    va="top",
  )


def write_heading(axis: Axes, text: str) -> None:
  """Writes text above a panel, smaller if it is wider than the panel."""
  heading = axis.set_title(text, color=INK, fontsize=9)
  room = axis.get_window_extent().width
  needed = heading.get_window_extent().width
  if needed > room:
    heading.set_fontsize(9 * room / needed)


def show(
  axis: Axes, values: np.ndarray, colours: Colormap, low: float, high: float
) -> AxesImage:
  """Draws one map, [y, x], y increasing upwards."""
  axis.set_axis_off()
  return axis.imshow(
    values,
    cmap=colours.with_extremes(bad=PAPER),
    vmin=low,
    vmax=high,
    origin="lower",
    interpolation="nearest",
  )


def mark_sides(axis: Axes, sides: tuple[str, str]) -> None:
  """Writes the letters of both sides into the lower corners of a panel."""
  left, right = sides
  for letter, x, align in ((left, 0.02, "left"), (right, 0.98, "right")):
    axis.text(
      x,
      0.01,
      letter,
      transform=axis.transAxes,
      color=INK,
      fontsize=7,
      ha=align,
      va="bottom",
    )


def colour_bar(
  figure: Figure, image: AxesImage, axis: Axes, label: str
) -> None:
  """Draws the colour bar of an image, pointed where values may saturate."""
  starts_at_zero = image.norm.vmin == 0
  extend = "max" if starts_at_zero else "both"
  bar = figure.colorbar(image, cax=axis, extend=extend, extendfrac=0.03)
  bar.locator = MaxNLocator(5)
  bar.set_label(label, color=INK, fontsize=8)
  bar.ax.tick_params(colors=INK, labelsize=7, length=2, pad=2)
  bar.outline.set_edgecolor(INK)
  bar.outline.set_linewidth(0.5)


def save(figure: Figure, path: str | os.PathLike) -> None:
  """Writes the figure as a PNG file, completely or not at all."""
  FigureCanvasAgg(figure)
  with replacing(path) as temporary:
    # The name of the program would make the file depend on its version.
    figure.savefig(
      temporary, format="png", dpi=_DPI, metadata={"Software": None}
    )


def _wrap(title: str, width_in: float) -> list[str]:
  """Lines of a title in a figure of some inches."""
  return textwrap.wrap(title, int(_LETTERS_PER_IN * width_in))
