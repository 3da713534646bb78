import numpy as np
import pytest

from mrf_jax.fit.orders import alike


def test_neighbours_of_a_ramp_are_alike_along_both_axes():
  mask = np.ones((2, 12, 12), bool)
  _, y, x = np.nonzero(mask)
  assert alike(x + 0.0, mask) == pytest.approx({"y": 1.0, "x": 1.0})
  # Lines alternate.
  assert alike(y % 2 + 0.0, mask) == pytest.approx({"y": -1.0, "x": 1.0})


def test_what_neighbours_do_not_tell():
  mask = np.ones((2, 12, 12), bool)
  assert alike(np.ones(mask.sum()), mask) == {"y": 1.0, "x": 1.0}
  values = np.random.default_rng(0).normal(size=mask.sum())
  assert max(map(abs, alike(values, mask).values())) < 0.2
  values[::2] = np.nan
  assert "x" not in alike(values, mask)
  assert alike(np.ones(4), np.ones((1, 2, 2), bool)) == {}
