"""Coil sensitivities from images, and windows combined with them."""

import numpy as np
import pytest

from mrf_jax.kspace.coils import estimate_sensitivities, fit_sensitivities
from mrf_jax.kspace.gridding import combined_windows, separate_windows
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.simulation.fields import coil_sensitivities
from tests.kspace.examples import window_images
from tests.laws import complex_noise

MATRIX = 32


def coils(n_coils=4):
  axis = (np.arange(MATRIX) - MATRIX // 2) / (MATRIX / 2)
  angles = np.arange(n_coils) * 2 * np.pi / n_coils
  near = (axis - np.cos(angles)[:, None, None]) ** 2
  near = near + (axis[:, None] - np.sin(angles)[:, None, None]) ** 2
  phase = np.exp(1j * (angles[:, None, None] + axis * axis[:, None]))
  return (np.exp(-near) * phase).astype(np.complex64)


def test_sensitivities_of_known_coils():
  sensitivities = coils()
  axis = np.arange(MATRIX) - MATRIX // 2
  disc = np.hypot(axis, axis[:, None]) < 13
  shades = np.random.default_rng(0).random((6, MATRIX, MATRIX))
  objects = (disc * (1 + 0.3 * shades)).astype(np.float32)
  images = objects[:, None] * sensitivities
  images += 0.01 * complex_noise(6, 4, MATRIX, MATRIX)
  estimate = estimate_sensitivities(images)
  np.testing.assert_allclose(np.linalg.norm(estimate, axis=0), 1, rtol=1e-5)
  inside = np.hypot(axis, axis[:, None]) < 12
  true = sensitivities / np.linalg.norm(sensitivities, axis=0)
  overlap = np.abs(np.sum(true.conj() * estimate, 0))[inside]
  assert overlap.min() > 0.995
  # The combined image is the object, shaded by all coils together.
  combined = np.sum(estimate.conj() * images[0], 0)[inside]
  shaded = (objects[0] * np.linalg.norm(sensitivities, axis=0))[inside]
  assert np.abs(np.abs(combined) / shaded - 1).max() < 0.05


def test_images_without_signal():
  images = np.zeros((2, 3, MATRIX, MATRIX), np.complex64)
  estimate = estimate_sensitivities(images)
  assert np.isfinite(estimate).all()


# Windows that share no frames' length with their stride, two frames, or four of
# which the last one is left out.
@pytest.mark.parametrize(
  ("window", "stride", "n_windows"),
  [(6, 1, 16), (6, 2, 8), (8, 4, 4), (6, 6, 3)],
)
@pytest.mark.parametrize("together", [1, 3, 16])
def test_combined_windows_combine_window_images(
  together, window, stride, n_windows, monkeypatch
):
  monkeypatch.setattr("mrf_jax.kspace.gridding._TOGETHER", together)
  rng = np.random.default_rng(1)
  arms = make_spiral(
    matrix=MATRIX, n_arms=6, samples_per_arm=96, density_power=1.25
  ).trajectory
  trajectory = arms[np.arange(21) % 6]
  samples = complex_noise(21, 4, 96)
  phases = rng.uniform(0, 360, 21)
  options = {"window": window, "stride": stride, "phases_deg": phases}
  sensitivities = coils()
  mask = rng.random((MATRIX, MATRIX)) < 0.5
  combined = combined_windows(
    samples, trajectory, sensitivities, mask, **options
  )
  images = window_images(samples, trajectory, matrix=MATRIX, **options)
  power = np.sum(np.abs(sensitivities) ** 2, 0)
  expected = np.sum(sensitivities.conj() * images, 1) / power
  expected = expected[:, mask].T
  assert combined.shape == (np.count_nonzero(mask), n_windows)
  apart = separate_windows(
    samples, trajectory, matrix=MATRIX, window=window, phases_deg=phases
  )
  np.testing.assert_allclose(
    apart, images[:: window // stride], atol=2e-4 * np.abs(images).max()
  )
  scale = np.abs(expected).max()
  np.testing.assert_allclose(combined, expected, atol=2e-4 * scale)


def test_sensitivities_of_the_phantom():
  axis = 6.0 * (np.arange(MATRIX) - MATRIX // 2)
  y, x = np.meshgrid(axis, axis, indexing="ij")
  points = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
  sensitivities = coil_sensitivities(points, n_coils=8)
  sensitivities = sensitivities.reshape(8, MATRIX, MATRIX)
  images = np.ones((2, 1, 1, 1), "c8") * sensitivities
  estimate = estimate_sensitivities(images)
  norm = np.linalg.norm(sensitivities, axis=0)
  overlap = np.abs(np.sum(sensitivities.conj() * estimate, 0)) / norm
  assert overlap.min() > 0.98


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_fitted_sensitivities_of_a_head_coil(noise):
  """Within 2 % up to phase, where an object with a phase of its own is."""
  matrix = 64
  axis = 4.0 * (np.arange(matrix) - matrix // 2)
  y, x = np.meshgrid(axis, axis, indexing="ij")
  points = np.stack([x, y, 0 * x + 20], -1).reshape(-1, 3)
  sensitivities = coil_sensitivities(points, n_coils=8)
  sensitivities = sensitivities.reshape(8, matrix, matrix)
  mask = (x / 70) ** 2 + (y / 90) ** 2 < 1
  rng = np.random.default_rng(0)
  image = (0.5 + rng.random(mask.shape)) * np.exp(1j * x / 50) * mask
  images = image * sensitivities + noise * complex_noise(8, matrix, matrix)
  found = fit_sensitivities(images.astype(np.complex64), mask)
  assert not found[:, ~mask].any()
  np.testing.assert_allclose(np.linalg.norm(found, axis=0)[mask], 1, rtol=1e-5)
  true = sensitivities / np.linalg.norm(sensitivities, axis=0)
  phase = np.exp(1j * np.angle(np.sum(true.conj() * found, 0)))
  error = np.linalg.norm(found - true * phase, axis=0)[mask]
  assert np.sqrt(np.mean(error**2)) < 0.02
  # The gain and the phase of the scanner change nothing.
  again = fit_sensitivities((1e-6j * images).astype(np.complex64), mask)
  np.testing.assert_allclose(again, found, atol=1e-4)


def test_fitted_sensitivities_need_signal():
  images = np.zeros((2, MATRIX, MATRIX), np.complex64)
  with pytest.raises(ValueError, match="finite signals"):
    fit_sensitivities(images, np.ones((MATRIX, MATRIX), bool))


def test_fitted_sensitivities_of_few_voxels_and_one_coil():
  mask = np.zeros((MATRIX, MATRIX), bool)
  mask[3, 4:7] = True
  images = np.full((1, MATRIX, MATRIX), 2j, np.complex64)
  found = fit_sensitivities(images, mask)
  np.testing.assert_allclose(found[:, mask], 1, atol=1e-5)
