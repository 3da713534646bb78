import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mrf_jax.dataset.patches import make_grid
from mrf_jax.networks import NETWORKS
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.training.epochs import Plan
from mrf_jax.training.step import Fold, VoxelTable, init_state, train_step

REACH = Spatiotemporal().reach

N_CHANNELS = 2 * 40
NETWORK_OPTIONS = {
  "spatiotemporal": dict(widths=(32, 16), branch_width=16, dropout=0.2),
  "spatiotemporal_plus": dict(widths=(32, 16), depth=1, n_outputs=3),
  "cohen": {},
  "hoppe": dict(
    features=(8, 8, 8, 8), kernels=(5, 4, 3, 3), strides=(2, 1, 1, 1)
  ),
}


@pytest.fixture
def study():
  """Maps that are a smooth function of the signals of one full slice."""
  rng = np.random.default_rng(0)
  mask = np.ones((1, 24, 24), bool)
  signals = rng.normal(size=(1 + mask.sum(), N_CHANNELS)).astype(np.float32)
  signals[0] = 0
  maps = np.tanh(signals[:, :3]).astype(np.float32)
  fold = Fold(
    rows=np.arange(1, len(signals), dtype=np.int32),
    low=-np.ones(3, np.float32),
    high=np.ones(3, np.float32),
    watched=np.zeros((2, 0), np.int32),
    key=jax.random.key(0),
  )
  return VoxelTable(signals, maps, make_grid([mask], padding=REACH + 4)), fold


def make_step(fold, *, method="spatiotemporal", optimizer=None, **options):
  """A fresh state, and a step of 64 estimates."""
  network = NETWORKS[method](**NETWORK_OPTIONS[method])
  reach = network.reach
  optimizer = optimizer or optax.adam(1e-3)
  state = init_state(
    network, optimizer, fold.key, n_channels=N_CHANNELS, reach=reach
  )
  step = functools.partial(
    train_step, model=network, optimizer=optimizer, reach=reach, **options
  )
  return state, jax.jit(step)


def centres_of(tile):
  rows = np.random.default_rng(1).permutation(24 * 24)[: 64 // tile**2]
  return rows.astype(np.int32) + 1


@pytest.mark.parametrize("tile", [1, 4])
def test_bfloat16_has_the_gradient_of_float32(study, tile):
  """Of each parameter within a fifth of its length and eleven degrees.

  Most agree to a hundredth; where rounding carries one of only 64 activations
  over the ReLU's threshold, it moves what stands before it by a tenth.
  """
  table, fold = study
  gradients = {}
  for dtype in (jnp.float32, jnp.bfloat16):
    # The step of plain descent with a rate of one is the gradient.
    state, step = make_step(
      fold, optimizer=optax.sgd(1.0), tile=tile, compute_dtype=dtype
    )
    after, loss = step(state, fold, table, centres_of(tile))
    assert loss.dtype == jnp.float32
    gradients[dtype] = jax.tree.map(
      lambda a, b: np.asarray(a - b), state.params, after.params
    )
  for path, full in jax.tree_util.tree_leaves_with_path(gradients[jnp.float32]):
    half = functools.reduce(
      lambda tree, key: tree[key.key], path, gradients[jnp.bfloat16]
    )
    error, length = np.linalg.norm(half - full), np.linalg.norm(full)
    assert error < 0.2 * length, path
    assert (half * full).sum() > 0.98 * np.linalg.norm(half) * length, path


@pytest.mark.parametrize("method", NETWORKS)
def test_bfloat16_leaves_the_state_in_float32(study, method):
  table, fold = study
  state, step = make_step(
    fold, method=method, tile=1, compute_dtype=jnp.bfloat16
  )
  after, _ = step(state, fold, table, centres_of(1))
  types = jax.tree.map(lambda x: x.dtype, state)
  assert jax.tree.map(lambda x: x.dtype, after) == types
  floats = (after.params, after.batch_stats)
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(floats))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("tile", [1, 4])
def test_folds_side_by_side_step_as_folds_in_turn(study, tile, dtype):
  """With dropout: each fold's mask is its own, whatever stands beside it."""
  table, fold = study
  folds, states, losses = [], [], []
  for key in jax.random.split(jax.random.key(3), 3):
    one = Fold(fold.rows, fold.low, fold.high, fold.watched, key)
    state, step = make_step(one, tile=tile, compute_dtype=dtype)
    folds.append(one)
    states.append(state)
    losses.append(step(state, one, table, centres_of(tile))[1])

  def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

  _, together = jax.vmap(step, in_axes=(0, 0, None, None))(
    stack(states), stack(folds), table, centres_of(tile)
  )
  np.testing.assert_allclose(
    together, losses, rtol=1e-5 if dtype == jnp.float32 else 1e-2
  )
  assert len(np.unique(losses)) == 3


