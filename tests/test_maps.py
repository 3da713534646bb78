import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax import Maps
from mrf_jax.maps import bounded, count_at_bounds


@pytest.mark.parametrize("xp", [np, jnp])
def test_impossible_estimates_are_bounded(xp):
  pd = xp.array([-0.1, 0.5, 0.5, 0.5])
  t1_ms = xp.array([900.0, -5.0, 600.0, 700.0])
  t2_ms = xp.array([80.0, 30.0, -4.0, 900.0])
  maps = bounded(Maps(pd, t1_ms, t2_ms))
  np.testing.assert_allclose(maps.pd, [0, 0.5, 0.5, 0.5])
  np.testing.assert_allclose(maps.t1_ms, [900, 1, 600, 700])
  np.testing.assert_allclose(maps.t2_ms, [80, 1, 1, 700])
  assert count_at_bounds(maps) == 4


def test_possible_estimates_stay():
  values = np.float32([[0.7, 600, 70], [1.0, 4000, 2000]]).T
  maps = Maps(*values)
  np.testing.assert_array_equal(bounded(maps).stack(), maps.stack())
  assert count_at_bounds(maps) == 0
