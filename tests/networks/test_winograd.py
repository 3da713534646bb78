"""Winograd convolution against the sum over the taps."""

import jax
import numpy as np
import pytest

from mrf_jax.networks.winograd import convolve


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(12, 12), (9, 6)])
def test_equals_the_sum_over_taps(size, shape):
  rng = np.random.default_rng(0)
  x = np.maximum(rng.normal(size=(2, *shape, 256)), 0)
  kernel = rng.normal(size=(size, size, 256, 8)) / (16 * size)
  height, width = (n - size + 1 for n in shape)
  expected = sum(
    x[:, i : i + height, j : j + width] @ kernel[i, j]
    for i in range(size)
    for j in range(size)
  )
  actual = jax.jit(convolve)(x.astype(np.float32), kernel.astype(np.float32))
  assert 0.3 < expected.std() < 1
  np.testing.assert_allclose(actual, expected, atol=1e-5)
