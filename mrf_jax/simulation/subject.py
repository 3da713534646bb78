"""A simulated subject: head, scan, reference maps."""

import os

import numpy as np

from mrf_jax.dataset.subject import Subject
from mrf_jax.io.ismrmrd_writer import write_raw_data
from mrf_jax.kspace.spiral import Spiral
from mrf_jax.runtime.progress import progress
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.simulation import scan
from mrf_jax.simulation import tissue as tissues
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.fields import coil_sensitivities
from mrf_jax.simulation.phantom import make_phantom
from mrf_jax.simulation.reference import acquire_reference
from mrf_jax.simulation.scan import mean_magnitude, true_signals


def simulate_subject(
  name: str,
  rng: np.random.Generator,
  *,
  grid: SliceGrid,
  acquisition: Acquisition,
  spiral: Spiral,
  phantom: dict,
  n_coils: int,
  noise_level: float,
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
    acquisition: the pulse sequence, played once for each slice, and the
      sliding window of its reconstruction.
    spiral: its readout.
    phantom: arguments of `make_phantom`.
    n_coils: receive coils.
    noise_level: standard deviation of the noise in the real and in the
      imaginary part of the window images (of unaccelerated sensitivity one),
      relative to `mean_magnitude`.
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
  sequence = acquisition.sequence
  signals = np.empty((int(mask.sum()), acquisition.n_windows), np.complex64)
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
    signals[rows] = scan.scan_slice(
      noise_rngs[z],
      true,
      mask[z],
      sensitivities,
      spiral,
      noise_sd=unit_sd / spiral.noise_gain(),
      window=acquisition.window,
      stride=acquisition.stride,
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
    acquisition=acquisition,
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
