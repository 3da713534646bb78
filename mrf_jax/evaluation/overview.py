"""Overview figure: some slices of a scan's maps."""

import os

import numpy as np
from cmcrameri import cm
from jaxtyping import Bool, Float32, Float64

from mrf_jax.evaluation.figures import COLOURS, map_windows
from mrf_jax.evaluation.markdown import LABELS
from mrf_jax.evaluation.orientation import upright
from mrf_jax.evaluation.panels import (
  bounding_box,
  colour_bar,
  mark_sides,
  panel_grid,
  percentile,
  save,
  show,
  write_heading,
)
from mrf_jax.maps import MAP_NAMES, Maps

_MOST_SLICES = 6


def overview(
  path: str | os.PathLike,
  maps: Maps,
  mask: Bool[np.ndarray, "slice y x"],
  affine: Float64[np.ndarray, "4 4"],
  *,
  title: str,
  deviations: Maps | None = None,
  residual: Float32[np.ndarray, "voxel"] | None = None,
) -> None:
  """Draws PD, T1 and T2 of evenly spaced slices.

  Whatever the order of the stored voxels, right by the affine (voxel index to
  RAS, mm) is right in a panel, and anterior (or superior) is up; left and right
  are marked, and slices are counted from 1. Standard deviations of the
  maps, if any, are shown in three more rows, and the part of the signals that
  the maps do not explain in a last one.
  """
  inside = np.flatnonzero(mask.any((1, 2)))
  count = min(_MOST_SLICES, len(inside))
  # Middles of equal parts, which avoid the first and the last slice.
  places = (np.arange(count) + 0.5) * len(inside) / count
  slices = inside[places.astype(int)]
  turned = upright(affine)
  upright_mask = turned(mask)
  box = bounding_box(upright_mask[slices].any(0))
  rows = [
    (getattr(maps, name), COLOURS[name], LABELS[name]) for name in MAP_NAMES
  ]
  everywhere = np.ones(len(maps.pd), bool)
  windows = [*map_windows(maps, everywhere).values()]
  if deviations is not None:
    rows += [
      (getattr(deviations, name), cm.oslo, f"SD of {LABELS[name]}")
      for name in MAP_NAMES
    ]
    # Three times the median: those of fluid are many times as large.
    windows += [
      (0.0, 3 * percentile(getattr(deviations, name), 50)) for name in MAP_NAMES
    ]
  if residual is not None:
    rows.append((residual, cm.lajolla, "unexplained part"))
    windows.append((0.0, 1.0))
  figure, axes, bars = panel_grid(
    upright_mask[0][box].shape,
    n_rows=len(rows),
    n_columns=count,
    bars_after=(count - 1,),
    title=title,
  )
  for row, (values, colours, label) in enumerate(rows):
    volume = np.zeros(mask.shape, np.float32)
    volume[mask] = np.asarray(values)
    volume = np.ma.masked_array(turned(volume), ~upright_mask)
    for axis, number in zip(axes[row], slices, strict=True):
      image = show(axis, volume[number][box], colours, *windows[row])
      mark_sides(axis, turned.sides)
    colour_bar(figure, image, bars[row][0], label)
  for axis, number in zip(axes[0], slices, strict=True):
    write_heading(axis, f"slice {number + 1} of {len(mask)}")
  save(figure, path)
