import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from mrf_jax.dataset.patches import make_grid
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.networks.layers import ValidConv
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.training.devices import FoldRunner
from mrf_jax.training.fold_data import Signals
from mrf_jax.training.step import Fold, VoxelTable, init_state, train_step
from mrf_jax.training.train import train_folds

REACH = Spatiotemporal().reach

OPTIONS = {
  "reach": REACH,
  "seed": 0,
  "epochs": 2,
  "batch": 8,
  "tile": 2,
  "learning_rate": 1e-3,
  "schedule": "constant",
  "folds_at_once": None,
}


def tiny_study(n_subjects=3, size=9):
  """Subjects whose maps are a smooth function of their signals."""
  rng = np.random.default_rng(0)
  masks = [rng.random((1, size, size)) < 0.8 for _ in range(n_subjects)]
  counts = [mask.sum() for mask in masks]
  signals = [rng.normal(size=(n, 6)).astype(np.float32) for n in counts]
  maps = [np.tanh(s[:, :3]) * [0.2, 400, 40] + [0.8, 1000, 90] for s in signals]
  return (
    Signals.held(signals),
    masks,
    [Maps.unstack(values.astype(np.float32)) for values in maps],
  )


def table_of(signals, n_subjects=3):
  """All signals as the rows of a table."""
  parts = [signals.of(k, 0) for k in range(n_subjects)]
  return np.concatenate([np.zeros_like(parts[0][:1]), *parts])


def network(dropout=0.0):
  return Spatiotemporal(widths=(16, 8), branch_width=8, dropout=dropout)


def test_tile_of_estimates_has_the_loss_of_its_patches():
  signals, masks, maps = tiny_study(1)
  table = VoxelTable(
    table_of(signals, 1),
    np.concatenate([np.zeros((1, 3), np.float32), maps[0].stack()]),
    make_grid(masks, padding=REACH + 3),
  )
  stacked = maps[0].stack()
  fold = Fold(
    np.arange(1, 5),
    stacked.min(0),
    stacked.max(0),
    np.zeros((2, 0), np.int32),
    jax.random.key(0),
  )
  # Without batch normalisation's statistics a tile is just its patches.
  model = _Plain()
  optimizer = optax.sgd(0.0)
  state = init_state(model, optimizer, fold.key, n_channels=6, reach=REACH)
  centre = np.array([40])
  rows = np.asarray(table.grid.neighbours(centre, before=1, after=1))
  inside = rows[rows > 0]
  options = {"model": model, "optimizer": optimizer, "reach": REACH}
  _, tile = train_step(state, fold, table, centre, tile=3, **options)
  _, patches = train_step(state, fold, table, inside, tile=1, **options)
  assert tile == pytest.approx(float(patches), rel=1e-5)


class _Plain(nn.Module):
  """One convolution: no statistics of the batch."""

  slices = 1

  @nn.compact
  def __call__(self, signals, *, train):
    del train
    return ValidConv(3, 2 * REACH + 1)(signals)


def test_left_out_subject_changes_nothing():
  signals, masks, maps = tiny_study()
  first = train_folds(network(), signals, masks, maps, **OPTIONS)[0]
  parts = [signals.of(k, 0) for k in range(3)]
  other_signals = Signals.held([parts[0] + 5, *parts[1:]])
  other_maps = [Maps.unstack(maps[0].stack() * 3), *maps[1:]]
  second = train_folds(network(), other_signals, masks, other_maps, **OPTIONS)[
    0
  ]
  np.testing.assert_array_equal(first.map_range.high, second.map_range.high)
  jax.tree.map(np.testing.assert_array_equal, first.variables, second.variables)


def test_same_seed_same_network_other_seed_another():
  study = tiny_study()
  one = train_folds(network(0.2), *study, **OPTIONS)
  two = train_folds(network(0.2), *study, **OPTIONS)
  jax.tree.map(
    np.testing.assert_array_equal, one[1].variables, two[1].variables
  )
  three = train_folds(network(0.2), *study, **OPTIONS | {"seed": 1})
  kernel = lambda fold: fold.variables["params"]["maps"]["kernel"]  # noqa: E731
  assert np.abs(kernel(one[0]) - kernel(three[0])).max() > 1e-3
  assert np.abs(kernel(one[0]) - kernel(one[1])).max() > 1e-3


def test_watched_errors_are_those_of_the_maps():
  signals, masks, maps = tiny_study()
  seen = []
  (fold, *_) = train_folds(
    network(),
    signals,
    masks,
    maps,
    **OPTIONS,
    watched_voxels=7,
    on_epoch=lambda epoch, metrics: seen.append(metrics["watched_mae"]),
  )
  assert len(seen) == 2
  assert seen[0].shape == (3, 2, 3)
  # Fold 0 leaves subject 0 out: seven voxels spread over it.
  count = masks[0].sum()
  rows = np.linspace(0, count - 1, 7).astype(int)
  grid = make_grid(masks, padding=REACH)
  patches = table_of(signals)[
    grid.neighbours(1 + rows, before=REACH, after=REACH)
  ]
  scaled = network().apply(fold.variables, patches, train=False)[:, 0, 0]
  error = fold.map_range.unscale(np.asarray(scaled)) - maps[0].stack()[rows]
  np.testing.assert_allclose(seen[-1][0, 1], np.abs(error).mean(0), rtol=1e-3)


def test_input_noise_changes_the_training_and_nothing_else():
  study = tiny_study()
  kernels = [
    train_folds(network(), *study, **OPTIONS, input_noise=noise)[0].variables[
      "params"
    ]["maps"]["kernel"]
    for noise in (0.0, 0.3, 0.3)
  ]
  assert np.abs(kernels[0] - kernels[1]).max() > 1e-3
  np.testing.assert_array_equal(kernels[1], kernels[2])


def test_runner_pads_and_returns_folds_in_order():
  runner = FoldRunner(5, at_once=2)
  step = runner.compile(
    lambda state, fold, shared, number: (state + fold, state * shared + number),
    donate=True,
  )
  folds = runner.spread([np.float32(k) for k in range(5)])
  shared = runner.replicate(np.float32(10))
  states = runner.spread([np.float32(k + 1) for k in range(5)])
  for number in (0, 1):
    states, products = step(states, folds, shared, number)
    expected = 10 * (1 + np.arange(5) * (1 + number)) + number
    np.testing.assert_array_equal(runner.flatten(products), expected)
  np.testing.assert_array_equal(runner.gather(states), [1, 4, 7, 10, 13])


def test_a_table_is_filled_part_by_part():
  runner = FoldRunner(2)
  rng = np.random.default_rng(0)
  parts = [rng.normal(size=(n, 3)).astype(np.float32) for n in (70_000, 5)]
  table = runner.table(parts, n_rows=70_010, n_columns=3, dtype=np.float16)
  expected = np.zeros((70_010, 3), np.float16)
  expected[1:70_006] = np.concatenate(parts)
  np.testing.assert_array_equal(np.asarray(table)[0], expected)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"schedule": "linear"}, "constant, cosine"),
    ({"storage": "int8"}, "float32, bfloat16, float16"),
    (
      {"learning_rate": 1e30},
      r"fold \d is not finite in epoch 1 \(learning rate 1e\+30\)",
    ),
  ],
)
def test_bad_training_is_refused(change, message):
  with pytest.raises(UserError, match=message):
    train_folds(network(), *tiny_study(), **OPTIONS | change)


def test_one_subject_cannot_be_left_out():
  with pytest.raises(UserError, match="at least two"):
    train_folds(network(), *tiny_study(1), **OPTIONS)
