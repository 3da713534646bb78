"""What a network sees of each voxel."""

import numpy as np

from mrf_jax.networks.channels import (
  b1_channel,
  channel_count,
  sees_b1,
  with_b1_channel,
)
from mrf_jax.networks.cohen import Cohen
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus


def test_one_channel_more_for_b1_alone():
  assert channel_count(Cohen(), n_components=7) == 14
  assert channel_count(SpatiotemporalPlus(), n_components=7) == 14
  network = SpatiotemporalPlus(sees_b1=True)
  assert sees_b1(network) and channel_count(network, n_components=7) == 15


def test_the_nominal_flip_angle_is_zero():
  b1 = np.array([1.0, 1.2, 0.8], np.float32)
  np.testing.assert_allclose(b1_channel(b1), [0, 1, -1], atol=1e-6)
  seen = with_b1_channel(np.ones((3, 4), np.float32), b1)
  assert seen.dtype == np.float32 and seen.shape == (3, 5)
  np.testing.assert_array_equal(seen[:, :4], 1)
  np.testing.assert_array_equal(seen[:, 4], b1_channel(b1))
