"""Training steps: precision, folds side by side, mirrors, overfitting."""

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
from mrf_jax.training.optimizer import learning_rates, make_optimizer
from mrf_jax.training.state import VoxelTable
from tests.training.examples import OPTIONS, make_fold, make_step

REACH = Spatiotemporal().reach

N_CHANNELS = 2 * 40
# Its first step is the gradient.
DESCENT = optax.sgd(1.0, momentum=0.9)


# Options of networks that compile fast.
SMALL = {
  "spatiotemporal": dict(widths=(32, 16), branch_width=16, dropout=0.2),
  "spatiotemporal_plus": dict(widths=(32, 16), depth=1, n_outputs=3),
  "cohen": {},
  "hoppe": dict(
    features=(8, 16), kernels=(5, 4), strides=(2, 1), dense=(64, 64)
  ),
}


@pytest.fixture
def study():
  """Maps that are a smooth function of the signals of one full slice."""
  rng = np.random.default_rng(0)
  signals = rng.standard_normal((1 + 24**2, N_CHANNELS), np.float32)
  signals[0] = 0
  grid = make_grid([np.ones((1, 24, 24), bool)], padding=REACH + 4)
  fold = make_fold(np.arange(1, 1 + 24**2), low=-np.ones(3, np.float32))
  return VoxelTable(signals, np.tanh(signals[:, :3]), grid), fold


def small_step(fold, network="spatiotemporal", *, optimizer=DESCENT, **changes):
  """A fresh state, and a compiled step of 64 estimates."""
  if isinstance(network, str):
    network = NETWORKS[network](**SMALL[network])
  options = dataclasses.replace(OPTIONS, **changes)
  return make_step(
    network, fold, options, n_channels=N_CHANNELS, optimizer=optimizer
  )


def centres_of(tile):
  rows = np.random.default_rng(1).permutation(24 * 24)[: 64 // tile**2]
  return rows.astype(np.int32) + 1


@pytest.mark.parametrize("tile", [1, 4])
def test_bfloat16_has_gradient_of_float32(study, tile):
  """Each parameter's agrees within a fifth of its length and eleven degrees.

  Most agree to a hundredth. Where rounding carries one of only 64 activations
  over the ReLU's threshold, it changes the layers before it by a tenth.
  """
  table, fold = study
  gradients = {}
  for precision in ("float32", "bfloat16"):
    state, step = small_step(fold, tile=tile, precision=precision)
    after, loss = step(state, fold, table, centres_of(tile))
    assert loss.dtype == jnp.float32
    gradients[precision] = jax.tree.map(
      lambda a, b: np.asarray(a - b), state.params, after.params
    )
  for path, full in jax.tree_util.tree_leaves_with_path(gradients["float32"]):
    half = functools.reduce(
      lambda tree, key: tree[key.key], path, gradients["bfloat16"]
    )
    error, length = np.linalg.norm(half - full), np.linalg.norm(full)
    assert error < 0.2 * length, path
    assert (half * full).sum() > 0.98 * np.linalg.norm(half) * length, path


@pytest.mark.parametrize("method", NETWORKS)
def test_bfloat16_leaves_state_in_float32(study, method):
  table, fold = study
  state, step = small_step(
    fold, method, optimizer=optax.adam(1e-3), tile=1, precision="bfloat16"
  )
  after, _ = step(state, fold, table, centres_of(1))
  types = jax.tree.map(lambda x: x.dtype, state)
  assert jax.tree.map(lambda x: x.dtype, after) == types
  floats = (after.params, after.batch_stats)
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(floats))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tile", [1, 4])
def test_vectorised_folds_equal_single_folds(study, tile, precision):
  """With dropout: the mask of a fold does not depend on the other folds."""
  table, fold = study
  folds, states, losses = [], [], []
  for key in jax.random.split(jax.random.key(3), 3):
    own = dataclasses.replace(fold, key=key)
    state, step = small_step(own, tile=tile, precision=precision)
    folds.append(own)
    states.append(state)
    losses.append(step(state, own, table, centres_of(tile))[1])

  def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

  _, vectorised = jax.vmap(step, in_axes=(0, 0, None, None))(
    stack(states), stack(folds), table, centres_of(tile)
  )
  np.testing.assert_allclose(
    vectorised, losses, rtol=1e-5 if precision == "float32" else 1e-2
  )
  assert len(np.unique(losses)) == 3


@pytest.mark.parametrize("tile", [1, 4])
def test_a_fold_standardises_the_shared_table(study, tile):
  """As if the table was its own; voxels outside of the mask stay zero."""
  table, fold = study
  rng = np.random.default_rng(4)
  shift = rng.normal(size=N_CHANNELS).astype(np.float32)
  factor = rng.uniform(0.5, 2, N_CHANNELS).astype(np.float32)
  own = (table.signals - shift) * factor
  own[0] = 0
  state, step = small_step(fold, tile=tile)
  _, expected = step(
    state, fold, dataclasses.replace(table, signals=own), centres_of(tile)
  )
  scaled = dataclasses.replace(fold, shift=shift, factor=factor)
  _, loss = step(state, scaled, table, centres_of(tile))
  _, other = step(state, fold, table, centres_of(tile))
  assert float(loss) == pytest.approx(float(expected), rel=1e-4)
  assert float(loss) != pytest.approx(float(other), rel=1e-2)
  # Folds side by side, each by its own.
  folds = [
    scaled,
    dataclasses.replace(fold, shift=0 * shift, factor=0 * factor + 1),
  ]
  losses = jax.vmap(step, in_axes=(None, 0, None, None))(
    state,
    jax.tree.map(lambda *x: jnp.stack(x), *folds),
    table,
    centres_of(tile),
  )[1]
  np.testing.assert_allclose(losses, [loss, other], rtol=1e-4)


