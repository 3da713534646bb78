"""Windows of radial and spiral k-space with a closed form."""

import numpy as np
import pytest
import scipy.special

from mrf_jax.errors import UserError
from mrf_jax.kspace.density import density_weights
from mrf_jax.kspace.nufft import nufft
from mrf_jax.kspace.spiral import make_spiral
from tests.kspace.examples import window_images
from tests.laws import check_adjoint, check_linear, complex_noise

MATRIX = 48
WINDOW = 72
# A disc right of the centre and further down: x = 7, y = 4, radius 8 voxels.
X, Y, RADIUS = 7.0, 4.0, 8.0


def radial(n_frames=96, n_samples=96):
  """Spokes turned by the golden angle, [frame, sample, 2]."""
  radius = (np.arange(n_samples) - n_samples // 2) / n_samples
  angles = np.deg2rad(111.246) * np.arange(n_frames)
  spokes = radius * np.exp(1j * angles)[:, None]
  return np.stack([spokes.real, spokes.imag], -1).astype(np.float32)


def spiral(n_frames=96):
  arms = make_spiral(
    matrix=MATRIX, n_arms=24, samples_per_arm=128, density_power=1.25
  ).trajectory
  return arms[np.arange(n_frames) % len(arms)]


def disc_k_space(trajectory):
  """Fourier transform of the disc, [frame, 1, sample], as mri-nufft scales.

  r J1(2 π k r) / k · exp(−2 π i k·c) / (2 N)
  """
  radius = np.hypot(*np.moveaxis(trajectory.astype(float), 2, 0)) + 1e-12
  bessel = scipy.special.j1(2 * np.pi * radius * RADIUS)
  shift = np.exp(-2j * np.pi * trajectory @ [X, Y])
  values = RADIUS * bessel / radius * shift / (2 * MATRIX)
  return values.astype(np.complex64)[:, None]


AXIS = np.arange(MATRIX) - MATRIX // 2
# Distance from the centre of the disc, [y, x], voxels.
DISTANCE = np.hypot(AXIS - X, AXIS[:, None] - Y)


def operator_of(trajectory):
  """The forward transform of all frames, images [1, 1, x, y] to samples."""
  return nufft(
    trajectory.reshape(-1, 2), MATRIX, n_coils=1, n_batches=1, n_threads=1
  ).op


@pytest.mark.parametrize("make", [radial, spiral])
def test_disc_keeps_its_position(make):
  trajectory = make()
  samples = disc_k_space(trajectory)
  images = window_images(samples, trajectory, matrix=MATRIX, window=WINDOW)
  assert images.shape == (len(samples) - WINDOW + 1, 1, MATRIX, MATRIX)
  assert images.dtype == np.complex64
  for image in images[[0, -1], 0]:
    inner, outer = DISTANCE < RADIUS - 1.5, DISTANCE > RADIUS + 1.5
    assert image[inner].mean() == pytest.approx(1, abs=0.03)
    assert image[inner].std() < 0.06
    assert image[outer].std() < 0.03
    magnitude = np.where(np.abs(image) > 0.5, np.abs(image), 0)
    total = magnitude.sum()
    assert magnitude.sum(0) @ AXIS / total == pytest.approx(X, abs=0.2)
    assert magnitude.sum(1) @ AXIS / total == pytest.approx(Y, abs=0.2)


def test_windows_are_means_by_coil():
  trajectory = radial(12)
  samples = complex_noise(12, 3, trajectory.shape[1])
  options = {
    "matrix": MATRIX,
    "weights": density_weights(trajectory, matrix=48),
  }
  frames = window_images(samples, trajectory, window=1, **options)
  assert frames.shape == (12, 3, MATRIX, MATRIX)
  scale = np.abs(frames).max()
  windows = window_images(samples, trajectory, window=5, stride=3, **options)
  expected = [frames[start : start + 5].mean(0) for start in (0, 3, 6)]
  np.testing.assert_allclose(windows, expected, atol=1e-6 * scale)
  alone = window_images(samples[:, 1:2], trajectory, window=1, **options)
  np.testing.assert_allclose(alone[:, 0], frames[:, 1], atol=1e-5 * scale)


def test_gridding_is_the_adjoint():
  # All frames in one window.
  trajectory = radial(20)
  weights = density_weights(trajectory, matrix=MATRIX)
  forward = operator_of(trajectory)

  def weighted(image):
    samples = forward(np.ascontiguousarray(image.swapaxes(2, 3)))
    return weights[:, None] * samples.reshape(20, 1, -1)

  check_adjoint(
    weighted,
    lambda samples: window_images(
      samples, trajectory, matrix=MATRIX, window=20
    ),
    complex_noise(1, 1, MATRIX, MATRIX),
    complex_noise(20, 1, trajectory.shape[1]),
  )


def test_gridding_is_linear():
  trajectory = radial(8)
  check_linear(
    lambda samples: window_images(
      samples, trajectory, matrix=MATRIX, window=4
    ).reshape(-1, 1),
    complex_noise(8, 2, trajectory.shape[1]),
    complex_noise(8, 2, trajectory.shape[1])[::-1],
  )


def test_phase_of_pulses_is_removed():
  trajectory = radial()
  samples = disc_k_space(trajectory)
  phases_deg = np.random.default_rng(0).uniform(0, 360, len(samples))
  turns = np.exp(1j * np.deg2rad(phases_deg)).astype(np.complex64)
  turned = samples * turns[:, None, None]
  options = {"matrix": MATRIX, "window": WINDOW}
  expected = window_images(samples, trajectory, **options)
  actual = window_images(turned, trajectory, phases_deg=phases_deg, **options)
  np.testing.assert_allclose(actual, expected, atol=1e-4)
  # If they are not removed, no disc is left.
  lost = window_images(turned, trajectory, **options)
  assert np.abs(lost - expected).max() > 0.3


def test_weights_reproduce_a_smooth_image():
  blob = np.exp(-((AXIS[:, None] - 5) ** 2 + (AXIS + 3) ** 2) / (2 * 36))
  for trajectory in (radial(), spiral()):
    forward = operator_of(trajectory)
    k_space = forward(blob.T.astype(np.complex64)[None, None].copy())
    samples = k_space.reshape(len(trajectory), 1, -1)
    back = window_images(samples, trajectory, matrix=MATRIX, window=96)[0, 0]
    error = np.linalg.norm(back - blob) / np.linalg.norm(blob)
    assert error < 0.03


def test_weights_of_spokes_are_the_ramp():
  # The area of a sample, π |k| / (spokes · samples), in mri-nufft's scale.
  trajectory = radial()
  weights = density_weights(trajectory, matrix=MATRIX).mean(0)
  n_frames, n_samples, _ = trajectory.shape
  radius = np.hypot(*trajectory[0].T)
  ramp = np.pi * radius / (n_frames * n_samples) * (2 * MATRIX) ** 2
  # Where spokes are further apart than samples, but not at the rim.
  part = (radius > 0.05) & (radius < 0.4)
  np.testing.assert_allclose(weights[part], ramp[part], rtol=0.05)


def test_frames_near_centre_keep_scale():
  # mri-nufft alone would stretch such frames to the whole band.
  trajectory = radial(16)
  trajectory[3] *= 0.1
  samples = complex_noise(16, 1, trajectory.shape[1])
  weights = np.ones(samples[:, 0].shape, np.float32)
  images = window_images(
    samples, trajectory, matrix=MATRIX, window=1, weights=weights
  )
  grid = np.stack(np.meshgrid(AXIS, AXIS, indexing="xy"))  # [x or y, y, x]
  waves = np.exp(2j * np.pi * np.tensordot(trajectory[3], grid, 1))
  expected = np.tensordot(samples[3, 0], waves, 1) * 16 / (2 * MATRIX)
  scale = np.abs(expected).max()
  np.testing.assert_allclose(images[3, 0], expected, atol=1e-3 * scale)


VALUES = {
  "samples": complex_noise(12, 1, 96),
  "trajectory": radial(12),
  "phases_deg": np.zeros(12),
  "weights": np.ones((12, 96), np.float32),
}


def refused(message, **changes):
  with pytest.raises(UserError, match=message):
    window_images(**{**VALUES, "window": 5, **changes}, matrix=MATRIX)


@pytest.mark.parametrize(
  ("window", "stride"), [(0, 1), (-1, 1), (13, 1), (5, 0)]
)
def test_window_must_fit_the_frames(window, stride):
  message = f"^window {window} and stride {stride} do not fit 12 frames$"
  refused(message, window=window, stride=stride)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_must_be_finite(name, bad):
  values = VALUES[name].copy()
  values[3] = bad
  refused(f"^{name}: [0-9]+ values are NaN", **{name: values})


@pytest.mark.parametrize(
  ("name", "shape"),
  [
    ("samples", (12, 96)),
    ("samples", (0, 1, 96)),
    ("trajectory", (11, 96, 2)),
    ("trajectory", (12, 96, 3)),
    ("phases_deg", (11,)),
    ("weights", (12, 95)),
  ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_shapes_must_fit(name, shape):
  refused(f"^{name} ha(s|ve) shape", **{name: np.full(shape, 0.5)})


@pytest.mark.parametrize("factor", [0.01, 2 * np.pi, MATRIX])
def test_trajectory_in_other_units(factor):
  trajectory = np.float32(factor) * VALUES["trajectory"]
  refused(r"the edge of the band is 0\.5 cycles", trajectory=trajectory)


def test_image_of_one_voxel():
  with pytest.raises(UserError, match=r"^matrix is 1, not at least 2$"):
    density_weights(radial(12), matrix=1)
