"""Variable projection against a fine grid of p."""

import jax
import jax.numpy as jnp
import numpy as np

from mrf_jax.relaxometry.variable_projection import minimise

X = np.linspace(0.0, 3.0, 12)
BOUNDS = (np.log(0.05), np.log(20.0))


def _least_costs(signals):
  """Least cost of each voxel over 20,000 values of p, [voxel]."""
  p = np.linspace(*BOUNDS, 20_000)
  g = np.exp(-X * np.exp(p)[:, None])
  g /= np.linalg.norm(g, axis=1, keepdims=True)
  explained = np.max((signals @ g.T) ** 2, 1)
  return np.sum(signals**2, 1) - explained


def _fit(signals, start):
  """Exponents p, decays g(p) and residuals of the best amplitudes."""
  with jax.enable_x64(True):
    x = jnp.asarray(X)[:, None]
    a, p = minimise(
      lambda p: jnp.exp(-x * jnp.exp(p)[None]),
      jnp.asarray(signals.T),
      jnp.full(len(signals), start),
      bounds=jnp.asarray(BOUNDS),
      n_iterations=40,
    )
  g = np.exp(-X * np.exp(p)[:, None])
  return np.asarray(p), g, signals - np.asarray(a)[:, None] * g


def test_least_cost_despite_bad_start():
  rng = np.random.default_rng(0)
  signals = np.exp(-X * rng.uniform(0.1, 10, 300)[:, None])
  signals += rng.normal(0, 0.3, signals.shape)
  least = _least_costs(signals)
  for start in (*BOUNDS, 0.0):
    p, _, residual = _fit(signals, start)
    assert np.all((p >= BOUNDS[0]) & (p <= BOUNDS[1]))
    excess = np.sum(residual**2, 1) / least - 1
    assert np.quantile(excess, 0.97) < 1e-5
    assert np.median(excess) < 1e-7


def test_amplitude_is_the_best():
  signals = np.random.default_rng(1).normal(size=(20, len(X)))
  _, g, residual = _fit(signals, 0.0)
  np.testing.assert_allclose(np.sum(residual * g, 1), 0, atol=1e-12)
