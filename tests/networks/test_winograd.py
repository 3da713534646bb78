"""Winograd convolution and its gradients against the sum over the taps."""

import jax
import numpy as np
import pytest

from mrf_jax.networks.winograd import convolve


def make_images(size, shape):
  """Images that are not negative, as after ReLU, and taps, float64."""
  rng = np.random.default_rng(0)
  x = np.maximum(rng.normal(size=(2, *shape, 256)), 0)
  return x, rng.normal(size=(size, size, 256, 8)) / (16 * size)


def offsets(size, shape):
  """Of each tap, its place and the inputs that it multiplies."""
  height, width = (n - size + 1 for n in shape)
  for i in range(size):
    for j in range(size):
      yield (i, j), np.s_[:, i : i + height, j : j + width]


@pytest.mark.parametrize("tile", [2, 3, 4])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(12, 12), (9, 6)])
def test_equals_the_sum_over_taps(size, shape, tile):
  x, kernel = make_images(size, shape)
  expected = sum(x[part] @ kernel[tap] for tap, part in offsets(size, shape))
  actual = jax.jit(convolve, static_argnums=2)(
    x.astype(np.float32), kernel.astype(np.float32), tile
  )
  assert 0.3 < expected.std() < 1
  np.testing.assert_allclose(actual, expected, atol=1e-5 if tile == 2 else 3e-5)


@pytest.mark.parametrize("tile", [2, 3, 4])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(12, 12), (9, 6)])
def test_gradients_are_those_of_the_sum_over_taps(size, shape, tile):
  x, kernel = make_images(size, shape)
  height, width = (n - size + 1 for n in shape)
  gradient = np.random.default_rng(1).normal(size=(2, height, width, 8))
  of_x, of_kernel = np.zeros_like(x), np.zeros_like(kernel)
  for tap, part in offsets(size, shape):
    of_x[part] += gradient @ kernel[tap].T
    of_kernel[tap] = np.tensordot(x[part], gradient, ((0, 1, 2),) * 2)

  @jax.jit
  def gradients(x, kernel, gradient):
    _, backward = jax.vjp(lambda *pair: convolve(*pair, tile), x, kernel)
    return backward(gradient)

  actual = gradients(*(a.astype(np.float32) for a in (x, kernel, gradient)))
  for found, expected in zip(actual, (of_x, of_kernel), strict=True):
    assert found.shape == expected.shape
    error = np.abs(found - expected).max()
    assert error < 2e-5 * np.abs(expected).max()
