import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.kspace.encoding import NufftEncoding, make_encoding
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.runtime import threads
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.simulation import scan as scans
from mrf_jax.simulation.imperfections import Imperfections
from mrf_jax.simulation.scan import noise_covariance, scan_slice
from tests.laws import check_linear, complex_noise

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
  options = {"window": 48, "stride": 1} | options
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


def test_axes_of_k_space():
  """A plane wave along x has its peak at (k_x, 0), not at (0, k_x)."""
  axis = np.arange(MATRIX) - MATRIX // 2
  wave = np.exp(2j * np.pi * 0.25 * axis)[None].repeat(MATRIX, 0)
  coil = np.ones((1, MATRIX, MATRIX), np.complex64)
  mask = np.ones((MATRIX, MATRIX), bool)
  positions = SPIRAL.trajectory.reshape(-1, 2)
  for encoding in (make_encoding(mask, coil), NufftEncoding(mask, coil)):
    data = encoding.of_samples(positions).forward(wave.reshape(-1, 1))
    peak = np.abs(data[0, 0]).argmax()
    np.testing.assert_allclose(positions[peak], [0.25, 0.0], atol=0.02)


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


def test_covariance_of_noise():
  """Variance and correlation, of voxels and windows, are those of the adjoint.

  Noise of standard deviation one on all samples becomes noise of covariance
  A Aᴴ, where A is the exact adjoint of all frames, combined and averaged.
  """
  window, n_arms, n_windows, n_draws = 4, 4, 6, 600
  spiral = make_spiral(
    matrix=MATRIX, n_arms=n_arms, samples_per_arm=96, density_power=1.25
  )
  coils, mask = smooth_coils(2), disc(0.3)
  some = np.arange(0, np.count_nonzero(mask), 7)
  axis = np.arange(MATRIX) - MATRIX // 2
  y, x = np.meshgrid(axis, axis, indexing="ij")
  places = np.stack([x[mask][some], y[mask][some]])
  sensitivity = coils[:, mask][:, some].astype(complex)
  power = np.sum(np.abs(sensitivity) ** 2, 0)
  # From the coils and samples of a frame to a window, [voxel, coil, sample].
  of_arm = [
    (sensitivity.conj() / power).T[:, :, None]
    * np.exp(2j * np.pi * (positions.astype(float) @ places)).T[:, None]
    * (spiral.weights * n_arms / (2 * MATRIX) / window)
    for positions in spiral.trajectory
  ]
  # After so many frames the arms repeat, and windows share no frames.
  period = 12
  adjoint = np.zeros((len(some), n_windows, period, *of_arm[0].shape[1:]), "D")
  for first in range(n_windows):
    for t in range(first, first + window):
      adjoint[:, first, t] = of_arm[t % n_arms]
  adjoint = adjoint.reshape(len(some) * n_windows, -1)
  expected = adjoint @ adjoint.conj().T
  images = scan_slice(
    np.random.default_rng(0),
    np.zeros((np.count_nonzero(mask), n_draws * period), np.float32),
    mask,
    coils,
    spiral,
    noise_sd=1.0,
    window=window,
    stride=1,
  )
  starts = period * np.arange(n_draws)[:, None] + np.arange(n_windows)
  draws = images[some][:, starts].swapaxes(0, 1).reshape(n_draws, -1)
  # Real and imaginary parts have this covariance each.
  found = draws.T @ draws.conj() / (2 * n_draws)
  variances = np.diag(expected).real
  assert np.trace(found).real == pytest.approx(variances.sum(), rel=0.02)
  np.testing.assert_allclose(np.diag(found).real, variances, rtol=0.25)
  # An entry of 600 draws deviates by 1 / sqrt(1200) = 0.03 of its scale.
  scale = np.sqrt(np.outer(variances, variances))
  assert rms((found - expected) / scale) < 0.05
  # Proper noise: real and imaginary parts are alike and not correlated.
  assert rms(draws.T @ draws / (2 * n_draws) / scale) < 0.05
  # There is correlation to be found.
  correlation = (expected / scale).reshape(len(some), n_windows, len(some), -1)
  assert np.abs(correlation[0, 0, 0, 1]) > 0.5
  assert np.abs(correlation[0, 0, 1:, 0]).max() > 0.05


def rms(values):
  return np.sqrt(np.mean(np.abs(values) ** 2))


def test_same_seed_same_scan():
  mask = disc()
  signals = np.random.default_rng(0).uniform(size=(mask.sum(), 60))
  first = scan(signals, mask, noise_sd=0.1, seed=3)
  np.testing.assert_array_equal(
    first, scan(signals, mask, noise_sd=0.1, seed=3)
  )
  assert np.abs(first - scan(signals, mask, noise_sd=0.1, seed=4)).max() > 0


