"""K-space of the frames of a slice, from its acquisitions."""

import numpy as np
from jaxtyping import Complex64, Float32

from mrf_jax.importing.arms import Arms
from mrf_jax.kspace.density import density_weights


def frame_samples(
  samples: Complex64[np.ndarray, "acquisition coil sample"], arms: Arms
) -> Complex64[np.ndarray, "frame coil arm_sample"]:
  """Samples of each frame, arm after arm; zero where one is missing."""
  n_frames, n_arms = arms.shape
  if n_arms == 1:
    return samples[arms[:, 0]]
  of_arms = samples[arms]  # [frame, arm, coil, sample]
  of_arms[arms < 0] = 0
  _, n_coils, n_samples = samples.shape
  return of_arms.swapaxes(1, 2).reshape(n_frames, n_coils, n_arms * n_samples)


def frame_trajectory(
  trajectory: Float32[np.ndarray, "acquisition sample 2"], arms: Arms
) -> Float32[np.ndarray, "frame arm_sample 2"]:
  """Positions of these samples; of missing ones those of another arm."""
  known = arms.max(1, keepdims=True)
  positions = trajectory[np.where(arms < 0, known, arms)]
  return positions.reshape(len(arms), -1, 2)


def frame_weights(
  trajectory: Float32[np.ndarray, "frame sample 2"],
  arms: Arms,
  *,
  matrix: int,
) -> Float32[np.ndarray, "frame sample"]:
  """Density compensation, computed of each distinct trajectory only once.

  A missing acquisition weighs nothing, and the others of its frame the more, so
  that the frame is as bright as the others.

  Args:
    trajectory: of `frame_trajectory`.
    arms: acquisitions of each frame.
    matrix: voxels along x and y.
  """
  is_there = arms >= 0
  rows = trajectory.reshape(*arms.shape, -1)[is_there]
  _, first, place = np.unique(
    rows, axis=0, return_index=True, return_inverse=True
  )
  distinct = rows[first].reshape(len(first), -1, 2)
  # The share of each acquisition falls as its trajectory is repeated.
  weights = density_weights(distinct, matrix=matrix)[place.ravel()]
  weights *= np.float32(len(first) / len(rows))
  of_arms = np.zeros((*arms.shape, weights.shape[1]), np.float32)
  of_arms[is_there] = weights
  counts = np.count_nonzero(is_there, axis=1)
  if len(np.unique(counts)) > 1:
    scale = (counts.mean() / counts).astype(np.float32)
    of_arms *= scale[:, None, None]
  return of_arms.reshape(len(arms), -1)
