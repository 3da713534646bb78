"""Non-uniform fast Fourier transforms by mri-nufft and finufft."""

import numpy as np
from jaxtyping import Complex64, Float32

# Tolerance and oversampling of the NUFFT: errors far below the noise of a scan,
# in a third of the time of the defaults.
_NUFFT = {"eps": 1e-4, "upsampfac": 1.25}


def nufft(
  samples: Float32[np.ndarray, "sample 2"],
  matrix: int,
  *,
  n_coils: int,
  n_batches: int = 1,
  n_threads: int = 1,
  sensitivities: Complex64[np.ndarray, "coil y x"] | None = None,
):
  """Makes a `mrinufft` operator: op(images) and adj_op(k-space).

  Args:
    samples: k-space positions, cycles per voxel within ±0.5, (x, y).
    matrix: voxels along x and y.
    n_coils: number of coils.
    n_batches: images transformed in one call.
    n_threads: threads of the NUFFT; its adjoint is reproducible with one.
    sensitivities: coil sensitivities; None for images of single coils.

  Returns:
    The operator; images are [batch, 1 or coil, x, y] for its sample order
    (x, y), k-space is [batch, coil, sample].
  """
  import mrinufft

  smaps = None
  if sensitivities is not None:
    smaps = np.ascontiguousarray(sensitivities.transpose(0, 2, 1))
  radians = samples * np.float32(2 * np.pi)
  # mri-nufft would read positions that are all near the centre as cycles, so
  # one is moved by a period. That changes nothing in an image of whole voxels.
  if np.abs(radians).max() < 0.51:
    radians[0, 0] += np.float32(2 * np.pi)
  return mrinufft.get_operator("finufft")(
    radians,
    (matrix, matrix),
    n_coils=n_coils,
    n_batchs=n_batches,
    n_trans=n_coils,
    smaps=smaps,
    squeeze_dims=False,
    nthreads=n_threads,
    **_NUFFT,
  )


def norm_factor(matrix: int) -> float:
  """Divisor that mri-nufft applies to each transform: sqrt(2^d · voxels)."""
  return float(np.sqrt(4.0) * matrix)
