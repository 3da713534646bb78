"""Slice profiles of sinc pulses, and profiles that are not valid."""

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence.schedules import tailored
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.signal.slice_profile import SliceProfile, sinc_slice_profile


def test_edge_is_at_half_thickness():
  profile = sinc_slice_profile(time_bandwidth=8.0, n_sub_slices=60)
  position = (1 + np.polynomial.legendre.leggauss(60)[0]) / 2 * 1.5
  inner, outer = position < 0.65, position > 1.3
  np.testing.assert_allclose(profile.flip_factors[inner], 1, atol=0.02)
  assert np.abs(profile.flip_factors[outer]).max() < 0.05
  edge = np.interp(1.0, position, profile.flip_factors)
  assert edge == pytest.approx(0.5, abs=0.02)
  assert profile.weights.sum() == pytest.approx(1)


def test_longer_pulse_is_sharper():
  soft, sharp = (
    sinc_slice_profile(time_bandwidth=t, n_sub_slices=40).flip_factors
    for t in (2.0, 8.0)
  )
  ideal = np.polynomial.legendre.leggauss(40)[0] < 2 / 1.5 - 1
  assert np.abs(sharp - ideal).mean() < 0.5 * np.abs(soft - ideal).mean()


@pytest.mark.parametrize("time_bandwidth", [2.7, 4.0, 8.0])
def test_few_sub_slices_are_enough(time_bandwidth):
  """Beside twenty times as many, for windows of tissue in a whole train."""
  few = sinc_slice_profile(time_bandwidth=time_bandwidth)
  count = 20 * len(few.weights)
  many = sinc_slice_profile(time_bandwidth=time_bandwidth, n_sub_slices=count)
  one, other = (
    sliding_window(
      simulate_fingerprints(
        tailored(), [685.0, 1150.0], [68.0, 88.0], slice_profile=profile
      ),
      window=48,
      stride=8,
    )
    for profile in (few, many)
  )
  error = np.linalg.norm(one - other, axis=1) / np.linalg.norm(other, axis=1)
  assert error.max() < 1e-3


@pytest.mark.parametrize(
  ("factors", "weights", "message"),
  [
    ([1.0, 0.5], [1.0], "shape"),
    ([1.0, np.nan], [1.0, 1.0], r"flip_factors\[1\] is nan"),
    ([1.0, 0.5], [1.0, -1.0], r"weights\[1\] is -1"),
    ([1.0], [0.0], "sum to zero"),
  ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_profiles_that_are_not_valid(factors, weights, message):
  with pytest.raises(UserError, match=message):
    SliceProfile(np.array(factors), np.array(weights))


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("time_bandwidth", 0),
    ("time_bandwidth", np.inf),
    ("n_sub_slices", 0),
    ("extent", np.nan),
  ],
)
def test_pulses_that_are_not_valid(name, value):
  with pytest.raises(UserError, match=f"{name} is {value}"):
    sinc_slice_profile(**{name: value})
