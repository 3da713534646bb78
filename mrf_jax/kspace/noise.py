"""Noise of receiver coils: covariance, whitening, compression."""

import numpy as np
from jaxtyping import Complex64, Complex128

from mrf_jax.errors import UserError

# Samples of noise for each coil, at least: whitening by fewer adds noise of its
# own, by about the root of one over their number.
_LEAST_SAMPLES = 10
# Smallest eigenvalue of the covariance, relative to the largest, of coils that
# are each noisy.
_SINGULAR = 1e-10
# Acquisitions that are multiplied at once.
_BLOCK = 256


def noise_covariance(
  noise: Complex64[np.ndarray, "coil noise_sample"],
) -> Complex128[np.ndarray, "coil coil"]:
  """Covariance of the noise of the coils, of samples without signal.

  Raises:
    UserError: the samples are too few, or some coils have no noise of their
      own.
  """
  n_coils, n_samples = noise.shape
  if n_samples < _LEAST_SAMPLES * n_coils:
    raise UserError(
      f"{n_samples:,} samples of noise for {n_coils} coils; at least "
      f"{_LEAST_SAMPLES * n_coils:,} tell how they are correlated"
    )
  values = noise.astype(np.complex128)
  values -= values.mean(1, keepdims=True)
  covariance = values @ values.conj().T / (n_samples - 1)
  silent = np.flatnonzero(covariance.diagonal().real <= 0)
  if silent.size:
    raise UserError(f"coil {silent[0]} has no noise")
  sizes = np.sqrt(covariance.diagonal().real)
  lowest, *_, highest = np.linalg.eigvalsh(covariance / np.outer(sizes, sizes))
  if n_coils > 1 and lowest < _SINGULAR * highest:
    raise UserError(
      "the noise of a coil is that of others: is it one coil twice, or signal?"
    )
  return covariance


def whitening_matrix(
  covariance: Complex128[np.ndarray, "coil coil"],
) -> Complex128[np.ndarray, "coil coil"]:
  r"""Matrix W that makes the noise of all coils equal and uncorrelated.

  .. math:: W C W^H = c I

  with the covariance C (Pruessmann 2001) and the median c of its variances:
  the signals of most coils keep their size, whatever one noisy coil does. W is
  triangular: the first coil stays by itself.
  """
  lower = np.linalg.cholesky(covariance)
  typical = np.median(covariance.diagonal().real)
  return np.sqrt(typical) * np.linalg.inv(lower)


def compression_matrix(
  samples: Complex64[np.ndarray, "acquisition coil sample"], *, loss: float
) -> tuple[Complex128[np.ndarray, "virtual coil"], float]:
  """Matrix of the fewest virtual coils that hold all but a share of the energy.

  Principal components of the coils (Huang 2008). White noise stays white.

  Args:
    samples: k-space, with white noise.
    loss: share of the energy that may be lost, 0 to 1.

  Returns:
    The matrix, whose rows are orthonormal, and the share that is lost.
  """
  n_coils = samples.shape[1]
  gram = np.zeros((n_coils, n_coils), np.complex128)
  for start in range(0, len(samples), _BLOCK):
    block = samples[start : start + _BLOCK]
    rows = block.swapaxes(0, 1).reshape(n_coils, -1)
    gram += rows @ rows.conj().T
  energies, vectors = np.linalg.eigh(gram)
  lost = np.cumsum(energies.clip(0)) / max(energies.clip(0).sum(), 1e-300)
  # Those that can be left out; one coil stays.
  n_out = min(int(np.searchsorted(lost, loss, side="right")), n_coils - 1)
  matrix = vectors[:, n_out:][:, ::-1].conj().T
  return matrix, float(lost[n_out - 1]) if n_out else 0.0


def combine_coils(
  samples: Complex64[np.ndarray, "acquisition coil sample"],
  matrix: Complex128[np.ndarray, "virtual coil"],
) -> Complex64[np.ndarray, "acquisition virtual sample"]:
  """Samples of combinations of coils, in the memory of the samples.

  They are written over: those of a whole scan are large.
  """
  factors = matrix.astype(np.complex64)
  for start in range(0, len(samples), _BLOCK):
    block = samples[start : start + _BLOCK]
    block[:, : len(matrix)] = factors @ block
  return samples[:, : len(matrix)]
