"""Voxel tables: where a patch's rows stand when only masked voxels are kept."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Bool, Int32

from mrf_jax.arrays import AnyArray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VoxelGrid:
  """Row numbers of a voxel table, laid out in space.

  Row 0 of every table is the voxel outside the mask, zero everywhere; row
  1 + v is masked voxel v, subject after subject, each in C order. Slices of
  all subjects stand one after another in one padded grid, so that a patch is
  the row numbers around a position, whatever the patch's size.

  Attributes:
    rows: row number at each padded position, flattened, [position].
    positions: position of each row's voxel; row 0 stands at 0, [row].
    width: positions of one padded line (along x).
  """

  rows: Int32[AnyArray, "position"]
  positions: Int32[AnyArray, "row"]
  width: Int32[AnyArray, ""]

  def neighbours(
    self, centres: Int32[AnyArray, "centre"], *, before: int, after: int
  ) -> Int32[Array, "centre size size"]:
    """Row numbers of the square patch around each row's voxel.

    Args:
      centres: row numbers of the centres.
      before: voxels of the patch on the low side of the centre, along y and x.
      after: voxels on the high side.

    Returns:
      Row numbers, 0 outside the mask, [centre, y, x].
    """
    steps = np.arange(-before, after + 1)
    offsets = steps[:, None] * self.width + steps[None]
    return self.rows[self.positions[centres][:, None, None] + offsets[None]]


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
  planes = np.zeros((sum(map(len, masks)), height, width), np.int32)
  plane, row = 0, 1
  for mask in masks:
    _, rows, columns = mask.shape
    count = int(mask.sum())
    view = planes[
      plane : plane + len(mask),
      padding : padding + rows,
      padding : padding + columns,
    ]
    view[mask] = np.arange(row, row + count)
    plane, row = plane + len(mask), row + count
  flat = planes.reshape(-1)
  positions = np.concatenate([[0], np.flatnonzero(flat)]).astype(np.int32)
  return VoxelGrid(flat, positions, np.array(width, np.int32))
