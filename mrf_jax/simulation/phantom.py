"""Digital phantom: a head with its tissues, B1 field and lesions."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Complex128, Float32, Float64

from mrf_jax.maps import Maps
from mrf_jax.simulation import tissue as tissues
from mrf_jax.simulation.anatomy import Head, SliceGrid, make_head, moved
from mrf_jax.simulation.fields import b0_field, b1_field, smooth_noise
from mrf_jax.simulation.lesions import Lesions, add_lesions
from mrf_jax.simulation.tissue import FIELD_STRENGTH_T


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
    rates_per_s: precession by the main field's offset and its decay by the
      variation within a voxel, 2πi f − R2', [voxel], 1/s, or None.
    phases_rad: phase of the object, which is in all images, [voxel], or None.
    lesions: lesions, or None.
    origin: what the head was made from, in words.
    field_strength_t: main field, T.
    is_sampled: its tissues are samples at places within a voxel, all of the
      same range of T1 and T2, see `make_map_phantom`.
  """

  anatomy: Head
  grid: SliceGrid
  positions_mm: Float32[np.ndarray, "slice y x 3"]
  fractions: Float32[np.ndarray, "tissue voxel"]
  tissues: dict[str, Maps]
  b1: Float32[np.ndarray, "voxel"]
  rates_per_s: Complex128[np.ndarray, "voxel"] | None = None
  phases_rad: Float32[np.ndarray, "voxel"] | None = None
  lesions: Lesions | None = None
  origin: str = "the MNI152 tissue maps"
  field_strength_t: float = FIELD_STRENGTH_T
  is_sampled: bool = False

  @property
  def b0_hz(self) -> Float32[np.ndarray, "voxel"] | None:
    """Offset of the main field, [voxel], Hz, or None."""
    if self.rates_per_s is None:
      return None
    return (self.rates_per_s.imag / (2 * np.pi)).astype(np.float32)

  def within(self, is_kept: Bool[np.ndarray, "voxel"]) -> "Phantom":
    """The phantom of some of its masked voxels."""
    mask = self.anatomy.mask.copy()
    mask[self.anatomy.mask] = is_kept

    def kept(values):
      return None if values is None else values[is_kept]

    lesions = self.lesions
    if lesions is not None:
      lesions = dataclasses.replace(lesions, share=lesions.share[is_kept])
    return dataclasses.replace(
      self,
      anatomy=dataclasses.replace(self.anatomy, mask=mask),
      fractions=self.fractions[:, is_kept],
      tissues={
        name: Maps.unstack(maps.stack()[is_kept])
        for name, maps in self.tissues.items()
      },
      b1=self.b1[is_kept],
      rates_per_s=kept(self.rates_per_s),
      phases_rad=kept(self.phases_rad),
      lesions=lesions,
    )

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
  local_variation: dict | None = None,
  field_strength_t: float = FIELD_STRENGTH_T,
  lesions: dict | None = None,
  poses: Float64[np.ndarray, "slice 4 4"] | None = None,
  mask: Bool[np.ndarray, "slice y x"] | None = None,
  **fields: Any,
) -> Phantom:
  """Makes the head of a subject with its tissue values and B1.

  Args:
    rng: random numbers of the subject.
    grid: the slices of the scan.
    head: arguments of `make_head`.
    between_subjects: relative standard deviation of T1 and T2 over subjects.
    within_tissue: relative standard deviation inside a tissue.
    local_variation: see `tissue_maps`; None is none.
    field_strength_t: main field, T.
    lesions: arguments of `add_lesions`; None adds none.
    poses: where the head is while each slice is scanned, see `moved`; B1 and
      the main field go with it. None is at rest.
    mask: its voxels; None are those that are at least half brain.
    **fields: further arguments of `make_fields`: `b1_deviation`, `b0` and
      `phase_deg`.
  """
  # Separate streams: a change of one part leaves the others as they are.
  anatomy_rng, tissue_rng, field_rng = rng.spawn(3)
  anatomy = make_head(anatomy_rng, grid, **head, poses=poses)
  if mask is not None:
    anatomy = dataclasses.replace(anatomy, mask=mask)
  points = grid.points_mm()
  middle = points.reshape(-1, 3).mean(0)
  in_head = moved(points, poses)
  inside = in_head[anatomy.mask] - middle
  fractions = anatomy.fractions[:, anatomy.mask]
  maps = tissues.tissue_maps(
    tissue_rng,
    inside,
    between_subjects=between_subjects,
    within_tissue=within_tissue,
    local_variation=local_variation,
    field_strength_t=field_strength_t,
    nuclei=None if anatomy.nuclei is None else anatomy.nuclei[anatomy.mask],
  )
  b1, rates, phases = make_fields(
    field_rng,
    in_head[anatomy.mask],
    middle,
    fractions[tissues.TISSUES.index("csf")],
    field_strength_t=field_strength_t,
    **fields,
  )
  added = None
  if lesions is not None:
    (lesion_rng,) = tissue_rng.spawn(1)
    white = fractions[tissues.TISSUES.index("wm")]
    maps["wm"], added = add_lesions(
      lesion_rng, inside, white, maps["wm"], **lesions
    )
  return Phantom(
    anatomy,
    grid,
    points - middle,
    fractions,
    maps,
    b1,
    rates,
    phases,
    added,
    field_strength_t=field_strength_t,
  )


