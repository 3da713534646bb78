"""One simulated head and its scan, with the values of the demo, from Python.

Experiments simulate from a configuration (`experiment/subjects.py`); this is
for examples and tests of one's own.
"""

import os
from typing import Any

import numpy as np

from mrf_jax.checks import check_at_least
from mrf_jax.dataset.subject import Subject
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.imperfections import Imperfections
from mrf_jax.simulation.subject import simulate_subject

# As in the configurations, with reasons there; a test compares them.
HEAD = {
  "sharpness": 4.0,
  "warp_mm": 3.0,
  "rotation_deg": 3.0,
  "scaling": 0.03,
  "deep_grey": True,
  "partial_volume": True,
}
PHANTOM = {
  "head": HEAD,
  "lesions": None,
  "between_subjects": 0.03,
  "within_tissue": 0.04,
  "local_variation": {"wm": 0.02, "gm": 0.1, "csf": 0.0},
  "field_strength_t": 1.5,
  "b1_deviation": 0.1,
  "b0": {"shim_hz": 8.0, "air_cavities": True, "r2_prime_per_s": 3.0},
  "phase_deg": 20.0,
}
IMPERFECTIONS = Imperfections(
  inversion_efficiency=0.96,
  motion={
    "between_scans_mm": 0.5,
    "between_scans_deg": 0.5,
    "between_slices_mm": 0.2,
    "between_slices_deg": 0.2,
  },
  gradient_delays_us=(1.0, 0.5),
  noise_correlation=0.2,
  estimated_sensitivities=True,
)
REFERENCE = {
  "flip_angles_deg": (1.0, 2.0, 5.0, 8.0, 11.0, 14.0, 25.0),
  "vfa_tr_ms": 5.85,
  "te_ms": tuple(20.0 * echo for echo in range(1, 9)),
  "fse_tr_ms": 1626.0,
  "refocusing_deg": 180.0,
  "noise_level": 0.01,
  "t2_bound_ms": 1200.0,
}
SPIRAL: dict[str, Any] = {
  "n_arms": 48,
  "density_power": 1.25,
  "readout_ms": 10.92,
}
FOV_MM = 256.0
SUBSPACE_TOLERANCE = 1e-4


def simulate_head(
  acquisition: Acquisition,
  *,
  seed: int = 0,
  matrix: int = 96,
  n_slices: int = 1,
  slice_thickness_mm: float = 3.0,
  centre_z_mm: float = 15.0,
  n_coils: int = 4,
  noise_level: float = 0.03,
  raw_path: str | os.PathLike | None = None,
) -> Subject:
  """Simulates a head at 1.5 T, its spiral scan and its reference maps.

  The scanner errs as that of the demo does, and the profile of the slice is
  that of the sequence: `make_sequence(…, slice_time_bandwidth=4.0)`.

  Args:
    acquisition: the pulse sequence and its sliding window; one of 48 frames
      samples k-space fully.
    seed: of head and noise; equal seeds give equal scans.
    matrix: voxels along x and along y, within 256 mm.
    n_slices: number of slices.
    slice_thickness_mm: thickness of the slices, mm.
    centre_z_mm: height of the middle of the slices in MNI space, mm.
    n_coils: number of receive coils.
    noise_level: standard deviation of the noise on the real and on the
      imaginary part of the window images, relative to the mean magnitude of
      the signals.
    raw_path: ISMRMRD file that the k-space is written to, or None.

  Returns:
    A subject called simulated, with signals, reference maps with their own
    errors, and true maps.

  Raises:
    UserError: a number is below its least value, the slices contain no brain,
      or the file cannot be written.
  """
  for name, value, least in (
    ("seed", seed, 0),
    ("matrix", matrix, 16),
    ("n_slices", n_slices, 1),
    ("n_coils", n_coils, 1),
    ("noise_level", noise_level, 0.0),
    ("slice_thickness_mm", slice_thickness_mm, 0.1),
  ):
    check_at_least(f"simulate_head: {name}", value, least)
  # Two to three times as many samples of an arm as voxels, as in the demo.
  spiral = make_spiral(
    matrix=matrix, samples_per_arm=max(64, 8 * matrix // 3), **SPIRAL
  )
  return simulate_subject(
    f"simulated-{seed:02d}",
    np.random.default_rng([seed, 0]),
    grid=SliceGrid(
      n_slices=n_slices,
      matrix=matrix,
      fov_mm=FOV_MM,
      slice_thickness_mm=slice_thickness_mm,
      centre_z_mm=centre_z_mm,
    ),
    acquisition=acquisition,
    spiral=spiral,
    phantom=PHANTOM,
    n_coils=n_coils,
    noise_level=noise_level,
    subspace_tolerance=SUBSPACE_TOLERANCE,
    reference=REFERENCE,
    imperfections=IMPERFECTIONS,
    raw_path=raw_path,
  )
