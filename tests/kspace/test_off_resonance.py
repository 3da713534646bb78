"""Readouts under a field, against sums over voxels and samples."""

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.kspace.encoding import make_encoding
from mrf_jax.kspace.off_resonance import OffResonance, make_time_segments
from mrf_jax.kspace.spiral import make_spiral

MATRIX = 24
SPIRAL = make_spiral(
  matrix=MATRIX,
  n_arms=6,
  samples_per_arm=120,
  density_power=1.25,
  readout_ms=10.0,
)
TIMES_S = 1e-3 * SPIRAL.times_ms
AXIS = np.arange(MATRIX) - MATRIX // 2
MASK = np.hypot(AXIS[:, None], AXIS) < 9
COILS = np.exp(
  1j * np.arange(2)[:, None, None] * AXIS / 12 - (AXIS[:, None] / 20) ** 2
).astype(np.complex64)


def rates(frequency_hz, decay_per_s=0.0):
  y, x = np.nonzero(MASK)
  frequency = frequency_hz(x - MATRIX // 2, y - MATRIX // 2)
  return 2j * np.pi * frequency - decay_per_s + np.zeros(len(x))


def forward(images, rates_per_s, largest_error=1e-5):
  encoding = make_encoding(MASK, COILS, largest_error=1e-5)
  segments = make_time_segments(
    rates_per_s, TIMES_S, largest_error=largest_error
  )
  samples = encoding.of_samples(SPIRAL.trajectory[2])
  return OffResonance(samples, rates_per_s, segments).forward(images)


def direct(images, rates_per_s):
  """The sum over voxels with the time of each sample, in double precision."""
  y, x = np.nonzero(MASK)
  places = np.stack([x, y], 1) - MATRIX // 2
  turns = SPIRAL.trajectory[2].astype(np.float64) @ places.T
  waves = np.exp(-2j * np.pi * turns + TIMES_S[:, None] * rates_per_s)
  weighted = COILS[:, MASK][..., None] * images
  return np.einsum("sv,cvf->fcs", waves, weighted) / (2 * MATRIX)


@pytest.mark.parametrize(
  ("frequency_hz", "decay_per_s"),
  [
    (lambda x, y: 30.0 + 0 * x, 0.0),
    (lambda x, y: 4.0 * x - 0.3 * y**2, 0.0),
    (lambda x, y: 2.0 * y, 8.0),
  ],
)
def test_blurring_is_the_sum_with_time(frequency_hz, decay_per_s):
  rng = np.random.default_rng(0)
  shape = (int(MASK.sum()), 3)
  images = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(
    np.complex64
  )
  z = rates(frequency_hz, decay_per_s)
  expected = direct(images, z)
  error = np.linalg.norm(forward(images, z) - expected)
  assert error < 1e-4 * np.linalg.norm(expected)


def test_no_field_is_one_segment():
  segments = make_time_segments(
    rates(lambda x, y: 0 * x), TIMES_S, largest_error=1e-6
  )
  np.testing.assert_array_equal(segments.weights, 1)
  assert segments.weights.shape == (120, 1)


def test_constant_fields_need_one_segment():
  segments = make_time_segments(
    rates(lambda x, y: 40.0 + 0 * x), TIMES_S, largest_error=1e-6
  )
  assert len(segments.times_s) == 1


def test_a_field_in_another_unit_is_refused():
  with pytest.raises(UserError, match=r"a field over .* Hz .* is it in Hz\?"):
    make_time_segments(
      rates(lambda x, y: 4000.0 * x + 390.0 * y), TIMES_S, largest_error=1e-4
    )
