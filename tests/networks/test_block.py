"""Dropout, batch normalisation and ReLU against Flax, and random masks."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax.networks.block import DropoutNormRelu, keep_mask, key_words
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.training.state import fast_key
from tests.networks.examples import random_variables

RATE = 0.2
TRAIN = {"train": True, "mutable": ["batch_stats"]}


class Reference(nn.Module):
  """The same block made of Flax's modules, with a given mask."""

  @nn.compact
  def __call__(self, x, mask, *, train):
    x = jnp.where(mask, x / (1 - RATE), 0) if train else x
    x = nn.BatchNorm(
      use_running_average=not train, momentum=0.99, epsilon=1e-3
    )(x)
    return nn.relu(x)


class Ours(nn.Module):
  rate: float = RATE

  @nn.compact
  def __call__(self, x, *, train):
    return DropoutNormRelu(self.rate, name="BatchNorm_0")(x, train=train)


def mask_of(shape, *, seed=0, rate=RATE):
  words = key_words(fast_key(jax.random.key(seed)))
  return np.asarray(keep_mask(words, shape, rate=rate))


def variables_and_input(shape):
  x = 3 + 2 * jax.random.normal(jax.random.key(1), shape)
  variables = Ours().init(jax.random.key(0), x, train=False)
  moved = jax.tree.map(
    lambda v: v + 0.3 * jax.random.uniform(jax.random.key(2), v.shape),
    variables,
  )
  return moved, x


# 24 rows are summed in two parts; 7 · 13 · 3 and 31 have few divisors.
@pytest.mark.parametrize("shape", [(6, 2, 2, 5), (7, 13, 3, 4), (31, 1, 1, 8)])
def test_equals_flax_with_gradients(shape, monkeypatch):
  variables, x = variables_and_input(shape)
  key = jax.random.key(5)
  words = []  # of the key that the module uses
  monkeypatch.setattr(
    "mrf_jax.networks.block.key_words",
    lambda key: words.append(key_words(key)) or words[-1],
  )
  weight = jax.random.normal(jax.random.key(3), shape)

  def outputs_and_gradients(apply):
    def weighted(variables, x):
      y, updated = apply(variables, x, **TRAIN)
      return (weight * y).sum(), (y, updated)

    gradient = jax.grad(weighted, argnums=(0, 1), has_aux=True)
    (of_variables, of_x), (y, updated) = gradient(variables, x)
    return y, updated, (of_variables["params"], of_x)

  actual, updated, gradients = outputs_and_gradients(
    functools.partial(Ours().apply, rngs={"dropout": key})
  )
  mask = keep_mask(words[0], shape, rate=RATE)
  expected, expected_updated, expected_gradients = outputs_and_gradients(
    lambda variables, x, **options: Reference().apply(
      variables, x, mask, **options
    )
  )
  np.testing.assert_allclose(actual, expected, atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    updated,
    expected_updated,
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
    gradients,
    expected_gradients,
  )


def test_inference_equals_that_of_flax():
  variables, x = variables_and_input((6, 2, 2, 5))
  reference = Reference()
  mask = np.ones(x.shape, bool)
  fresh = reference.init(jax.random.key(0), x, mask, train=False)
  assert jax.tree.structure(fresh) == jax.tree.structure(variables)
  np.testing.assert_array_equal(
    Ours().apply(variables, x, train=False),
    reference.apply(variables, x, mask, train=False),
  )


def test_no_dropout_needs_no_key():
  variables, x = variables_and_input((6, 2, 2, 5))
  y, _ = Ours(rate=0.0).apply(variables, x, **TRAIN)
  assert (y > 0).mean() > 0.2
  with pytest.raises(Exception, match="dropout"):
    Ours().apply(variables, x, **TRAIN)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.9])
def test_dropped_share_is_the_rate(rate):
  n = 2**22
  dropped = n - mask_of((n,), rate=rate).sum()
  deviation = np.sqrt(n * rate * (1 - rate))
  assert abs(dropped - n * rate) < 4 * deviation


