"""A simulated subject: head, scan, reference maps."""

import dataclasses
import os

import numpy as np
from jaxtyping import Float32, Inexact

from mrf_jax.dataset.subject import Subject
from mrf_jax.io.ismrmrd_writer import write_raw_data
from mrf_jax.kspace.spiral import Spiral
from mrf_jax.maps import Maps
from mrf_jax.phantom import tissue as tissues
from mrf_jax.phantom.anatomy import Head, SliceGrid, make_head
from mrf_jax.phantom.fields import b1_field, coil_sensitivities
from mrf_jax.phantom.lesions import add_lesions
from mrf_jax.runtime.progress import progress
from mrf_jax.scanner import mrf
from mrf_jax.scanner.reference import acquire_reference
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.signal.fingerprints import simulate_echoes

# A tissue that fills less of a voxel than this adds nothing to its signal.
_LEAST_FRACTION = 1e-4


@dataclasses.dataclass(frozen=True)
class Phantom:
  """A head in the scanner: what stands in its masked voxels.

  Attributes:
    anatomy: tissue fractions and mask on the slices of the scan.
    grid: those slices.
    positions_mm: centres of all voxels from the middle of the field of view,
      [slice, y, x, 3], mm.
    fractions: volume share of each tissue, [tissue, voxel].
    tissues: each tissue's own maps, [voxel].
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
    """The masked voxels of a slice."""
    counts = self.anatomy.mask.sum((1, 2))
    return slice(int(counts[:z].sum()), int(counts[: z + 1].sum()))

  def by_distance_from_the_middle(self) -> list[int]:
    """Slices that hold brain, the middle one first."""
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
  """A subject's head with its tissue values and B1.

  Args:
    rng: the subject's random numbers, from which streams are spawned.
    grid: the slices of the scan.
    head: arguments of `make_head`.
    between_subjects: relative standard deviation of T1 and T2 over subjects.
    within_tissue: relative standard deviation inside a tissue.
    b1_deviation: largest deviation of B1 from one.
    lesions: arguments of `add_lesions`; None adds none.

  Returns:
    The phantom.
  """
  # Separate streams: another noise level leaves the anatomy as it is.
  anatomy_rng, tissue_rng, field_rng = rng.spawn(3)
  anatomy = make_head(anatomy_rng, grid, **head)
  points = grid.points_mm()
  positions = points - points.reshape(-1, 3).mean(0)
  inside = positions[anatomy.mask]
  fractions = anatomy.fractions[:, anatomy.mask]
  made = tissues.tissue_maps(
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
    made["wm"], lesion = add_lesions(
      lesion_rng, inside, white, made["wm"], **lesions
    )
  return Phantom(anatomy, grid, positions, fractions, made, b1, lesion)


def true_signals(
  phantom: Phantom, sequence: Sequence, z: int
) -> Inexact[np.ndarray, "voxel frame"]:
  """Signals of the masked voxels of a slice without noise, every frame.

  The sum over a voxel's tissues, each simulated at its own T1, T2 and B1.

  Args:
    phantom: the head.
    sequence: the train.
    z: the slice.

  Returns:
    float32, or complex64 where the phases of the pulses differ.
  """
  rows = phantom.rows(z)
  fractions, b1 = phantom.fractions[:, rows], phantom.b1[rows]
  signals = np.zeros(
    (fractions.shape[1], sequence.n_frames),
    np.float32 if sequence.has_real_echoes else np.complex64,
  )
  for fraction, tissue in zip(fractions, phantom.tissues.values(), strict=True):
    there = np.flatnonzero(fraction > _LEAST_FRACTION)
    if not there.size:
      continue
    pd, t1_ms, t2_ms = (
      m[rows][there] for m in (tissue.pd, tissue.t1_ms, tissue.t2_ms)
    )
    echoes = simulate_echoes(sequence, t1_ms, t2_ms, b1=b1[there])
    signals[there] += (fraction[there] * pd)[:, None] * echoes
  return signals


def mean_magnitude(signals: Inexact[np.ndarray, "voxel frame"]) -> float:
  """Mean of |signal| over the middle slice: what noise is relative to.

  Args:
    signals: of `true_signals`, of the first slice that
      `by_distance_from_the_middle` names.
  """
  return float(np.abs(signals).mean(dtype=np.float64))


def simulate_subject(
  name: str,
  rng: np.random.Generator,
  *,
  grid: SliceGrid,
  sequence: Sequence,
  spiral: Spiral,
  phantom: dict,
  n_coils: int,
  noise_level: float,
  window: int,
  stride: int,
  subspace_tolerance: float,
  reference: dict,
  field_strength_t: float = 1.5,
  raw_path: str | os.PathLike | None = None,
) -> Subject:
  """Makes, scans and measures one head.

  Args:
    name: the subject's name.
    rng: random numbers; the same give the same subject.
    grid: the slices of the scan.
    sequence: the fingerprinting train, played once for each slice.
    spiral: its readout.
    phantom: arguments of `make_phantom`.
    n_coils: receive coils.
    noise_level: standard deviation of the noise in the real and in the
      imaginary part of the window images (of unaccelerated sensitivity one),
      relative to `mean_magnitude`.
    window: frames of the sliding window.
    stride: frames from one window to the next.
    subspace_tolerance: relative error of the forward model's subspace.
    reference: arguments of `acquire_reference`.
    field_strength_t: main field, tesla; relaxation times are those of 1.5 T.
    raw_path: ISMRMRD file that the k-space goes to; None keeps none.

  Returns:
    The subject with signals, reference maps and truth.
  """
  made = make_phantom(rng, grid, **phantom)
  scan_rng, reference_rng = rng.spawn(2)
  mask = made.anatomy.mask
  n_windows = sequence.n_windows(window=window, stride=stride)
  signals = np.empty((int(mask.sum()), n_windows), np.complex64)
  noise_sd = np.empty(len(signals), np.float32)
  noise_rngs = scan_rng.spawn(grid.n_slices)
  order = made.by_distance_from_the_middle()
  unit_sd = None
  raw = None
  if raw_path is not None:
    n_samples = spiral.trajectory.shape[1]
    shape = (grid.n_slices, sequence.n_frames, n_coils, n_samples)
    raw = np.zeros(shape, np.complex64)
  for z in progress(order, total=len(order), text=f"scanning {name}"):
    rows = made.rows(z)
    true = true_signals(made, sequence, z)
    if unit_sd is None:
      unit_sd = noise_level * mean_magnitude(true)
    sensitivities = coil_sensitivities(
      made.positions_mm[z].reshape(-1, 3), n_coils=n_coils
    ).reshape(n_coils, grid.matrix, grid.matrix)
    signals[rows] = mrf.scan_slice(
      noise_rngs[z],
      true,
      mask[z],
      sensitivities,
      spiral,
      noise_sd=unit_sd / spiral.noise_gain(),
      window=window,
      stride=stride,
      tolerance=subspace_tolerance,
      samples=None if raw is None else raw[z],
    )
    power = np.sum(np.abs(sensitivities[:, mask[z]]) ** 2, 0)
    noise_sd[rows] = unit_sd / np.sqrt(power)
  if raw_path is not None and raw is not None:
    arms = np.arange(sequence.n_frames) % spiral.n_arms
    write_raw_data(
      raw_path,
      raw,
      spiral.trajectory[arms],
      matrix=grid.matrix,
      affine=grid.affine,
      field_strength_t=field_strength_t,
    )
  return Subject(
    subject=name,
    mask=mask,
    signals=signals,
    affine=grid.affine,
    sequence=sequence,
    window=window,
    stride=stride,
    field_strength_t=field_strength_t,
    provenance="simulated by mrf_jax from the MNI152 tissue maps",
    maps=acquire_reference(
      reference_rng, made.fractions, made.tissues, made.b1, **reference
    ),
    truth=tissues.mix(made.fractions, made.tissues),
    head_to_atlas=made.anatomy.head_to_atlas,
    true_b1=made.b1,
    noise_sd=noise_sd,
    lesion=made.lesion,
  )
