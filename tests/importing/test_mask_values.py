"""What the values of masks are taken for."""

import numpy as np
import pytest
import scipy.ndimage

from mrf_jax import UserError
from mrf_jax.importing.mask_values import meaning_of

SHAPE = (40, 44, 6)
X, Y, Z = np.indices(SHAPE)
BALL = np.hypot(X - 18, Y - 22) < 13
SOFT = scipy.ndimage.gaussian_filter(BALL.astype(float), (2.5, 2.5, 0))
HALF = SOFT >= 0.5
RNG = np.random.default_rng(0)


def inside(values):
  values = np.asarray(values, np.float32)
  meaning = meaning_of("m.nii", values)
  return values >= np.float32(meaning.least), meaning


@pytest.mark.parametrize(
  "values", [1, 7, 255, 1000, 0.3, 1 / 255, 1 + 1e-5, 0.9999]
)
def test_one_value_is_inside(values):
  found, meaning = inside(BALL * values)
  np.testing.assert_array_equal(found, BALL)
  assert not meaning.is_soft


def blocks(n):
  """`n` labels of an atlas, in the ball."""
  centres = RNG.permutation(np.argwhere(BALL))[:n]
  places = np.stack([X, Y, Z], -1)[..., None, :]
  nearest = np.argmin(((places - centres) ** 2).sum(-1), -1)
  return np.where(BALL, 1 + nearest, 0)


@pytest.mark.parametrize(
  "labels",
  [
    BALL * (1 + X % 3),
    BALL * np.array([2, 41, 251, 255])[X % 4 // 2 + 2 * (Y > 20)],
    BALL * (250 + X % 6),
    blocks(100),
    blocks(116),
    1000 + blocks(70) * BALL - 1000 * ~BALL,
    BALL * (1 + X % 3) * (1 + 2e-4),
  ],
)
def test_any_label_is_inside(labels):
  if set(np.unique(labels)) & {255} and np.unique(labels)[1] < 128:
    with pytest.raises(UserError, match="labels, or shares of 255"):
      inside(labels)
    return
  found, meaning = inside(labels)
  np.testing.assert_array_equal(found, BALL)
  assert "labels" in meaning.words and not meaning.is_soft


@pytest.mark.parametrize(
  ("full", "digits"), [(1, 6), (100, 3), (100, 0), (255, 0), (4095, 0)]
)
def test_shares_are_inside_from_one_half(full, digits):
  found, meaning = inside(np.round(SOFT * full, digits))
  assert meaning.is_soft and f"{full / 2:g} or more" in meaning.words
  assert np.count_nonzero(found ^ HALF) <= 0.01 * HALF.sum()


def test_overshoot_of_splines():
  found, meaning = inside(SOFT * 1.16 - 0.08)
  assert meaning.is_soft
  np.testing.assert_array_equal(found, SOFT * 1.16 - 0.08 >= 0.5)


NOISE = np.abs(RNG.normal(size=SHAPE))
BRAIN = BALL * (500 + 200 * np.sin(X / 3) + 30 * NOISE)


@pytest.mark.parametrize(
  "values",
  [
    BRAIN,
    np.round(BRAIN),
    np.round(BRAIN * 255 / BRAIN.max()),
    np.round(BRAIN + 20 * NOISE),
    BALL * (0.8 + 0.02 * X),  # T1 in seconds
    BALL * (2.0 * X - 40),
    np.where(BALL, 1, -1),
  ],
)
def test_images_are_no_masks(values):
  with pytest.raises(UserError, match=r"m\.nii: .*mask"):
    inside(values)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value):
  with pytest.raises(UserError, match="NaN or infinite"):
    inside(np.where(BALL, 1, value))
