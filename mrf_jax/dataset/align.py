"""Alignment of two scans: nearest voxels of one on the grid of the other."""

import numpy as np
from jaxtyping import Bool, Float64, Int32

from mrf_jax.dataset.subject import Subject, check_affine
from mrf_jax.errors import UserError


def voxel_map(
  fixed: Subject,
  moving: Subject,
  *,
  known: bool = True,
  shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Float64[np.ndarray, "4 4"]:
  """Affine map from the voxels of one scan to those of another.

  Args:
    fixed: the scan whose grid is kept.
    moving: the scan that is aligned to it.
    known: align two simulated heads through their common atlas, by the known
      affine part of their deformation. Otherwise, or where neither scan has
      one, equal scanner positions are taken for equal anatomy.
    shift_mm: misalignment (x, y, z) that is added to every position, mm.

  Returns:
    Voxel (x, y, slice, 1) of `fixed` to that of `moving`, [4, 4].

  Raises:
    UserError: only one of the two has a known position in the atlas, or a
      matrix is not an invertible affine one.
  """
  heads = [fixed.head_to_atlas, moving.head_to_atlas]
  if not known or all(head is None for head in heads):
    heads = [np.eye(4), np.eye(4)]
  for subject, head in zip((fixed, moving), heads, strict=True):
    if head is None:
      raise UserError(
        f"{subject.subject}: its position in the atlas is not known, but that "
        "of the other scan is"
      )
    for name, matrix in (("affine", subject.affine), ("head_to_atlas", head)):
      check_affine(f"{subject.subject}: {name}", matrix)
  fixed_head, moving_head = heads
  assert fixed_head is not None and moving_head is not None
  shift = np.eye(4)
  shift[:3, 3] = shift_mm
  # From right to left: voxel, scanner, atlas, and back.
  to_atlas = fixed_head @ fixed.affine
  return np.linalg.inv(moving_head @ moving.affine) @ shift @ to_atlas


def nearest_rows(
  mask: Bool[np.ndarray, "slice y x"],
  voxels: Float64[np.ndarray, "4 4"],
  *,
  shape: tuple[int, ...],
) -> Int32[np.ndarray, "slice_out y_out x_out"]:
  """Row of the nearest masked voxel of a scan, at every voxel of another grid.

  Nothing is interpolated: an acquired fingerprint keeps its noise and belongs
  to the maps of its own voxel. `voxels` maps voxels of the other grid to voxels
  of the scan, see `voxel_map`.

  Returns:
    1 + v for the scan's masked voxel v (in C order), 0 where the nearest voxel
    is outside its mask or its volume.
  """
  rows = np.zeros(mask.shape, np.int32)
  rows[mask] = np.arange(1, 1 + np.count_nonzero(mask))
  z, y, x = np.indices(shape).reshape(3, -1)
  points = np.stack([x, y, z], -1) @ voxels[:3, :3].T + voxels[:3, 3]
  nearest = np.floor(points + 0.5).astype(np.int64)[:, ::-1]  # slice, y, x
  inside = ((nearest >= 0) & (nearest < mask.shape)).all(1)
  nearest_row = np.zeros(len(points), np.int32)
  nearest_row[inside] = rows[tuple(nearest[inside].T)]
  return nearest_row.reshape(shape)
