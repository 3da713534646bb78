"""Coils of raw data, before they are gridded: whitened, and fewer."""

import os
import pathlib

import numpy as np
from jaxtyping import Complex64

from mrf_jax.errors import UserError
from mrf_jax.importing.formats import open_stored
from mrf_jax.io.ismrmrd_reader import load_noise
from mrf_jax.kspace.noise import (
  combine_coils,
  compression_matrix,
  noise_covariance,
  whitening_matrix,
)

# Acquisitions that are compared with the noise, about.
_COMPARED = 100

Samples = Complex64[np.ndarray, "acquisition coil sample"]


def read_noise(
  path: str | os.PathLike,
) -> Complex64[np.ndarray, "coil noise_sample"]:
  """Samples of noise from a file, ISMRMRD or NumPy ([coil, sample]).

  Raises:
    UserError: there is no such file, or it has no noise.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() != ".npy":
    noise = load_noise(path)
    if noise is None:
      raise UserError(f"{path}: no acquisition is flagged as noise")
    return noise
  stored = open_stored(path)
  values = stored.whole()
  if values.ndim != 2 or not np.iscomplexobj(values):
    raise UserError(
      f"{path}: {values.dtype} of shape {values.shape}, not complex "
      "[coil, sample]"
    )
  if not np.isfinite(values).all():
    raise UserError(f"{path}: has values that are not finite")
  return values.astype(np.complex64)


def whitened(
  samples: Samples,
  noise: Complex64[np.ndarray, "noise_coil noise_sample"],
  *,
  name: str,
  path: str,
) -> tuple[Samples, str]:
  """Samples of which all coils have the same noise, each of its own.

  Args:
    samples: k-space, which is written over.
    noise: samples without signal.
    name: of the noise, for messages.
    path: of the scan, likewise.

  Returns:
    The samples, and a sentence.

  Raises:
    UserError: the noise is that of other coils, too short, or none.
  """
  n_coils = samples.shape[1]
  if len(noise) != n_coils:
    raise UserError(
      f"{path}: {name} are of {len(noise)} coils, the scan is of {n_coils}"
    )
  # Of some acquisitions: those of a whole scan fill the memory.
  some = samples[:: max(1, len(samples) // _COMPARED)]
  if np.mean(np.abs(noise) ** 2) > np.mean(np.abs(some) ** 2):
    raise UserError(
      f"{path}: {name} are stronger than the scan: are they noise?"
    )
  try:
    covariance = noise_covariance(noise)
  except UserError as error:
    raise UserError(f"{path}: {name}: {error}") from error
  sizes = np.sqrt(covariance.diagonal().real)
  off = np.abs(covariance / np.outer(sizes, sizes))
  np.fill_diagonal(off, 0)
  text = (
    f"noise of the coils is whitened by {noise.shape[1]:,} samples of {name}: "
    f"it differed by a factor of {sizes.max() / sizes.min():.3g}"
  )
  if n_coils > 1:
    text += f", and two coils were correlated by {off.max():.2f}"
  return combine_coils(samples, whitening_matrix(covariance)), text


def compressed(
  samples: Samples, *, loss: float
) -> tuple[Complex64[np.ndarray, "acquisition virtual sample"], str]:
  """Samples of the fewest virtual coils; see `compression_matrix`.

  Args:
    samples: k-space, which is written over.
    loss: share of the energy that may be lost.

  Returns:
    The samples, and a sentence.
  """
  matrix, lost = compression_matrix(samples, loss=loss)
  n_virtual, n_coils = matrix.shape
  text = (
    f"{n_virtual} virtual coils of {n_coils}, without {lost:.2g} of the energy"
  )
  # The memory of the others is free then.
  return combine_coils(samples, matrix).copy(), text