def test_rows_and_columns_have_binomial_counts():
  kept = mask_of((4096, 512))
  for axis in (0, 1):
    counts = kept.sum(axis)
    n = kept.shape[axis]
    variance = n * RATE * (1 - RATE)
    # Of the sample variance of m counts: √(2 / m).
    spread = np.sqrt(2 / counts.size)
    assert abs(counts.var() / variance - 1) < 5 * spread


@pytest.mark.parametrize("distance", [1, 2, 3, 5, 16, 64, 512, 2560, 2**18])
def test_elements_are_not_correlated(distance):
  kept = mask_of((2**21,)).astype(np.float64) - (1 - RATE)
  product = kept[:-distance] * kept[distance:]
  correlation = product.mean() / (RATE * (1 - RATE))
  assert abs(correlation) < 5 / np.sqrt(product.size)


def test_patterns_of_eight_are_binomial():
  bits = mask_of((2**21,)).reshape(-1, 8)
  patterns = np.bincount(bits @ (1 << np.arange(8)), minlength=256)
  kept = np.array([bin(i).count("1") for i in range(256)])
  expected = len(bits) * (1 - RATE) ** kept * RATE ** (8 - kept)
  common = expected > 5
  chi2 = ((patterns - expected) ** 2 / expected)[common].sum()
  degrees = common.sum() - 1
  assert abs(chi2 - degrees) < 5 * np.sqrt(2 * degrees)


def test_masks_of_keys_are_independent():
  """Keys of steps, layers and folds may differ by one bit."""
  n = 2**20
  words = [(0, 0), (1, 0), (0, 1), (1, 1), (2**31, 0), (0, 2**31), (512, 0)]
  masks = [
    np.asarray(keep_mask(jnp.array(w, jnp.uint32), (n,), rate=RATE))
    for w in words
  ]
  masks += [mask_of((n,), seed=seed) for seed in range(3)]
  correlation = np.corrcoef(np.stack(masks)[:, :-512])
  off_diagonal = correlation[~np.eye(len(masks), dtype=bool)]
  assert np.abs(off_diagonal).max() < 6 / np.sqrt(n)


def test_layers_and_steps_drop_different_elements(monkeypatch):
  """Flax gives each of four blocks another key, in each of two steps."""
  used = []
  network = Spatiotemporal(widths=(8, 8), branch_width=8)
  x = jnp.ones((2, 5, 5, 4))
  variables = random_variables(network, n_channels=4)
  monkeypatch.setattr(
    "mrf_jax.networks.block.key_words",
    lambda key: used.append(key_words(key)) or used[-1],
  )
  for step in range(2):
    key = fast_key(jax.random.fold_in(jax.random.key(0), step))
    network.apply(variables, x, rngs={"dropout": key}, **TRAIN)
  assert np.shape(used) == (8, 2)
  assert all(len(set(words)) == 8 for words in np.transpose(used).tolist())


def test_masks_under_vmap():
  keys = jax.random.split(jax.random.key(0), 3)

  def mask(key):
    return keep_mask(key_words(fast_key(key)), (64, 3), rate=RATE)

  together = jax.vmap(mask)(keys)
  in_turn = np.stack([mask(key) for key in keys])
  np.testing.assert_array_equal(together, in_turn)
  assert (together[0] != together[1]).any()


def test_statistics_of_bfloat16_are_float32():
  variables, x = variables_and_input((600, 5, 5, 16))
  key = jax.random.key(5)
  full, updated = Ours().apply(variables, x, rngs={"dropout": key}, **TRAIN)
  half, half_updated = Ours().apply(
    variables, x.astype(jnp.bfloat16), rngs={"dropout": key}, **TRAIN
  )
  assert half.dtype == jnp.bfloat16
  np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.05)
  for name, value in half_updated["batch_stats"]["BatchNorm_0"].items():
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(
      value, updated["batch_stats"]["BatchNorm_0"][name], rtol=2e-3
    )
