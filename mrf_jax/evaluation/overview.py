"""Overview figure: some slices of a scan's maps."""

import os

import nibabel
import numpy as np
from cmcrameri import cm
from jaxtyping import Bool, Float32, Float64

from mrf_jax.evaluation.figures import COLOURS, default_limits
from mrf_jax.evaluation.markdown import LABELS
from mrf_jax.evaluation.panels import (
  bounding_box,
  colour_bar,
  panel_grid,
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
  RAS, mm) is right in a panel, and anterior (or superior) is up. Standard
  deviations of the maps, if any, are shown in three more rows, and the part of
  the signals that the maps do not explain in a last one.
  """
  inside = np.flatnonzero(mask.any((1, 2)))
  count = min(_MOST_SLICES, len(inside))
  # Middles of equal parts, which avoid the first and the last slice.
  places = (np.arange(count) + 0.5) * len(inside) / count
  slices = inside[places.astype(int)]
  upright = _upright(affine)
  upright_mask = upright(mask)
  box = bounding_box(upright_mask[slices].any(0))
  rows = [
    (getattr(maps, name), COLOURS[name], LABELS[name]) for name in MAP_NAMES
  ]
  everywhere = np.ones(len(maps.pd), bool)
  ends = list(default_limits(maps, everywhere).values())
  if deviations is not None:
    rows += [
      (getattr(deviations, name), cm.oslo, f"SD of {LABELS[name]}")
      for name in MAP_NAMES
    ]
    ends += default_limits(deviations, everywhere).values()
  if residual is not None:
    rows.append((residual, cm.lajolla, "unexplained part"))
    ends.append(1.0)
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
    volume = np.ma.masked_array(upright(volume), ~upright_mask)
    for axis, number in zip(axes[row], slices, strict=True):
      image = show(axis, volume[number][box], colours, 0, ends[row])
    colour_bar(figure, image, bars[row][0], label, extend="max")
  for axis, number in zip(axes[0], slices, strict=True):
    write_heading(axis, f"slice {number}")
  save(figure, path)


def _upright(affine):
  """Function that flips and swaps y and x along the axes of the body."""
  axes, signs = nibabel.orientations.io_orientation(affine)[:2].T
  swapped = axes[0] > axes[1]

  def turned(volume):
    if signs[0] < 0:
      volume = volume[:, :, ::-1]
    if signs[1] < 0:
      volume = volume[:, ::-1]
    return volume.swapaxes(1, 2) if swapped else volume

  return turned
