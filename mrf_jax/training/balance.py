"""Rare tissues weigh in training what frequent ones do."""

import numpy as np
from jaxtyping import Float

# Bins of log T1, and the deviation of the kernel that smooths their counts.
_BIN = 0.02
_SMOOTHING = 0.1


def balancing_weights(
  t1_ms: Float[np.ndarray, "voxel"], *, exponent: float
) -> Float[np.ndarray, "voxel"]:
  """Weights of voxels by how rare their T1 is, of mean one.

  w = p(log T1)^(−exponent), p smoothed (Yang 2021)

  With an exponent of one every T1 weighs the same, with zero every voxel.

  Args:
    t1_ms: reference T1 of the training subjects, [voxel], ms.
    exponent: from 0 to 1.
  """
  log_t1 = np.log(np.maximum(t1_ms.astype(float), 1))
  bins = np.rint((log_t1 - log_t1.min()) / _BIN).astype(int)
  reach = int(np.ceil(3 * _SMOOTHING / _BIN))
  kernel = np.exp(
    -((np.arange(-reach, reach + 1) * _BIN / _SMOOTHING) ** 2) / 2
  )
  density = np.convolve(np.bincount(bins), kernel)[
    reach : reach + bins.max() + 1
  ]
  weights = density[bins] ** -exponent
  return weights / weights.mean()