@pytest.mark.parametrize("n_cores", [1, 2, 5])
def test_threads_change_no_bit(n_cores, monkeypatch):
  mask = disc()
  signals = np.random.default_rng(0).uniform(size=(mask.sum(), 100))
  first = scan(signals, mask, noise_sd=0.1)
  monkeypatch.setattr(threads.os, "cpu_count", lambda: n_cores)
  with threads.threadpoolctl.threadpool_limits(n_cores, "blas"):
    np.testing.assert_array_equal(first, scan(signals, mask, noise_sd=0.1))


def raw_scan(mask, signals, **options):
  """Images and k-space of a scan."""
  samples = np.zeros((signals.shape[1], 3, *SPIRAL.weights.shape), np.complex64)
  return scan(signals, mask, samples=samples, **options), samples


def test_noise_of_the_same_seed_is_that_of_the_streams(monkeypatch):
  """One stream for each arm, in the order frame, coil, sample, part."""
  mask = disc(0.2)
  nothing = np.zeros((mask.sum(), 110))
  _, samples = raw_scan(mask, nothing, noise_sd=0.5, seed=7)
  for arm, rng in enumerate(np.random.default_rng(7).spawn(SPIRAL.n_arms)):
    of_arm = samples[arm :: SPIRAL.n_arms]
    pairs = rng.standard_normal((*of_arm.shape, 2), dtype=np.float32)
    expected = np.float32(0.5) * pairs.view(np.complex64)[..., 0]
    np.testing.assert_array_equal(of_arm, expected)
  # Frames that are transformed together in other numbers have the same noise.
  monkeypatch.setattr(scans, "_TOGETHER", 2)
  _, again = raw_scan(mask, nothing, noise_sd=0.5, seed=7)
  np.testing.assert_array_equal(samples, again)


def test_frames_together_change_nothing(monkeypatch):
  mask = disc(0.4)
  signals = complex_noise(mask.sum(), 5 * SPIRAL.n_arms)
  images, samples = raw_scan(mask, signals, noise_sd=0.1)
  monkeypatch.setattr(scans, "_TOGETHER", 2)
  images_again, samples_again = raw_scan(mask, signals, noise_sd=0.1)
  np.testing.assert_allclose(samples, samples_again, atol=1e-5)
  np.testing.assert_allclose(images, images_again, atol=1e-5)


def test_k_space_and_images_belong_together():
  """The exact adjoint of the k-space that is kept gives the images."""
  mask, coils = disc(0.5), smooth_coils()
  signals = complex_noise(mask.sum(), 60)
  images, samples = raw_scan(mask, signals, noise_sd=0.2)
  encoding = NufftEncoding(mask, coils)
  power = np.sum(np.abs(coils[:, mask]) ** 2, 0)
  frames = [
    encoding.of_samples(SPIRAL.trajectory[t % SPIRAL.n_arms]).adjoint(
      of_frame[None] * SPIRAL.weights
    )[:, 0]
    for t, of_frame in enumerate(samples)
  ]
  frames = np.stack(frames, 1) * (SPIRAL.n_arms / power)[:, None]
  expected = sliding_window(frames, window=48)
  error = np.linalg.norm(images - expected) / np.linalg.norm(expected)
  assert error < 1e-4


def test_rough_sensitivities_are_scanned_exactly():
  """With those that no polynomial fits, the scan is that of the NUFFT."""
  mask = disc(0.5)
  coils = complex_noise(3, MATRIX, MATRIX, seed=5)
  signals = complex_noise(mask.sum(), 50)
  images, samples = raw_scan(mask, signals, coils=coils)
  of_frame = NufftEncoding(mask, coils).of_samples(SPIRAL.trajectory[1])
  np.testing.assert_allclose(
    samples[49], of_frame.forward(signals[:, 49:])[0], atol=1e-6
  )
  assert np.isfinite(images).all()


def test_scan_is_linear_in_signals():
  mask = disc()
  # A few slow components, as with pulses of changing phases.
  time = np.linspace(0, 1, 60)
  waves = np.exp(2j * np.pi * np.arange(4)[:, None] * time)
  signals = complex_noise(mask.sum(), 4) @ waves.astype(np.complex64)
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


def test_late_gradients_move_samples_along_the_arm():
  step_us = 1e3 * SPIRAL.readout_ms / SPIRAL.trajectory.shape[1]
  moved = SPIRAL.delayed((2 * step_us, 0.0))
  np.testing.assert_allclose(
    moved[:, 2:, 0], SPIRAL.trajectory[:, :-2, 0], atol=1e-6
  )
  first = SPIRAL.trajectory[:, :1, 0].repeat(2, 1)
  np.testing.assert_array_equal(moved[:, :2, 0], first)
  np.testing.assert_array_equal(moved[..., 1], SPIRAL.trajectory[..., 1])
  early = SPIRAL.delayed((0.0, -step_us))
  np.testing.assert_allclose(
    early[:, :-1, 1], SPIRAL.trajectory[:, 1:, 1], atol=1e-6
  )
  with pytest.raises(UserError, match="shorter than the readout"):
    SPIRAL.delayed((0.0, 2e4))


