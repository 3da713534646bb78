"""Spatiotemporal network: convolution, sizes, dropout, statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax.networks.layers import ValidConv
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from tests.networks.examples import random_variables


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(5, 5), (8, 7)])
@pytest.mark.parametrize("train", [True, False])
def test_convolution_equals_that_of_lax(size, shape, train):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((3, *shape, 4), np.float32)
  kernel = rng.standard_normal((size, size, 4, 6), np.float32)
  bias = jnp.arange(6.0)
  variables = {"params": {"kernel": kernel, "bias": bias}}
  actual = ValidConv(6, size).apply(variables, x, train=train)
  expected = jax.lax.conv_general_dilated(
    x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  np.testing.assert_allclose(
    actual, expected + bias[None, None, None], atol=1e-4
  )


NETWORK = Spatiotemporal(widths=(16, 8), branch_width=4)
VARIABLES = random_variables(NETWORK, n_channels=6)


def test_whole_slice_equals_patches():
  image = jax.random.normal(jax.random.key(2), (1, 11, 9, 6))
  apply = jax.jit(functools.partial(NETWORK.apply, train=False))
  whole = apply(VARIABLES, image)[0]
  assert whole.shape == (7, 5, 3)
  patches = jnp.stack(
    [image[0, y : y + 5, x : x + 5] for y in range(7) for x in range(5)]
  )
  single = apply(VARIABLES, patches)
  np.testing.assert_allclose(whole.reshape(-1, 3), single[:, 0, 0], atol=1e-5)


def test_dropout_and_statistics_in_training():
  """Masks depend on the key; running statistics move by a hundredth."""
  x = jax.random.normal(jax.random.key(2), (64, 5, 5, 6))
  (first, updated), (second, _) = (
    NETWORK.apply(
      VARIABLES,
      x,
      train=True,
      rngs={"dropout": jax.random.key(seed)},
      mutable=["batch_stats"],
    )
    for seed in (3, 4)
  )
  assert np.abs(first - second).max() > 1e-3
  before = VARIABLES["batch_stats"]["BatchNorm_0"]["mean"]
  after = updated["batch_stats"]["BatchNorm_0"]["mean"]
  moved = np.abs(after - before)
  assert 0 < moved.max() < 0.05
  still = NETWORK.apply(VARIABLES, x, train=False)
  np.testing.assert_array_equal(still, NETWORK.apply(VARIABLES, x, train=False))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_biases_before_normalisation_train_only_with_dropout(dropout):
  """Without it, the normalisation takes off what a bias adds."""
  network = Spatiotemporal(widths=(16, 8), branch_width=4, dropout=dropout)
  x = jax.random.normal(jax.random.key(2), (8, 7, 7, 6))

  def outputs(params):
    maps, _ = network.apply(
      {**VARIABLES, "params": params},
      x,
      train=True,
      rngs={"dropout": jax.random.key(3)},
      mutable=["batch_stats"],
    )
    return maps

  params = VARIABLES["params"]
  gradients = jax.grad(lambda params: (outputs(params) ** 2).mean())(params)
  moved = jax.tree.map(jnp.copy, params)
  for name in set(params) - {"maps"}:
    if "bias" in params[name] and "kernel" in params[name]:
      assert bool(gradients[name]["bias"].any()) == (dropout > 0)
      moved[name]["bias"] += 1
  assert gradients["maps"]["bias"].any()
  change = np.abs(outputs(moved) - outputs(params)).max()
  assert change > 1e-3 if dropout else change < 1e-5
