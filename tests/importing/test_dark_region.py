"""Noise of a scan, from voxels far from its object."""

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.importing.dark_region import dark_noise_level
from tests.laws import complex_noise

SIDE, N_IMAGES = 48, 40


def images(noise_sd, radius=15.0, seed=0):
  """A bright disc in two slices with noise, [x, y, slice, image]."""
  x, y = np.indices((SIDE, SIDE)) - SIDE / 2 + 0.5
  disc = (np.hypot(x, y) < radius)[..., None, None]
  shape = (SIDE, SIDE, 2, N_IMAGES)
  signal = np.linspace(0.5, 1.5, N_IMAGES) * disc
  return signal + noise_sd * complex_noise(*shape, seed=seed)


def magnitude(values):
  return np.abs(values).mean(-1).astype(np.float32)


@pytest.mark.parametrize("noise_sd", [0.01, 0.05, 0.2])
def test_noise_of_a_simulated_scan(noise_sd):
  level, count = dark_noise_level(magnitude(images(noise_sd)))
  assert level == pytest.approx(noise_sd, rel=0.05)
  assert count > 1000


def test_zeros_that_were_filled_in_tell_nothing():
  values = images(0.05)
  values[:6] = 0
  values[-6:] = 0
  level, _ = dark_noise_level(magnitude(values))
  assert level == pytest.approx(0.05, rel=0.05)


def test_a_bright_spot_far_away_changes_little():
  values = images(0.05)
  values[2:5, 2:5] += 0.6
  level, _ = dark_noise_level(magnitude(values))
  assert level == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(
  ("values", "words"),
  [
    (images(0.05, radius=40), "there is no dark region"),
    (images(0.0), "0 voxels that are not 0 are more than 3 voxels"),
    (np.ones((SIDE, SIDE, 2, 3)), "which shows no object"),
  ],
)
def test_no_dark_region_is_one_line(values, words):
  with pytest.raises(UserError, match=words) as error:
    dark_noise_level(magnitude(values))
  assert "\n" not in str(error.value)