def test_late_gradients_change_the_scan_as_a_shifted_trajectory():
  """Both gradients late by one sample: k-space is that of moved samples."""
  mask, coils = disc(), smooth_coils()
  rng = np.random.default_rng(0)
  signals = rng.random((mask.sum(), 48)).astype(np.float32)
  step_us = 1e3 * SPIRAL.readout_ms / SPIRAL.trajectory.shape[1]
  late = Imperfections(gradient_delays_us=(step_us, step_us))
  n_samples = SPIRAL.trajectory.shape[1]
  samples = np.empty((48, 3, n_samples), np.complex64)
  scan(signals, mask, samples=samples, imperfections=late)
  for frame in (0, 31):
    exact = make_encoding(mask, coils).of_samples(SPIRAL.trajectory[frame])
    expected = exact.forward(signals[:, frame : frame + 1])[0]
    np.testing.assert_allclose(
      samples[frame, :, 1:],
      expected[:, :-1],
      atol=1e-4 * np.abs(expected).max(),
    )


def test_a_constant_field_turns_and_shifts_the_phase_of_samples():
  mask = disc()
  signals = np.ones((mask.sum(), 48), np.complex64)
  shape = (48, 3, SPIRAL.trajectory.shape[1])
  plain, turned = (np.empty(shape, np.complex64) for _ in range(2))
  rates = np.full(mask.sum(), 2j * np.pi * 20.0 - 5.0)
  scan(signals, mask, samples=plain)
  scan(signals, mask, samples=turned, rates_per_s=rates)
  expected = plain * np.exp(1e-3 * SPIRAL.times_ms * rates[0])
  np.testing.assert_allclose(turned, expected, atol=2e-4 * np.abs(plain).max())


def test_noise_of_neighbouring_coils_correlates():
  covariance = noise_covariance(3, 0.4)
  mask, shape = disc(), (480, 3, SPIRAL.trajectory.shape[1])
  samples = np.empty(shape, np.complex64)
  signals = np.zeros((mask.sum(), 480), np.float32)
  correlated = Imperfections(noise_correlation=0.4)
  images = scan(
    signals, mask, noise_sd=2.0, samples=samples, imperfections=correlated
  )
  flat = samples.swapaxes(0, 1).reshape(3, -1)
  found = flat @ flat.conj().T / flat.shape[1] / 2
  np.testing.assert_allclose(found, 4.0 * covariance, atol=0.08)
  # The variance of voxels follows, as simulated subjects state it.
  coils = smooth_coils()[:, mask]
  power = np.sum(np.abs(coils) ** 2, 0)
  factor = np.sum(coils.conj() * (covariance @ coils), 0).real / power**2
  ratio = images[:, ::48].real.var(1, ddof=1) / (
    factor * (2 * SPIRAL.noise_gain()) ** 2
  )
  assert ratio.mean() == pytest.approx(1, rel=0.05)


def test_circular_correlation_is_a_covariance():
  for n_coils in (1, 2, 8, 9):
    covariance = noise_covariance(n_coils, 0.9)
    np.testing.assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0
  with pytest.raises(UserError, match="noise_correlation is 1, not from 0"):
    noise_covariance(4, 1.0)


@pytest.mark.parametrize("balanced", [False, True])
def test_scan_with_estimated_sensitivities(balanced):
  """Images are those with true ones, up to a phase that is smooth.

  That of balanced sequences has a sign that changes from frame to frame.
  """
  mask = disc()
  rng = np.random.default_rng(0)
  signals = 1 + 0.2 * rng.random((mask.sum(), 1)) * np.arange(96) / 96
  if balanced:
    signals = signals * np.where(np.arange(96) % 2, -1, 1)
  # Odd windows would cancel a sign that alternates.
  options = {"window": 1} if balanced else {}
  expected = scan(signals, mask, **options)
  estimating = Imperfections(estimated_sensitivities=True)
  found = scan(signals, mask, imperfections=estimating, **options)
  turned = np.exp(1j * np.angle(np.sum(found * expected.conj(), 1)))[:, None]
  error = np.linalg.norm(found - expected * turned)
  assert error < 0.02 * np.linalg.norm(expected)
  image = np.zeros((MATRIX, MATRIX), np.complex64)
  image[mask] = turned[:, 0]
  both = mask[:, 1:] & mask[:, :-1]
  steps = np.angle(image[:, 1:] * image[:, :-1].conj())[both]
  assert np.abs(steps).max() < 0.3
