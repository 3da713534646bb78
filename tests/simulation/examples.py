"""A simulated head with no cause of error but B1, partial volume and noise."""

import numpy as np

from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.simulation import head
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.imperfections import IDEAL
from mrf_jax.simulation.subject import simulate_subject

HEAD = {**head.HEAD, "deep_grey": False}
PHANTOM = {
  **head.PHANTOM,
  "head": HEAD,
  "local_variation": None,
  "b1_deviation": 0.15,
  "b0": None,
  "phase_deg": 0.0,
}
REFERENCE = {**head.REFERENCE, "t2_bound_ms": None}


def scan_head(
  acquisition,
  *,
  phantom=PHANTOM,
  n_slices=1,
  noise_level=0.0,
  readout_ms=10.92,
  imperfections=IDEAL,
):
  """A simulated subject of a small head, of an ideal scanner by default."""
  spiral = {**head.SPIRAL, "readout_ms": readout_ms}
  return simulate_subject(
    "simulated",
    np.random.default_rng([0, 0]),
    grid=SliceGrid(
      n_slices=n_slices,
      matrix=32,
      fov_mm=256,
      slice_thickness_mm=3,
      centre_z_mm=15,
    ),
    acquisition=acquisition,
    spiral=make_spiral(matrix=32, samples_per_arm=85, **spiral),
    phantom=phantom,
    n_coils=2,
    noise_level=noise_level,
    subspace_tolerance=head.SUBSPACE_TOLERANCE,
    reference=REFERENCE,
    imperfections=imperfections,
  )