@pytest.mark.parametrize("stored", [jnp.bfloat16, jnp.float16])
def test_table_in_half_precision(study, stored):
  table, fold = study
  half = dataclasses.replace(table, signals=table.signals.astype(stored))
  state, step = small_step(fold, tile=1)
  _, full_loss = step(state, fold, table, centres_of(1))
  _, half_loss = step(state, fold, half, centres_of(1))
  assert float(half_loss) == pytest.approx(float(full_loss), rel=1e-2)


def test_dropout_differs_from_step_to_step(study):
  table, fold = study
  state, step = small_step(fold, tile=1)
  _, first = step(state, fold, table, centres_of(1))
  later = dataclasses.replace(state, step=state.step + 1)
  _, second = step(later, fold, table, centres_of(1))
  assert first != second


def test_without_dropout_key_has_no_effect(study):
  table, fold = study
  network = Spatiotemporal(widths=(8, 8), branch_width=8, dropout=0.0)
  state, step = small_step(fold, network, tile=1)
  other = dataclasses.replace(fold, key=jax.random.key(9))
  losses = [step(state, f, table, centres_of(1))[1] for f in (fold, other)]
  assert losses[0] == losses[1]


class _Centre(nn.Module):
  """Knows the maps: they are a function of the voxel's own signals."""

  slope: float = 0.0
  reach = REACH
  slices = 1

  @nn.compact
  def __call__(self, signals, *, train):
    del train
    unused = self.param("unused", nn.initializers.zeros, (1,))
    inner = signals[:, REACH:-REACH, REACH:-REACH, :3]
    # The voxel on the right of the centre, which mirrors change.
    right = signals[:, REACH:-REACH, REACH + 1 : -REACH + 1 or None, :3]
    scaled = (jnp.tanh(inner) + self.slope * right + 1) / 2
    return scaled + unused.reshape(1, 1, 1, 1)


@pytest.mark.parametrize("flips", [False, True])
def test_signals_and_maps_flip_together(study, flips):
  table, fold = study

  def losses_of(network):
    """With and without mirrors."""
    losses = []
    for flipped in (flips, False):
      state, step = small_step(fold, network, tile=4, flips=flipped)
      losses.append(float(step(state, fold, table, centres_of(4))[1]))
    return losses

  assert max(losses_of(_Centre())) < 1e-10
  mirrored, plain = losses_of(_Centre(slope=0.5))
  assert (abs(mirrored - plain) > 1e-4) == flips


def test_weight_decay_is_decoupled():
  """Kernels decay without a gradient, and biases do not."""
  params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
  no_gradient = jax.tree.map(jnp.zeros_like, params)
  for decay, kernel in ((0.0, 1.0), (0.5, 1 - 0.1 * 0.5)):
    options = dataclasses.replace(
      OPTIONS, learning_rate=0.1, weight_decay=decay
    )
    optimizer = make_optimizer(options, n_steps=1)
    updates, _ = optimizer.update(no_gradient, optimizer.init(params), params)
    after = optax.apply_updates(params, updates)
    np.testing.assert_allclose(after["kernel"], kernel, rtol=1e-6)
    np.testing.assert_allclose(after["bias"], 1.0)


def test_cosine_schedule_ends_at_zero():
  options = dataclasses.replace(OPTIONS, schedule="cosine")
  rates = learning_rates(options, n_steps=8)
  np.testing.assert_allclose(
    [rates(step) for step in (0, 4, 8)], [1e-3, 5e-4, 0.0], atol=1e-10
  )


@pytest.mark.parametrize("method", NETWORKS)
def test_overfits_64_voxels(study, method):
  table, fold = study
  rng = np.random.default_rng(1)
  maps = rng.uniform(-1, 1, table.maps.shape).astype(np.float32)
  table = dataclasses.replace(table, maps=maps)
  network = NETWORKS[method](**SMALL[method])
  if method == "spatiotemporal":
    network = network.clone(dropout=0.0)
  n_steps = 800
  options = dataclasses.replace(OPTIONS, learning_rate=2e-3, schedule="cosine")
  optimizer = make_optimizer(options, n_steps=n_steps)
  state, step = small_step(fold, network, optimizer=optimizer, tile=1)
  _, losses = jax.lax.scan(
    lambda state, _: step(state, fold, table, fold.rows[:64]),
    state,
    length=n_steps,
  )
  # Maps are scaled to [0, 1]: a hundredth is one per cent of their range.
  assert np.sqrt(losses[-1]) < 0.01
