"""Normal numbers from hashed bits: distribution, keys, vectorisation."""

import jax
import numpy as np
import pytest
from scipy import stats

from mrf_jax.networks.hashing import hashed_normal, key_words, normal_of


def draw(key, shape=(100_000,)):
  return np.asarray(hashed_normal(key_words(key), shape))


@pytest.mark.parametrize("seed", range(5))
def test_normal_numbers_are_normal(seed):
  x = draw(jax.random.key(seed))
  assert stats.kstest(x, "norm").pvalue > 1e-3
  assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.015
  assert 3.5 < np.abs(x).max() < 5.5


def test_the_ends_are_finite_and_symmetric():
  bits = np.array([0, 2**31 - 512, 2**31, 2**32 - 1], np.uint32)
  low, below, above, high = np.asarray(normal_of(bits))
  assert 5 < high < 5.4
  assert low == -high
  assert 0 < above == -below < 1e-6


def test_consecutive_keys_are_not_correlated():
  key = jax.random.key(0)
  first, second = (draw(jax.random.fold_in(key, step)) for step in (0, 1))
  assert abs(np.corrcoef(first, second)[0, 1]) < 0.015


def test_numbers_under_vmap():
  keys = jax.random.split(jax.random.key(0), 3)
  together = jax.vmap(lambda key: hashed_normal(key_words(key), (50,)))(keys)
  for key, numbers in zip(keys, together, strict=True):
    np.testing.assert_allclose(numbers, draw(key, (50,)), rtol=1e-6)
