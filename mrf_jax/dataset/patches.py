"""Voxel tables: where a patch's rows stand when only masked voxels are kept."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Bool, Int32

from mrf_jax.typing import AnyArray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VoxelGrid:
  """Row numbers of a voxel table, laid out in space.

  Row 0 of every table is the voxel outside the mask, zero everywhere; row
  1 + v is masked voxel v, subject after subject, each in C order. Slices of
  all subjects stand one after another in one padded grid, so that a patch is
  the row numbers around a position, whatever the patch's size. Void slices
  keep subjects apart.

  Attributes:
    rows: row number at each padded position, flattened, [position].
    positions: position of each row's voxel; row 0 stands at 0, [row].
    width: positions of one padded line (along x).
    area: positions of one padded slice.
  """

  rows: Int32[AnyArray, "position"]
  positions: Int32[AnyArray, "row"]
  width: Int32[AnyArray, ""]
  area: Int32[AnyArray, ""]

  def neighbours(
    self,
    centres: Int32[AnyArray, "centre"],
    *,
    before: int,
    after: int,
    slices: int = 1,
  ) -> Int32[Array, "centre *slice size size"]:
    """Row numbers of the square patch around each row's voxel.

    Args:
      centres: row numbers of the centres.
      before: voxels of the patch on the low side of the centre, along y and x.
      after: voxels on the high side.
      slices: as many, the centre's in the middle; up to 3.

    Returns:
      Row numbers, 0 outside the mask, [centre, y, x], or [centre, slice, y, x]
      of more than one slice.
    """
    steps = np.arange(-before, after + 1)
    offsets = steps[:, None] * self.width + steps[None]
    if slices > 1:
      planes = np.arange(slices) - slices // 2
      offsets = planes[:, None, None] * self.area + offsets[None]
    positions = self.positions[centres]
    positions = positions.reshape(-1, *[1] * offsets.ndim)
    return self.rows[positions + offsets[None]]


def patch_shape(reach: int, slices: int) -> tuple[int, ...]:
  """Axes of the patch of one estimate: y and x, of several slices these too.

  Args:
    reach: voxels on each side of the centre.
    slices: that the patch has.
  """
  size = 2 * reach + 1
  return (size, size) if slices == 1 else (slices, size, size)


def make_grid(
  masks: Sequence[Bool[np.ndarray, "slice y x"]], *, padding: int
) -> VoxelGrid:
  """The grid of a table that holds the masked voxels of several subjects.

  Args:
    masks: each subject's mask; slices of different subjects may differ in
      size.
    padding: voxels of void around each slice, at least a patch's reach.

  Returns:
    The grid, with `sum(mask.sum())` + 1 rows.
  """
  height = 2 * padding + max(mask.shape[1] for mask in masks)
  width = 2 * padding + max(mask.shape[2] for mask in masks)
  n_planes = sum(len(mask) + 1 for mask in masks) + 1
  planes = np.zeros((n_planes, height, width), np.int32)
  plane, row = 1, 1
  for mask in masks:
    _, rows, columns = mask.shape
    count = int(mask.sum())
    view = planes[
      plane : plane + len(mask),
      padding : padding + rows,
      padding : padding + columns,
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
