"""Subjects of random signals and maps."""

import numpy as np

from mrf_jax.dataset.subject import Subject
from mrf_jax.maps import Maps
from mrf_jax.sequence.acquisition import Acquisition
from tests.laws import complex_noise


def random_maps(n_voxels: int, seed: int = 0) -> Maps:
  """PD, T1 and T2 within the ranges of a brain, float32."""
  values = np.random.default_rng(seed).uniform(
    (0.5, 500, 40), (1.0, 3000, 300), (n_voxels, 3)
  )
  return Maps.unstack(values.astype(np.float32))


def make_subject(
  mask, acquisition: Acquisition, seed: int = 0, **fields
) -> Subject:
  """A scan of 2 × 2 × 5 mm voxels, but for the fields that are given."""
  n_voxels = int(np.count_nonzero(mask))
  values = {
    "subject": f"subject {seed}",
    "mask": mask,
    "signals": complex_noise(n_voxels, acquisition.n_windows, seed=seed),
    "affine": np.diag([2.0, 2.0, 5.0, 1.0]),
    "acquisition": acquisition,
    "field_strength_t": 1.5,
    "provenance": "simulated",
    "maps": random_maps(n_voxels, seed),
  }
  return Subject(**{**values, **fields})
