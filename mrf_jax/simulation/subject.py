"""Simulated subject: a head, its scan and its reference maps."""

import copy
import dataclasses
import os
from collections.abc import Mapping

import numpy as np
from jaxtyping import Complex64, Float, Float32

from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.io.ismrmrd_writer import write_raw_data
from mrf_jax.kspace.spiral import Spiral
from mrf_jax.runtime.progress import progress
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.simulation import tissue as tissues
from mrf_jax.simulation.anatomy import SliceGrid, random_poses
from mrf_jax.simulation.fields import coil_sensitivities
from mrf_jax.simulation.imperfections import IDEAL, Imperfections
from mrf_jax.simulation.map_phantom import phantom_of
from mrf_jax.simulation.phantom import Phantom
from mrf_jax.simulation.reference import acquire_reference
from mrf_jax.simulation.scan import noise_covariance, scan_slice
from mrf_jax.simulation.true_signals import make_true_signals, mean_magnitude

# Streams of random numbers of a subject without motion: three of the phantom,
# of the scan and of the reference scans.
_N_STREAMS = 5
# No map has factors of zero or below.
_LEAST_B1 = 0.05


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
  reference: dict | None,
  imperfections: Imperfections = IDEAL,
  raw_path: str | os.PathLike | None = None,
) -> Subject:
  """Makes a head, scans it and acquires its reference maps.

  Args:
    name: name of the subject.
    rng: random numbers; the same give the same subject.
    grid: the slices of the scan.
    acquisition: the pulse sequence, played once for each slice, and its
      sliding window.
    spiral: the readout.
    phantom: arguments of `phantom_of`.
    n_coils: number of receive coils.
    noise_level: standard deviation of the noise on the real and on the
      imaginary part of the window images (with sensitivity one, without
      undersampling), relative to `mean_magnitude`.
    subspace_tolerance: relative error of true signals, which are interpolated
      in a temporal subspace, see `make_true_signals`.
    reference: arguments of `acquire_reference`; None takes the true maps for
      reference maps.
    imperfections: of the scan; the default is an ideal scanner.
    raw_path: ISMRMRD file for the k-space, or None.

  Returns:
    The subject with signals, reference maps and truth.
  """
  # Another stream than all others, so that these stay as they are.
  *_, b1_rng = copy.deepcopy(rng).spawn(_N_STREAMS + 2)
  head, at_rest = _in_both_scans(rng, grid, phantom, imperfections.motion)
  scan_rng, reference_rng = rng.spawn(2)
  n_frames = acquisition.sequence.n_frames
  samples = None
  if raw_path is not None:
    n_samples = spiral.trajectory.shape[1]
    shape = (grid.n_slices, n_frames, n_coils, n_samples)
    samples = np.zeros(shape, np.complex64)
  signals, noise_sd = scan_phantom(
    head,
    scan_rng,
    acquisition,
    spiral,
    n_coils=n_coils,
    noise_level=noise_level,
    tolerance=subspace_tolerance,
    imperfections=imperfections,
    samples=samples,
    text=f"scanning {name}",
  )
  if raw_path is not None and samples is not None:
    arms = np.arange(n_frames) % spiral.n_arms
    write_raw_data(
      raw_path,
      samples,
      spiral.trajectory[arms],
      matrix=grid.matrix,
      affine=grid.affine,
      tr_ms=acquisition.sequence.tr_ms,
      field_strength_t=head.field_strength_t,
    )
  truth = tissues.mix(head.fractions, head.tissues)
  return Subject(
    subject=name,
    mask=head.anatomy.mask,
    signals=signals,
    affine=grid.affine,
    acquisition=acquisition,
    field_strength_t=head.field_strength_t,
    provenance=f"simulated by mrf_jax from {head.origin}",
    maps=truth
    if reference is None
    else acquire_reference(
      reference_rng,
      at_rest.fractions,
      at_rest.tissues,
      at_rest.b1,
      slice_time_bandwidth=acquisition.sequence.slice_time_bandwidth,
      **reference,
    ),
    truth=truth,
    head_to_atlas=head.anatomy.head_to_atlas,
    true_b1=head.b1,
    b1=_measured_b1(b1_rng, head.b1, imperfections.b1_map_error),
    true_b0_hz=head.b0_hz,
    noise_sd=noise_sd,
    lesion=None if head.lesions is None else head.lesions.share,
  )


