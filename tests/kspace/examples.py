"""Images of single coils, from the windows that are combined of all coils."""

import numpy as np

from mrf_jax.kspace.gridding import combined_windows


def window_images(samples, trajectory, *, matrix, **options):
  """Images [window, coil, y, x] of each coil alone, with sensitivity 1."""
  one = np.ones((1, matrix, matrix), np.complex64)
  everywhere = np.ones((matrix, matrix), bool)
  coils = [
    combined_windows(samples[:, [coil]], trajectory, one, everywhere, **options)
    for coil in range(samples.shape[1])
  ]
  return np.stack(coils, 1).T.reshape(-1, len(coils), matrix, matrix)
