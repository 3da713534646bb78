"""One scan's voxels at the positions of another's."""

import numpy as np
from jaxtyping import Bool, Float64, Int32

from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError


def voxel_map(
  fixed: Subject,
  moving: Subject,
  *,
  known: bool = True,
  shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Float64[np.ndarray, "4 4"]:
  """Where each voxel of one scan lies in another's.

  Args:
    fixed: the scan whose grid is kept.
    moving: the scan that is brought onto it.
    known: go through the atlas that simulated heads were made from, by the
      inverse of their known affine part; otherwise, or where neither scan has
      one, positions in the scanner are taken as they are.
    shift_mm: added to every position (x, y, z) on the way, a misalignment.

  Returns:
    Voxel (x, y, slice, 1) of `fixed` to that of `moving`, [4, 4].

  Raises:
    UserError: only one of the two has a known affine, or one is not an
      invertible [4, 4] matrix.
  """
  heads = [fixed.head_to_atlas, moving.head_to_atlas]
  if not known or all(head is None for head in heads):
    heads = [np.eye(4), np.eye(4)]
  for subject, head in zip((fixed, moving), heads, strict=True):
    if head is None:
      raise UserError(
        f"{subject.subject}: its position in the atlas is not known, that of "
        "the other scan is"
      )
    for name, matrix in (("affine", subject.affine), ("head_to_atlas", head)):
      _check_affine(f"{subject.subject}: {name}", matrix)
  fixed_head, moving_head = heads
  assert fixed_head is not None and moving_head is not None
  shift = np.eye(4)
  shift[:3, 3] = shift_mm
  to_atlas = fixed_head @ fixed.affine
  return np.linalg.inv(moving_head @ moving.affine) @ shift @ to_atlas


def _check_affine(name: str, matrix: np.ndarray) -> None:
  """Raises `UserError` for all but a finite, invertible [4, 4] matrix."""
  if matrix.shape != (4, 4):
    raise UserError(f"{name} has shape {matrix.shape}, not (4, 4)")
  if not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < 4:
    raise UserError(f"{name} cannot be inverted")


def nearest_rows(
  mask: Bool[np.ndarray, "slice y x"],
  voxels: Float64[np.ndarray, "4 4"],
  *,
  shape: tuple[int, ...],
) -> Int32[np.ndarray, "slice y x"]:
  """The nearest masked voxel of a scan at every voxel of another grid.

  No interpolation: an acquired fingerprint keeps its noise and its maps.

  Args:
    mask: of the scan.
    voxels: voxel of the other grid to voxel of the scan, of `voxel_map`.
    shape: of the other grid, [slice, y, x].

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
  found = np.zeros(len(points), np.int32)
  found[inside] = rows[tuple(nearest[inside].T)]
  return found.reshape(shape)
