"""Spheres of other T1 and T2 inside white matter: what no training head has."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps

# Share of white matter in a voxel that may be the centre of a lesion.
_PURE = 0.95


def add_lesions(
  rng: np.random.Generator,
  points_mm: Float[np.ndarray, "voxel 3"],
  white: Float[np.ndarray, "voxel"],
  tissue: Maps,
  *,
  count: int,
  radius_mm: float,
  t1_ms: float,
  t2_ms: float,
) -> tuple[Maps, Float32[np.ndarray, "voxel"]]:
  """White matter with spheres of other relaxation times.

  Args:
    rng: where they lie.
    points_mm: centres of the voxels, [voxel, 3], mm.
    white: volume share of white matter, [voxel].
    tissue: white matter's own maps, [voxel].
    count: spheres, each around a voxel of nearly pure white matter.
    radius_mm: of each, mm.
    t1_ms: T1 inside, ms.
    t2_ms: T2 inside, ms.

  Returns:
    The changed maps, and the volume share of lesion in each voxel.

  Raises:
    UserError: the head has too little pure white matter, or the spheres are
      none.
  """
  if not radius_mm > 0 or not 0 < t2_ms <= t1_ms:
    raise UserError(
      f"data.lesions: radius {radius_mm} mm, T1 {t1_ms} ms and T2 {t2_ms} ms "
      "make no lesion"
    )
  pure = np.flatnonzero(white > _PURE)
  if count > pure.size:
    raise UserError(
      f"data.lesions: {count} want as many voxels of pure white matter; there "
      f"are {pure.size}"
    )
  inside = np.zeros(len(white), bool)
  for centre in points_mm[rng.choice(pure, count, replace=False)]:
    inside |= np.linalg.norm(points_mm - centre, axis=1) <= radius_mm

  def changed(values, value):
    return np.where(inside, np.float32(value), values)

  return (
    dataclasses.replace(
      tissue,
      t1_ms=changed(tissue.t1_ms, t1_ms),
      t2_ms=changed(tissue.t2_ms, t2_ms),
    ),
    np.where(inside, white, 0).astype(np.float32),
  )