def make_fields(
  rng: np.random.Generator,
  points_mm: Float32[np.ndarray, "voxel 3"],
  middle_mm: Float32[np.ndarray, "3"],
  fluid: Float32[np.ndarray, "voxel"],
  *,
  field_strength_t: float,
  b1_deviation: float,
  b0: dict | None = None,
  phase_deg: float = 0.0,
) -> tuple[
  Float32[np.ndarray, "voxel"],
  Complex128[np.ndarray, "voxel"] | None,
  Float32[np.ndarray, "voxel"] | None,
]:
  """B1, rates of the main field and phases of the object, as in `Phantom`.

  Args:
    rng: random numbers of the fields.
    points_mm: places in the head at rest, RAS mm.
    middle_mm: the middle of the field of view, RAS mm.
    fluid: volume share of CSF.
    field_strength_t: main field, T.
    b1_deviation: largest deviation of B1 from one.
    b0: arguments of `b0_field`, and `r2_prime_per_s`, the rate of decay in
      white and grey matter, 1/s; None is a field without offset.
    phase_deg: standard deviation of the object's phase, smooth over 60 mm, as
      of pulses and eddy currents, degrees.
  """
  inside = points_mm - middle_mm
  b1 = b1_field(rng, inside, deviation=b1_deviation)
  # Separate streams, as of the parts of a head.
  b0_rng, phase_rng = rng.spawn(2)
  rates = None
  if b0 is not None:
    rates = _rates_per_s(b0_rng, points_mm, fluid, field_strength_t, **b0)
  phases = None
  if phase_deg:
    phase = smooth_noise(phase_rng, inside, correlation_mm=60.0)
    phases = (np.deg2rad(phase_deg) * phase).astype(np.float32)
  return b1, rates, phases


def _rates_per_s(
  rng: np.random.Generator,
  points_mm: Float32[np.ndarray, "voxel 3"],
  fluid: Float32[np.ndarray, "voxel"],
  field_strength_t: float,
  *,
  r2_prime_per_s: float,
  **field,
) -> Complex128[np.ndarray, "voxel"]:
  """2πi f − R2' of each voxel; the share of CSF does not decay."""
  frequency_hz = b0_field(
    rng, points_mm, field_strength_t=field_strength_t, **field
  )
  return 2j * np.pi * frequency_hz.astype(np.float64) - r2_prime_per_s * (
    1 - fluid
  )
