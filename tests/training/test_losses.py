"""Losses against their formulas, and weights of voxels and maps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import make_grid
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.networks.cohen import Cohen
from mrf_jax.networks.outputs import split_deviations
from mrf_jax.training.losses import (
  balancing_weights,
  check_loss,
  negative_log_likelihood,
  squared_error,
  weighted_likelihood,
  weighted_mean,
)
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.state import Fold, VoxelTable, init_state
from mrf_jax.training.step import train_step


def test_likelihood_of_normal_distribution():
  rng = np.random.default_rng(0)
  estimates, maps = rng.normal(size=(2, 5, 3)).astype(np.float32)
  deviations = rng.uniform(0.01, 2.0, (5, 3)).astype(np.float32)
  # The network predicts the excess over the least standard deviation.
  least = np.exp(-7.0)
  outputs = np.concatenate([estimates, np.log(deviations - least)], -1)
  density = np.exp(-((estimates - maps) ** 2) / (2 * deviations**2))
  density = density / (np.sqrt(2 * np.pi) * deviations)
  losses = negative_log_likelihood(jnp.asarray(outputs), jnp.asarray(maps))
  expected = -np.log(density.astype(np.float64)) - np.log(2 * np.pi) / 2
  finite = np.isfinite(expected)
  assert finite.sum() > 5
  np.testing.assert_allclose(losses[finite], expected[finite], rtol=1e-4)


def test_likelihood_finds_mean_and_deviation():
  """Of two distributions, one a hundred times as wide as the other."""
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


def test_weighted_mean_inside_the_mask():
  losses = jnp.arange(12.0).reshape(4, 3)
  inside = jnp.array([True, False, True, False])[:, None]
  mean = weighted_mean(losses, inside, (1.0, 1.0, 1.0))
  np.testing.assert_allclose(mean, losses[::2].mean(), rtol=1e-6)
  mean = weighted_mean(losses, inside, (0.5, 1e-9, 0.5))
  np.testing.assert_allclose(mean, losses[::2, ::2].mean(), rtol=1e-6)
  np.testing.assert_allclose(squared_error(losses, losses + 2.0), 4.0)


@pytest.mark.parametrize(
  ("name", "weights", "word"),
  [
    ("absolute", (1.0, 1.0, 1.0), "absolute"),
    ("likelihood", (1.0, 1.0), "map_weights"),
    ("likelihood", (1.0, 0.0, 1.0), "map_weights"),
  ],
)
def test_invalid_loss_is_refused(name, weights, word):
  with pytest.raises(UserError, match=word):
    check_loss(name, weights)


def test_map_powers_can_be_inverted():
  rng = np.random.default_rng(0)
  maps = Maps(
    *(
      rng.uniform(low, high, 50).astype(np.float32)
      for low, high in ((0.3, 1.2), (200, 5000), (20, 2500))
    )
  )
  values = maps.stack().astype(np.float64)
  ranges = MapRange.of([maps], powers=(1.0, 0.0, 0.5))
  scaled = ranges.scale(values)
  assert scaled.min() == pytest.approx(0, abs=1e-6)
  assert scaled.max() == pytest.approx(1)
  np.testing.assert_allclose(ranges.unscale(scaled), values, rtol=1e-6)
  # A small deviation of the logarithm is a relative one of the time.
  step = np.full_like(scaled, 1e-6)
  moved = ranges.unscale(scaled + step) - ranges.unscale(scaled)
  deviations = ranges.unscale_deviations(step, scaled)
  np.testing.assert_allclose(deviations, moved, rtol=1e-3)


def test_rare_and_frequent_t1_are_balanced():
  rng = np.random.default_rng(0)
  counts = {700.0: 9000, 1100.0: 900, 4300.0: 90}
  t1_ms = np.concatenate([np.full(n, t1) for t1, n in counts.items()])
  t1_ms *= np.exp(0.02 * rng.normal(size=len(t1_ms)))
  full = balancing_weights(t1_ms, exponent=1.0)
  assert full.mean() == pytest.approx(1)
  sums = [full[np.abs(t1_ms / t1 - 1) < 0.2].sum() for t1 in counts]
  assert max(sums) < 1.2 * min(sums)
  half = balancing_weights(t1_ms, exponent=0.5)
  np.testing.assert_allclose(half**2 / full, (half**2 / full)[0])
  assert np.ptp(balancing_weights(t1_ms, exponent=0.0)) == 0


def test_voxels_without_weight_have_no_effect():
  signals = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
  maps = np.full((9, 3), 0.5, np.float32)
  network = Cohen(widths=(5,))
  table = VoxelTable(
    jnp.array(signals),
    jnp.array(maps),
    make_grid([np.ones((1, 2, 4), bool)], padding=1),
  )

  def params(weights, change):
    """Weights after a step, with the maps of one voxel changed."""
    fold = Fold(
      rows=jnp.arange(1, 9),
      low=jnp.zeros(3),
      high=jnp.ones(3),
      watched=jnp.zeros((2, 0), jnp.int32),
      key=jax.random.key(0),
      weights=weights,
    )
    changed = table.maps.at[3].add(change)
    optimizer = optax.sgd(0.1)
    state, _ = train_step(
      init_state(network, optimizer, fold.key, n_channels=4),
      fold,
      dataclasses.replace(table, maps=changed),
      jnp.arange(1, 9),
      network=network,
      optimizer=optimizer,
      options=TrainingOptions(
        seed=0, epochs=1, batch=8, tile=1, learning_rate=0.1
      ),
    )
    return jax.tree.leaves(state.params)

  weights = jnp.ones(9).at[3].set(0)
  pairs = zip(params(weights, 0.0), params(weights, 0.4), strict=True)
  for before, after in pairs:
    np.testing.assert_array_equal(before, after)
  pairs = zip(params(None, 0.0), params(None, 0.4), strict=True)
  assert any((before != after).any() for before, after in pairs)


def test_weighted_likelihood_gradient_of_maps():
  """It is half the gradient of the squared error, whatever the deviations."""
  rng = np.random.default_rng(0)
  estimates, maps, log_deviations = rng.normal(size=(3, 5, 3)).astype(
    np.float32
  )

  def gradient(loss):
    return jax.grad(lambda x: loss(x).sum())(jnp.array(estimates))

  expected = gradient(lambda x: squared_error(x, maps)) / 2
  for scale in (0.1, 1.0):
    deviations = jnp.array(scale * log_deviations)

    def loss(x, deviations=deviations):
      return weighted_likelihood(jnp.concatenate([x, deviations], -1), maps)

    np.testing.assert_allclose(gradient(loss), expected, rtol=1e-5)
