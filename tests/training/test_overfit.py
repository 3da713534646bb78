"""Each network can learn: 64 voxels by heart."""

import jax
import numpy as np
import optax
import pytest

from mrf_jax.dataset.patches import make_grid
from mrf_jax.networks import NETWORKS
from mrf_jax.training.step import Fold, VoxelTable, init_state, train_step

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
  reach = network.reach
  rng = np.random.default_rng(0)
  mask = np.ones((1, 12, 12), bool)
  signals = rng.normal(size=(1 + mask.sum(), 2 * 50)).astype(np.float32)
  signals[0] = 0
  maps = rng.uniform([0.5, 500, 40], [1.1, 4000, 900], (len(signals), 3))
  table = VoxelTable(
    signals, maps.astype(np.float32), make_grid([mask], padding=reach + 1)
  )
  centres = np.arange(1, 65)
  fold = Fold(
    rows=centres,
    low=maps[centres].min(0),
    high=maps[centres].max(0),
    watched=np.zeros((2, 0), np.int32),
    key=jax.random.key(0),
  )
  optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, 800))
  state = init_state(
    network, optimizer, fold.key, n_channels=signals.shape[1], reach=reach
  )

  @jax.jit
  def step(state, _):
    return train_step(
      state,
      fold,
      table,
      fold.rows,
      model=network,
      optimizer=optimizer,
      reach=reach,
      tile=1,
    )

  _, losses = jax.lax.scan(step, state, None, length=800)
  # Maps are scaled to [0, 1]: a hundredth is one per cent of their range.
  assert np.sqrt(losses[-1]) < 0.01