def _measured_b1(
  rng: np.random.Generator,
  b1: Float[np.ndarray, "voxel"],
  error: float | None,
) -> Float32[np.ndarray, "voxel"] | None:
  """B1 as a scan of it would find it; None without an error measures none."""
  if error is None:
    return None
  measured = b1 + error * rng.standard_normal(len(b1))
  return measured.clip(_LEAST_B1).astype(np.float32)


def _in_both_scans(
  rng: np.random.Generator,
  grid: SliceGrid,
  phantom: dict,
  motion: Mapping[str, float] | None,
) -> tuple[Phantom, Phantom]:
  """The head in the scan and, at rest, while its reference maps are acquired.

  Both have the voxels that are at least half brain in both.

  Raises:
    UserError: there are none, or the head leaves the field of view.
  """
  if motion is None:
    head = phantom_of(rng, grid, **phantom)
    return head, head
  # The same random numbers make the same head. Another stream than all others
  # moves it, so that these stay as they are.
  again, apart = copy.deepcopy(rng), copy.deepcopy(rng)
  *_, motion_rng = apart.spawn(_N_STREAMS + 1)
  poses = random_poses(motion_rng, grid, **motion)
  at_rest = phantom_of(again, grid, **phantom)
  mask = at_rest.anatomy.mask
  if at_rest.lesions is not None:
    lesions = phantom["lesions"] | {"centres_mm": at_rest.lesions.centres_mm}
    phantom = phantom | {"lesions": lesions}
  head = phantom_of(rng, grid, **phantom, poses=poses, mask=mask)
  is_brain = head.fractions.sum(0) >= 0.5
  if not is_brain.any():
    raise UserError("data.motion: no voxel is brain in both scans")
  return head.within(is_brain), at_rest.within(is_brain)


def scan_phantom(
  head: Phantom,
  rng: np.random.Generator,
  acquisition: Acquisition,
  spiral: Spiral,
  *,
  n_coils: int,
  noise_level: float,
  tolerance: float,
  imperfections: Imperfections = IDEAL,
  samples: Complex64[np.ndarray, "slice frame coil sample"] | None,
  text: str,
) -> tuple[Complex64[np.ndarray, "voxel window"], Float32[np.ndarray, "voxel"]]:
  """Signals of all slices, and the standard deviation of their noise."""
  mask, matrix = head.anatomy.mask, head.grid.matrix
  signals = np.empty((int(mask.sum()), acquisition.n_windows), np.complex64)
  noise_sd = np.empty(len(signals), np.float32)
  noise_rngs = rng.spawn(len(mask))
  order = head.by_distance_from_the_middle()
  stated = acquisition.sequence
  efficiency = stated.inversion_efficiency * imperfections.inversion_efficiency
  played = dataclasses.replace(stated, inversion_efficiency=efficiency)
  signals_of = make_true_signals(head, played, tolerance=tolerance)
  covariance = noise_covariance(n_coils, imperfections.noise_correlation)
  unit_sd = None  # of an image with sensitivity one
  for z in progress(order, total=len(order), text=text):
    rows = head.rows(z)
    true = signals_of.of_slice(z)
    if unit_sd is None:
      unit_sd = noise_level * mean_magnitude(true)
    sensitivities = coil_sensitivities(
      head.positions_mm[z].reshape(-1, 3), n_coils=n_coils
    ).reshape(n_coils, matrix, matrix)
    if head.phases_rad is not None:
      true = true * np.exp(1j * head.phases_rad[rows, None])
    rates = None
    if head.rates_per_s is not None:
      rates = head.rates_per_s[rows]
      # From the pulse to the echo; `scan_slice` goes on from there.
      te_s = 1e-3 * acquisition.sequence.te_ms
      te_s = te_s[:1] if np.all(te_s == te_s[0]) else te_s
      true = true * np.exp(rates[:, None] * te_s).astype(np.complex64)
    signals[rows] = scan_slice(
      noise_rngs[z],
      true,
      mask[z],
      sensitivities,
      spiral,
      noise_sd=unit_sd / spiral.noise_gain(),
      window=acquisition.window,
      stride=acquisition.stride,
      samples=None if samples is None else samples[z],
      rates_per_s=rates,
      imperfections=imperfections,
    )
    # The combination Σ conj(s) image / Σ |s|² has this noise.
    of_voxels = sensitivities[:, mask[z]]
    power = np.sum(np.abs(of_voxels) ** 2, 0)
    variance = np.sum(of_voxels.conj() * (covariance @ of_voxels), 0).real
    noise_sd[rows] = unit_sd * np.sqrt(variance) / power
  return signals, noise_sd
