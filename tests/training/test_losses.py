"""Losses against their formulas, and what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.training.losses import (
  check_loss,
  negative_log_likelihood,
  split_deviations,
  squared_error,
  weighted_mean,
)


def test_likelihood_is_that_of_a_normal_distribution():
  rng = np.random.default_rng(0)
  estimates, maps = rng.normal(size=(2, 5, 3)).astype(np.float32)
  deviations = rng.uniform(0.01, 2.0, (5, 3)).astype(np.float32)
  # The network predicts what lies above the least deviation.
  least = np.exp(-7.0)
  outputs = np.concatenate([estimates, np.log(deviations - least)], -1)
  density = np.exp(-((estimates - maps) ** 2) / (2 * deviations**2))
  density = density / (np.sqrt(2 * np.pi) * deviations)
  found = negative_log_likelihood(jnp.asarray(outputs), jnp.asarray(maps))
  expected = -np.log(density.astype(np.float64)) - np.log(2 * np.pi) / 2
  finite = np.isfinite(expected)
  assert finite.sum() > 5
  np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-4)


def test_likelihood_finds_mean_and_deviation():
  """Of two groups of samples, one a hundred times as wide as the other."""
  rng = np.random.default_rng(0)
  samples = np.stack(
    [rng.normal(0.5, 0.2, 4000), rng.normal(0.1, 0.002, 4000)], 1
  ).astype(np.float32)[..., None]

  def loss(outputs):
    return negative_log_likelihood(
      jnp.broadcast_to(outputs[None], (4000, 2, 2)), jnp.asarray(samples)
    ).mean()

  optimizer = optax.adam(optax.cosine_decay_schedule(0.03, 2000))
  outputs = jnp.zeros((2, 2))

  @jax.jit
  def step(carry, _):
    outputs, state = carry
    updates, state = optimizer.update(jax.grad(loss)(outputs), state)
    return (optax.apply_updates(outputs, updates), state), None

  (outputs, _), _ = jax.lax.scan(
    step, (outputs, optimizer.init(outputs)), None, length=2000
  )
  mean, log_deviation = split_deviations(outputs)
  np.testing.assert_allclose(mean[:, 0], samples.mean(0)[:, 0], rtol=1e-2)
  np.testing.assert_allclose(
    np.exp(log_deviation[:, 0]), samples.std(0)[:, 0], rtol=0.05
  )


def test_weights_and_mask():
  losses = jnp.arange(12.0).reshape(4, 3)
  inside = jnp.array([True, False, True, False])[:, None]
  found = weighted_mean(losses, inside, (1.0, 1.0, 1.0))
  np.testing.assert_allclose(found, losses[::2].mean(), rtol=1e-6)
  found = weighted_mean(losses, inside, (0.5, 1e-9, 0.5))
  np.testing.assert_allclose(found, losses[::2, ::2].mean(), rtol=1e-6)
  same = squared_error(losses, losses + 2.0)
  np.testing.assert_allclose(same, 4.0)


@pytest.mark.parametrize(
  ("name", "weights", "word"),
  [
    ("absolute", (1.0, 1.0, 1.0), "absolute"),
    ("likelihood", (1.0, 1.0), "map_weights"),
    ("likelihood", (1.0, 0.0, 1.0), "map_weights"),
  ],
)
def test_refuses(name, weights, word):
  with pytest.raises(UserError, match=word):
    check_loss(name, weights)


def test_logarithms_of_times_and_back():
  rng = np.random.default_rng(0)
  maps = Maps(
    *(
      rng.uniform(low, high, 50).astype(np.float32)
      for low, high in ((0.3, 1.2), (200, 5000), (20, 2500))
    )
  )
  values = maps.stack().astype(np.float64)
  ranges = MapRange.of([maps], log_times=True)
  scaled = ranges.scale(values)
  assert scaled.min() == pytest.approx(0, abs=1e-6)
  assert scaled.max() == pytest.approx(1)
  np.testing.assert_allclose(ranges.unscale(scaled), values, rtol=1e-6)
  # A small deviation of the logarithm is a relative one of the time.
  step = np.full_like(scaled, 1e-6)
  moved = ranges.unscale(scaled + step) - ranges.unscale(scaled)
  found = ranges.unscale_deviations(step, scaled)
  np.testing.assert_allclose(found, moved, rtol=1e-3)
