"""Lesions: spheres of other T1 and T2 in white matter, absent from training."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps

# Least share of white matter at the centre of a lesion.
_PURE = 0.95


@dataclasses.dataclass(frozen=True)
class Lesions:
  """Lesions of a head.

  Attributes:
    share: volume share of lesion, [voxel].
    centres_mm: centres of the spheres, [lesion, 3], mm.
  """

  share: Float32[np.ndarray, "voxel"]
  centres_mm: Float[np.ndarray, "lesion 3"]


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
  centres_mm: Float[np.ndarray, "lesion 3"] | None = None,
) -> tuple[Maps, Lesions]:
  """Maps of white matter with lesions, and these.

  Args:
    rng: random numbers of the positions.
    points_mm: centres of the voxels, [voxel, 3], mm.
    white: volume share of white matter, [voxel].
    tissue: maps of white matter, [voxel].
    count: number of spheres, each around a voxel of nearly pure white matter.
    radius_mm: radius of each sphere, mm.
    t1_ms: T1 in the spheres, ms.
    t2_ms: T2 in the spheres, ms.
    centres_mm: of the spheres, as those of the same head in another scan; None
      are random.

  Raises:
    UserError: the head has too little pure white matter, or the radius, T1 or
      T2 is not valid.
  """
  if not radius_mm > 0 or not 0 < t2_ms <= t1_ms:
    raise UserError(
      f"data.lesions: radius {radius_mm} mm, T1 {t1_ms} ms and T2 {t2_ms} ms "
      "are not valid; the radius and T2 must be above 0, T2 at most T1"
    )
  if centres_mm is None:
    pure = np.flatnonzero(white > _PURE)
    if count > pure.size:
      raise UserError(
        f"data.lesions: {count} lesions need as many voxels of pure white "
        f"matter, but the head has {pure.size}"
      )
    centres_mm = points_mm[rng.choice(pure, count, replace=False)]
  inside = np.zeros(len(white), bool)
  for centre in centres_mm:
    inside |= np.linalg.norm(points_mm - centre, axis=1) <= radius_mm

  def changed(values, value):
    return np.where(inside, np.float32(value), values)

  return (
    dataclasses.replace(
      tissue,
      t1_ms=changed(tissue.t1_ms, t1_ms),
      t2_ms=changed(tissue.t2_ms, t2_ms),
    ),
    Lesions(np.where(inside, white, 0).astype(np.float32), centres_mm),
  )
