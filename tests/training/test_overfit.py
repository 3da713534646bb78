"""Each network can overfit 64 voxels."""

import dataclasses

import jax
import numpy as np
import pytest

from mrf_jax.dataset.patches import make_grid
from mrf_jax.networks import NETWORKS
from mrf_jax.training.optimizer import make_optimizer
from mrf_jax.training.state import VoxelTable
from tests.training.examples import OPTIONS, make_fold, make_step

NETWORK_OPTIONS = {
  "spatiotemporal": dict(widths=(64, 64), branch_width=64, dropout=0.0),
  "spatiotemporal_plus": dict(widths=(64, 64), depth=1, n_outputs=3),
  "cohen": {},
  "hoppe": dict(
    features=(16, 16, 32, 32), strides=(2, 1, 1, 1), dense=(64, 64, 64)
  ),
}


@pytest.mark.parametrize("method", NETWORKS)
def test_overfits_64_voxels(method):
  network = NETWORKS[method](**NETWORK_OPTIONS[method])
  rng = np.random.default_rng(0)
  mask = np.ones((1, 12, 12), bool)
  signals = rng.normal(size=(1 + mask.sum(), 2 * 50)).astype(np.float32)
  signals[0] = 0
  maps = rng.uniform([0.5, 500, 40], [1.1, 4000, 900], (len(signals), 3))
  maps = maps.astype(np.float32)
  table = VoxelTable(
    signals, maps, make_grid([mask], padding=network.reach + 1)
  )
  centres = np.arange(1, 65)
  fold = make_fold(centres, low=maps[centres].min(0), high=maps[centres].max(0))
  options = dataclasses.replace(
    OPTIONS, tile=1, learning_rate=2e-3, schedule="cosine"
  )
  n_steps = 800
  state, step = make_step(
    network,
    fold,
    options,
    n_channels=signals.shape[1],
    optimizer=make_optimizer(options, n_steps=n_steps),
  )
  _, losses = jax.lax.scan(
    lambda state, _: step(state, fold, table, fold.rows),
    state,
    length=n_steps,
  )
  # Maps are scaled to [0, 1]: a hundredth is one per cent of their range.
  assert np.sqrt(losses[-1]) < 0.01
