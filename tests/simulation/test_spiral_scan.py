import functools

import numpy as np
import pytest

from mrf_jax.kspace import spiral as spirals
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.sequence.schedules import tailored
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.signal.subspace import temporal_subspace
from mrf_jax.simulation.scan import scan_slice
from tests.laws import check_adjoint, check_linear, complex_noise

MATRIX = 48
SPIRAL = make_spiral(
  matrix=MATRIX, n_arms=48, samples_per_arm=128, density_power=1.25
)


def disc(radius=0.6):
  axis = np.linspace(-1, 1, MATRIX)
  return np.hypot(axis[:, None], axis) < radius


def smooth_coils(n_coils=3):
  axis = np.linspace(-1, 1, MATRIX)
  y, x = np.meshgrid(axis, axis, indexing="ij")
  a = (2 * np.pi * np.arange(n_coils) / n_coils)[:, None, None]
  maps = np.exp(-((x - np.cos(a)) ** 2) - (y - np.sin(a)) ** 2 + 1j * a * x)
  return maps.astype(np.complex64)


def scan(signals, mask, *, noise_sd=0.0, seed=0, coils=None, **options):
  options = {"window": 48, "stride": 1, "tolerance": 1e-4} | options
  return scan_slice(
    np.random.default_rng(seed),
    signals.astype(np.complex64 if np.iscomplexobj(signals) else np.float32),
    mask,
    smooth_coils() if coils is None else coils,
    SPIRAL,
    noise_sd=noise_sd,
    **options,
  )


def test_arms_are_rotations_within_the_band():
  first = SPIRAL.trajectory[0] @ [1, 1j]
  for arm in (1, 17):
    turned = first * np.exp(2j * np.pi * arm / 48)
    np.testing.assert_allclose(
      SPIRAL.trajectory[arm] @ [1, 1j], turned, atol=1e-6
    )
  radius = np.abs(first)
  assert np.all(np.diff(radius) > 0)
  assert radius[0] == 0
  assert 0.499 < radius[-1] < 0.5


def test_forward_and_adjoint_of_arm():
  coils = smooth_coils()
  forward = functools.partial(
    spirals.forward, SPIRAL, sensitivities=coils
  )  # [image, coil, arm, sample]
  check_adjoint(
    lambda image: SPIRAL.weights * forward(image)[:, :, 5],
    lambda samples: spirals.adjoint_of_arm(SPIRAL, 5, samples, coils),
    complex_noise(1, MATRIX, MATRIX, seed=0),
    complex_noise(1, len(coils), len(SPIRAL.weights), seed=1),
  )


def test_axes_of_k_space():
  """A plane wave along x has its peak at (k_x, 0), not at (0, k_x)."""
  axis = np.arange(MATRIX) - MATRIX // 2
  wave = np.exp(2j * np.pi * 0.25 * axis)[None].repeat(MATRIX, 0)
  coil = np.ones((1, MATRIX, MATRIX), np.complex64)
  data = spirals.forward(SPIRAL, wave[None].astype(np.complex64), coil)
  peak = np.abs(data[0, 0]).argmax()
  position = SPIRAL.trajectory.reshape(-1, 2)[peak]
  np.testing.assert_allclose(position, [0.25, 0.0], atol=0.02)


def test_constant_contrast_returns_the_image():
  mask = disc()
  signals = scan(np.ones((mask.sum(), 96)), mask)
  image = np.zeros((MATRIX, MATRIX), np.complex64)
  image[mask] = signals[:, 20]
  inner = disc(0.45)
  assert image[inner].real.mean() == pytest.approx(1, abs=0.02)
  assert np.abs(image[inner] - 1).std() < 0.03
  # Every window contains each arm once, so all images are the same.
  np.testing.assert_allclose(signals, signals[:, :1].repeat(49, 1), atol=1e-3)


def test_standard_deviation_of_noise():
  mask = disc()
  signals = np.zeros((mask.sum(), 48))
  signals[0] = 1e-6
  coil = np.ones((1, MATRIX, MATRIX), np.complex64)
  noise = [
    scan(signals, mask, noise_sd=2.0, seed=seed, coils=coil)
    for seed in range(4)
  ]
  expected = 2.0 * SPIRAL.noise_gain()
  assert np.std(np.real(noise)) == pytest.approx(expected, rel=0.05)
  assert np.std(np.imag(noise)) == pytest.approx(expected, rel=0.05)


def test_same_seed_same_scan():
  mask = disc()
  signals = np.random.default_rng(0).uniform(size=(mask.sum(), 60))
  first = scan(signals, mask, noise_sd=0.1, seed=3)
  np.testing.assert_array_equal(
    first, scan(signals, mask, noise_sd=0.1, seed=3)
  )
  assert np.abs(first - scan(signals, mask, noise_sd=0.1, seed=4)).max() > 0


def test_subspace_error_is_below_its_tolerance():
  rng = np.random.default_rng(0)
  t1 = rng.uniform(400, 4500, 300)
  signals = simulate_fingerprints(
    tailored(144),
    t1,
    rng.uniform(40, 300, 300),
    b1=rng.uniform(0.85, 1.1, 300),
    keep_real=True,
  )
  for tolerance in (1e-2, 1e-4):
    coefficients, basis = temporal_subspace(signals, tolerance=tolerance)
    left_out = np.linalg.norm(coefficients @ basis.T - signals)
    assert left_out <= 1.01 * tolerance * np.linalg.norm(signals)
    assert basis.shape[1] < 40
  # The same bound, about, for the images.
  mask = np.zeros((MATRIX, MATRIX), bool)
  mask[14:34, 14:29] = True
  short = scan(signals, mask, tolerance=1e-4)
  full = scan(signals, mask, tolerance=0.0)
  assert np.linalg.norm(short - full) < 3e-4 * np.linalg.norm(full)


def test_scan_is_linear_in_signals():
  mask = disc()
  # A few slow components, as with pulses of changing phases.
  time = np.linspace(0, 1, 60)
  waves = np.exp(2j * np.pi * np.arange(4)[:, None] * time)
  signals = complex_noise(mask.sum(), 4) @ waves.astype(np.complex64)
  coefficients, basis = temporal_subspace(signals, tolerance=1e-4)
  assert basis.shape[1] == 4
  np.testing.assert_allclose(coefficients @ basis.T, signals, atol=1e-4)
  check_linear(
    lambda x: scan(x, mask).reshape(-1, 1), signals.real, 1j * signals, rel=1e-3
  )


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize(("window", "stride"), [(1, 1), (4, 1), (5, 3), (9, 2)])
def test_sliding_window_is_a_mean(dtype, window, stride):
  rng = np.random.default_rng(0)
  frames = rng.normal(size=(7, 20)).astype(dtype)
  expected = [
    frames[:, start : start + window].mean(1)
    for start in range(0, 20 - window + 1, stride)
  ]
  windows = sliding_window(frames, window=window, stride=stride)
  assert windows.dtype == dtype
  np.testing.assert_allclose(windows.T, expected, atol=1e-6)


def test_window_of_the_paper():
  assert sliding_window(np.ones((1, 720)), window=48).shape == (1, 673)
