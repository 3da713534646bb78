"""Digital phantom: a head with its tissues, B1 field and lesions."""

import dataclasses

import numpy as np
from jaxtyping import Float32

from mrf_jax.maps import Maps
from mrf_jax.simulation import tissue as tissues
from mrf_jax.simulation.anatomy import Head, SliceGrid, make_head
from mrf_jax.simulation.fields import b1_field
from mrf_jax.simulation.lesions import add_lesions


@dataclasses.dataclass(frozen=True)
class Phantom:
  """A head in the scanner, with the true values of its masked voxels.

  Attributes:
    anatomy: tissue fractions and mask on the slices of the scan.
    grid: the slices of the scan.
    positions_mm: centres of all voxels relative to the middle of the field of
      view, [slice, y, x, 3], mm.
    fractions: volume share of each tissue, [tissue, voxel].
    tissues: maps of each tissue, [voxel].
    b1: factor on the flip angles, [voxel].
    lesion: volume share of lesion, [voxel], or None.
  """

  anatomy: Head
  grid: SliceGrid
  positions_mm: Float32[np.ndarray, "slice y x 3"]
  fractions: Float32[np.ndarray, "tissue voxel"]
  tissues: dict[str, Maps]
  b1: Float32[np.ndarray, "voxel"]
  lesion: Float32[np.ndarray, "voxel"] | None = None

  def rows(self, z: int) -> slice:
    """Rows of the masked voxels of slice z."""
    counts = self.anatomy.mask.sum((1, 2))
    return slice(int(counts[:z].sum()), int(counts[: z + 1].sum()))

  def by_distance_from_the_middle(self) -> list[int]:
    """Numbers of the slices that contain brain, the middle one first."""
    n = self.grid.n_slices
    order = np.argsort(np.abs(np.arange(n) - n // 2))
    return [int(z) for z in order if self.anatomy.mask[z].any()]


def make_phantom(
  rng: np.random.Generator,
  grid: SliceGrid,
  *,
  head: dict,
  between_subjects: float,
  within_tissue: float,
  b1_deviation: float,
  lesions: dict | None = None,
) -> Phantom:
  """Makes the head of a subject with its tissue values and B1.

  Args:
    rng: random numbers of the subject.
    grid: the slices of the scan.
    head: arguments of `make_head`.
    between_subjects: relative standard deviation of T1 and T2 over subjects.
    within_tissue: relative standard deviation inside a tissue.
    b1_deviation: largest deviation of B1 from one.
    lesions: arguments of `add_lesions`; None adds none.
  """
  # Separate streams: a change of one part leaves the others as they are.
  anatomy_rng, tissue_rng, field_rng = rng.spawn(3)
  anatomy = make_head(anatomy_rng, grid, **head)
  points = grid.points_mm()
  positions = points - points.reshape(-1, 3).mean(0)
  inside = positions[anatomy.mask]
  fractions = anatomy.fractions[:, anatomy.mask]
  maps = tissues.tissue_maps(
    tissue_rng,
    inside,
    between_subjects=between_subjects,
    within_tissue=within_tissue,
  )
  b1 = b1_field(field_rng, inside, deviation=b1_deviation)
  lesion = None
  if lesions is not None:
    (lesion_rng,) = tissue_rng.spawn(1)
    white = fractions[tissues.TISSUES.index("wm")]
    maps["wm"], lesion = add_lesions(
      lesion_rng, inside, white, maps["wm"], **lesions
    )
  return Phantom(anatomy, grid, positions, fractions, maps, b1, lesion)
