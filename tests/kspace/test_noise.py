"""Covariance of the noise of coils, whitening, virtual coils."""

import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.kspace.noise import (
  combine_coils,
  compression_matrix,
  noise_covariance,
  whitening_matrix,
)
from tests.laws import complex_noise

N_COILS = 5


def mixing(seed=0):
  """Lower triangular, so that coils have other sizes, and are correlated."""
  mixed = np.tril(complex_noise(N_COILS, N_COILS, seed=seed))
  return mixed + np.diag([3.0, 1, 1, 10, 1])


def test_whitened_noise_is_white():
  noise = (mixing() @ complex_noise(N_COILS, 4000, seed=1)).astype("c8")
  covariance = noise_covariance(noise)
  other = mixing() @ complex_noise(N_COILS, 50_000, seed=2)
  white = noise_covariance(
    (whitening_matrix(covariance) @ other).astype(np.complex64)
  )
  mean = np.trace(white).real / N_COILS
  np.testing.assert_allclose(white / mean, np.eye(N_COILS), atol=0.06)
  # Signals of most coils keep their size, whatever the noisiest does.
  assert mean == pytest.approx(np.median(covariance.diagonal().real), rel=0.1)


def test_the_mean_is_no_noise():
  noise = complex_noise(N_COILS, 4000, seed=1)
  np.testing.assert_allclose(
    noise_covariance(noise + 5), noise_covariance(noise), atol=1e-5
  )


@pytest.mark.parametrize(
  ("noise", "words"),
  [
    (complex_noise(N_COILS, 1), r"1 samples of noise for 5 coils; at least 50"),
    (complex_noise(N_COILS, 49), "49 samples of noise for 5 coils"),
    (complex_noise(N_COILS, 99) * [[1], [1], [0], [1], [1]], "coil 2 has no n"),
    (np.ones((N_COILS, 99), np.complex64), "coil 0 has no noise"),
    (np.tile(complex_noise(1, 99), (N_COILS, 1)), "is it one coil twice"),
  ],
)
def test_noise_that_tells_nothing_is_refused(noise, words):
  with pytest.raises(UserError, match=words):
    noise_covariance(noise.astype(np.complex64))


def samples(n_sources, n_coils=8, seed=0):
  """Acquisitions of so many sources, and a thousandth of noise."""
  sources = complex_noise(40, n_sources, 30, seed=seed)
  sources *= np.geomspace(1, 0.1, n_sources)[:, None]
  mixed = complex_noise(n_coils, n_sources, seed=seed + 1) @ sources
  noise = 1e-3 * complex_noise(40, n_coils, 30, seed=seed + 2)
  return (mixed + noise).astype(np.complex64)


def test_as_few_virtual_coils_as_there_are_sources():
  values = samples(3)
  matrix, lost = compression_matrix(values, loss=1e-4)
  assert matrix.shape == (3, 8)
  np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(3), atol=1e-10)
  energy = np.sum(np.abs(values) ** 2)
  fewer = combine_coils(values.copy(), matrix)
  assert fewer.shape == (40, 3, 30)
  left = np.sum(np.abs(fewer) ** 2)
  assert 1 - left / energy == pytest.approx(lost, abs=1e-6)
  assert lost <= 1e-4
  # The strongest is the first.
  strengths = np.sum(np.abs(fewer) ** 2, (0, 2))
  assert (np.diff(strengths) < 0).all()


@pytest.mark.parametrize("loss", [0.0, 1e-12])
def test_without_a_loss_all_stay(loss):
  matrix, lost = compression_matrix(samples(8), loss=loss)
  assert matrix.shape == (8, 8) and lost == 0


def test_one_coil_stays_whatever_is_lost():
  assert compression_matrix(samples(3), loss=0.999999)[0].shape == (1, 8)
  zeros = np.zeros((4, 2, 3), np.complex64)
  assert compression_matrix(zeros, loss=0.1)[0].shape == (1, 2)


def test_combinations_are_made_in_blocks():
  values = complex_noise(600, 4, 3)
  matrix = complex_noise(2, 4).astype(complex)
  expected = matrix @ values
  np.testing.assert_allclose(
    combine_coils(values.copy(), matrix), expected, rtol=1e-4, atol=1e-4
  )