@pytest.mark.parametrize("stored", [jnp.bfloat16, jnp.float16])
def test_table_may_be_stored_in_half_precision(study, stored):
  table, fold = study
  half = VoxelTable(jnp.asarray(table.signals, stored), table.maps, table.grid)
  state, step = make_step(fold, tile=1)
  _, full_loss = step(state, fold, table, centres_of(1))
  _, half_loss = step(state, fold, half, centres_of(1))
  assert float(half_loss) == pytest.approx(float(full_loss), rel=1e-2)


def test_dropout_differs_from_step_to_step(study):
  table, fold = study
  still = optax.sgd(0.0)
  state, step = make_step(fold, optimizer=still, tile=1)
  state, first = step(state, fold, table, centres_of(1))
  state, second = step(state, fold, table, centres_of(1))
  assert first != second


def test_network_without_dropout_ignores_the_key(study):
  table, fold = study
  network = Spatiotemporal(widths=(8, 8), branch_width=8, dropout=0.0)
  optimizer = optax.sgd(0.0)
  state = init_state(
    network, optimizer, fold.key, n_channels=N_CHANNELS, reach=REACH
  )
  losses = []
  for key in (fold.key, jax.random.key(9)):
    other = Fold(fold.rows, fold.low, fold.high, fold.watched, key)
    _, loss = train_step(
      state,
      other,
      table,
      centres_of(1),
      model=network,
      optimizer=optimizer,
      reach=REACH,
      tile=1,
    )
    losses.append(loss)
  assert losses[0] == losses[1]


class _Centre(nn.Module):
  """Knows the maps: they are a function of the voxel's own signals."""

  slope: float = 0.0
  slices = 1

  @nn.compact
  def __call__(self, signals, *, train):
    del train
    unused = self.param("unused", nn.initializers.zeros, (1,))
    inner = signals[:, REACH:-REACH, REACH:-REACH, :3]
    # What stands on the right of the centre, where mirrors change it.
    right = signals[:, REACH:-REACH, REACH + 1 : -REACH + 1 or None, :3]
    scaled = (jnp.tanh(inner) + self.slope * right + 1) / 2
    return scaled + unused.reshape(1, 1, 1, 1)


@pytest.mark.parametrize("flips", [False, True])
def test_a_mirrored_tile_has_the_maps_of_its_voxels(study, flips):
  """Signals and maps are mirrored together."""
  table, fold = study
  options = {"optimizer": optax.sgd(0.0), "reach": REACH, "tile": 4}

  def loss_of(network):
    state = init_state(
      network, optax.sgd(0.0), fold.key, n_channels=N_CHANNELS, reach=REACH
    )
    step = functools.partial(train_step, model=network, **options)
    return [
      float(step(state, fold, table, centres_of(4)[:n], flips=f)[1])
      for n, f in ((4, flips), (4, False))
    ]

  assert max(loss_of(_Centre())) < 1e-10
  one, other = loss_of(_Centre(slope=0.5))
  assert (abs(one - other) > 1e-4) == flips


def test_weight_decay_is_apart_from_the_gradient():
  options = dict.fromkeys(
    (f.name for f in dataclasses.fields(Plan) if f.init), None
  )
  params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
  none = jax.tree.map(jnp.zeros_like, params)
  for decay, kernel in ((0.0, 1.0), (0.5, 1 - 0.1 * 0.5)):
    plan = Plan(**{**options, "rate": lambda step: 0.1, "weight_decay": decay})
    optimizer = plan.optimizer
    updates, _ = optimizer.update(none, optimizer.init(params), params)
    after = optax.apply_updates(params, updates)
    np.testing.assert_allclose(after["kernel"], kernel, rtol=1e-6)
    np.testing.assert_allclose(after["bias"], 1.0)
