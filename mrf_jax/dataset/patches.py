"""Patches of voxel tables, which hold the masked voxels only."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Bool, Int, Int32

from mrf_jax.runtime.typing import AnyArray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VoxelGrid:
  """Map from positions in space to the rows of a voxel table, and back.

  Row 0 of a table stands for all voxels outside the mask and is zero; row
  1 + v is masked voxel v, subject after subject, each in C order. The slices
  of all subjects are stacked in one padded volume, with an empty slice between
  subjects. A patch of any size is then the rows around a position, and never
  reaches into another subject.

  Attributes:
    rows: row at each position of the padded volume, flattened, [position].
    positions: position of each row's voxel; that of row 0 is 0, [row].
    width: number of positions in a padded line (along x).
    area: number of positions in a padded slice.
  """

  rows: Int32[AnyArray, "position"]
  positions: Int32[AnyArray, "row"]
  width: Int32[AnyArray, ""]
  area: Int32[AnyArray, ""]

  def neighbours(
    self,
    centres: Int[AnyArray, "centre"],
    *,
    before: int,
    after: int,
    slices: int = 1,
  ) -> Int32[AnyArray, "centre *slice size size"]:
    """Rows of the square patch around each centre.

    Args:
      centres: rows of the centres.
      before: voxels of the patch on the low side of the centre, along y and x.
      after: voxels on the high side.
      slices: number of slices, at most 3, the centre's slice in the middle.

    Returns:
      Rows, 0 outside the mask, [centre, y, x]; [centre, slice, y, x] for more
      than one slice.
    """
    steps = np.arange(-before, after + 1)
    # Distance of each voxel of the patch from its centre, in positions.
    offsets = steps[:, None] * self.width + steps[None]
    if slices > 1:
      planes = np.arange(slices) - slices // 2
      offsets = planes[:, None, None] * self.area + offsets[None]
    positions = self.positions[centres]
    positions = positions.reshape(-1, *[1] * offsets.ndim)
    return self.rows[positions + offsets[None]]


def patch_shape(reach: int, slices: int) -> tuple[int, ...]:
  """Shape of the patch for one estimate: (y, x), or (slice, y, x)."""
  size = 2 * reach + 1
  return (size, size) if slices == 1 else (slices, size, size)


def make_grid(
  masks: Sequence[Bool[np.ndarray, "_slice _y _x"]], *, padding: int
) -> VoxelGrid:
  """The grid of a table that holds the masked voxels of several subjects.

  Args:
    masks: mask of each subject; their slices may differ in size.
    padding: empty voxels around each slice, at least the reach of a patch.

  Returns:
    The grid, with `sum(mask.sum())` + 1 rows.
  """
  height = 2 * padding + max(mask.shape[1] for mask in masks)
  width = 2 * padding + max(mask.shape[2] for mask in masks)
  # An empty slice after each subject, and one before the first.
  n_planes = sum(len(mask) + 1 for mask in masks) + 1
  planes = np.zeros((n_planes, height, width), np.int32)
  plane, row = 1, 1  # first ones of the next subject
  for mask in masks:
    _, n_y, n_x = mask.shape
    count = int(mask.sum())
    view = planes[
      plane : plane + len(mask),
      padding : padding + n_y,
      padding : padding + n_x,
    ]
    view[mask] = np.arange(row, row + count)
    plane, row = plane + len(mask) + 1, row + count
  flat = planes.reshape(-1)
  positions = np.concatenate([[0], np.flatnonzero(flat)]).astype(np.int32)
  return VoxelGrid(
    flat,
    positions,
    width=np.array(width, np.int32),
    area=np.array(height * width, np.int32),
  )
