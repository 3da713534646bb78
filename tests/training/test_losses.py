"""Losses against their formulas, and weights of voxels and maps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import make_grid
from mrf_jax.errors import UserError
from mrf_jax.networks.cohen import Cohen
from mrf_jax.networks.outputs import split_deviations
from mrf_jax.training.losses import (
  balancing_weights,
  check_loss,
  negative_log_likelihood,
  separate_likelihood,
  squared_error,
  weighted_likelihood,
  weighted_mean,
)
from mrf_jax.training.state import VoxelTable
from tests.dataset.examples import random_maps
from tests.training.examples import OPTIONS, make_fold, make_step


def test_likelihood_of_normal_distribution():
  """That of deviations from a thousandth of the maps' range to twice it."""
  rng = np.random.default_rng(0)
  estimates, maps = rng.normal(size=(2, 50, 3)).astype(np.float32)
  deviations = np.geomspace(0.002, 2, 150, dtype=np.float32).reshape(50, 3)
  # The network predicts the excess over the least standard deviation.
  least = np.exp(-7.0)
  outputs = np.concatenate([estimates, np.log(deviations - least)], -1)
  losses = negative_log_likelihood(jnp.asarray(outputs), jnp.asarray(maps))
  expected = -stats.norm.logpdf(maps.astype(float), estimates, deviations)
  expected -= np.log(2 * np.pi) / 2
  np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-4)
  mean, log_deviation = split_deviations(jnp.asarray(outputs))
  np.testing.assert_array_equal(mean, estimates)
  np.testing.assert_allclose(np.exp(log_deviation), deviations, rtol=1e-4)


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
  maps = random_maps(50)
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
  network, optimizer = Cohen(widths=(5,)), optax.sgd(0.1)
  table = VoxelTable(
    jnp.array(signals),
    jnp.array(maps),
    make_grid([np.ones((1, 2, 4), bool)], padding=1),
  )

  def params(weights, change):
    """Weights after a step, with the maps of one voxel changed."""
    fold = make_fold(np.arange(1, 9), weights=weights)
    changed = table.maps.at[3].add(change)
    options = dataclasses.replace(OPTIONS, tile=1)
    state, step = make_step(
      network, fold, options, n_channels=4, optimizer=optimizer
    )
    shown = dataclasses.replace(table, maps=changed)
    state, _ = step(state, fold, shown, fold.rows)
    return jax.tree.leaves(state.params)

  weights = jnp.ones(9).at[3].set(0)
  before, after = params(weights, 0.0), params(weights, 0.4)
  jax.tree.map(np.testing.assert_array_equal, before, after)
  pairs = zip(params(None, 0.0), params(None, 0.4), strict=True)
  assert any((before != after).any() for before, after in pairs)


def test_separate_likelihood_is_two_trainings():
  """Maps by the squared error, deviations to the size of the error."""
  rng = np.random.default_rng(0)
  maps = rng.normal(size=(5, 3)).astype(np.float32)
  signs = rng.choice([-1, 1], (5, 3))
  estimates = maps + signs * rng.uniform(0.3, 2, (5, 3)).astype(np.float32)
  # With the errors' own size as the deviations, these stay.
  sizes = np.log(np.abs(estimates - maps))
  outputs = jnp.concatenate([jnp.array(estimates), jnp.array(sizes)], -1)
  found = jax.grad(lambda x: separate_likelihood(x, maps).sum())(outputs)
  np.testing.assert_allclose(found[:, :3], estimates - maps, rtol=1e-4)
  # But for the least deviation that there is, e^-7.
  np.testing.assert_allclose(found[:, 3:], 0, atol=1e-5)
  # Too small ones grow, and too large ones shrink, by as much in any voxel.
  for shift, sign in ((-0.5, -1), (0.5, 1)):
    changed = outputs.at[:, 3:].add(shift)
    found = jax.grad(lambda x: separate_likelihood(x, maps).sum())(changed)
    np.testing.assert_allclose(found[:, :3], estimates - maps, rtol=1e-4)
    own = np.asarray(sign * found[:, 3:])
    assert (own > 0).all() and np.ptp(own) < 0.1 * own.max()


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
