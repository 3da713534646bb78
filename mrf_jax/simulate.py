"""A simulated subject: head, scan, reference maps."""

import numpy as np

from mrf_jax.dataset.subject import Subject
from mrf_jax.parallel import progress
from mrf_jax.phantom import tissue as tissues
from mrf_jax.phantom.anatomy import SliceGrid, make_head
from mrf_jax.phantom.fields import b1_field, coil_sensitivities
from mrf_jax.scanner import mrf
from mrf_jax.scanner.reference import acquire_reference
from mrf_jax.scanner.spiral import Spiral
from mrf_jax.sequence import Sequence
from mrf_jax.signal.fingerprints import simulate_echoes

# A tissue that fills less of a voxel than this adds nothing to its signal.
_LEAST_FRACTION = 1e-4


def simulate_subject(
  name: str,
  rng: np.random.Generator,
  *,
  grid: SliceGrid,
  sequence: Sequence,
  spiral: Spiral,
  head: dict,
  between_subjects: float,
  within_tissue: float,
  b1_deviation: float,
  n_coils: int,
  noise_level: float,
  window: int,
  stride: int,
  subspace_tolerance: float,
  reference: dict,
  field_strength_t: float = 1.5,
) -> Subject:
  """Makes, scans and measures one head.

  Args:
    name: the subject's name.
    rng: random numbers; the same give the same subject.
    grid: the slices of the scan.
    sequence: the fingerprinting train, played once for each slice.
    spiral: its readout.
    head: arguments of `make_head`.
    between_subjects: relative standard deviation of T1 and T2 over subjects.
    within_tissue: relative standard deviation inside a tissue.
    b1_deviation: largest deviation of B1 from one.
    n_coils: receive coils.
    noise_level: standard deviation of the noise in the real and in the
      imaginary part of the window images (of unaccelerated sensitivity one),
      relative to the mean magnitude of the noise-free signals.
    window: frames of the sliding window.
    stride: frames from one window to the next.
    subspace_tolerance: relative error of the forward model's subspace.
    reference: arguments of `acquire_reference`.
    field_strength_t: main field, tesla; relaxation times are those of 1.5 T.

  Returns:
    The subject with signals, reference maps and truth.
  """
  # Separate streams: another noise level leaves the anatomy as it is.
  anatomy_rng, tissue_rng, field_rng, scan_rng, reference_rng = rng.spawn(5)
  anatomy = make_head(anatomy_rng, grid, **head)
  points = grid.points_mm()
  centred = points - points.reshape(-1, 3).mean(0)
  inside = centred[anatomy.mask]
  fractions = anatomy.fractions[:, anatomy.mask]
  maps = tissues.tissue_maps(
    tissue_rng,
    inside,
    between_subjects=between_subjects,
    within_tissue=within_tissue,
  )
  b1 = b1_field(field_rng, inside, deviation=b1_deviation)

  counts = anatomy.mask.sum((1, 2))
  ends = np.cumsum(counts)
  n_windows = (sequence.n_frames - window) // stride + 1
  signals = np.empty((int(ends[-1]), n_windows), np.complex64)
  noise_rngs = scan_rng.spawn(grid.n_slices)
  noise_sd = None
  # From the middle outwards: the middle slice sets the noise of the scan.
  order = np.argsort(np.abs(np.arange(grid.n_slices) - grid.n_slices // 2))
  for z in progress(order, total=len(order), text=f"scanning {name}"):
    if not counts[z]:
      continue
    rows = slice(ends[z] - counts[z], ends[z])
    true = _fingerprints(sequence, fractions[:, rows], maps, b1[rows], rows)
    if noise_sd is None:
      mean = np.abs(true).mean(dtype=np.float64)
      noise_sd = noise_level * mean / spiral.noise_gain()
    sensitivities = coil_sensitivities(
      centred[z].reshape(-1, 3), n_coils=n_coils
    ).reshape(n_coils, grid.matrix, grid.matrix)
    signals[rows] = mrf.scan_slice(
      noise_rngs[z],
      true,
      anatomy.mask[z],
      sensitivities,
      spiral,
      noise_sd=noise_sd,
      window=window,
      stride=stride,
      tolerance=subspace_tolerance,
    )
  return Subject(
    subject=name,
    mask=anatomy.mask,
    signals=signals,
    affine=grid.affine,
    sequence=sequence,
    window=window,
    stride=stride,
    field_strength_t=field_strength_t,
    provenance="simulated by mrf_jax from the MNI152 tissue maps",
    maps=acquire_reference(reference_rng, fractions, maps, b1, **reference),
    truth=tissues.mix(fractions, maps),
    head_to_atlas=anatomy.head_to_atlas,
  )


def _fingerprints(sequence, fractions, maps, b1, rows) -> np.ndarray:
  """True signals of the voxels of a slice, [voxel, frame].

  The sum over a voxel's tissues, each simulated at its own T1, T2 and B1.
  """
  real = sequence.has_constant_phase
  signals = np.zeros(
    (fractions.shape[1], sequence.n_frames),
    np.float32 if real else np.complex64,
  )
  for fraction, tissue in zip(fractions, maps.values(), strict=True):
    there = np.flatnonzero(fraction > _LEAST_FRACTION)
    if not there.size:
      continue
    pd, t1_ms, t2_ms = (
      m[rows][there] for m in (tissue.pd, tissue.t1_ms, tissue.t2_ms)
    )
    echoes = simulate_echoes(sequence, t1_ms, t2_ms, b1=b1[there])
    signals[there] += (fraction[there] * pd)[:, None] * echoes
  return signals
