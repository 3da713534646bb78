"""Training of folds: what it depends on, and what it reports."""

import dataclasses

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
from mrf_jax.training.fold_data import Signals, TrainingData
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.state import Fold, VoxelTable, init_state
from mrf_jax.training.step import train_step
from mrf_jax.training.train import train_folds

REACH = Spatiotemporal().reach

OPTIONS = TrainingOptions(seed=0, epochs=2, batch=8, tile=2, learning_rate=1e-3)


def tiny_study(n_subjects=3, size=9):
  """Subjects whose maps are a smooth function of their signals."""
  rng = np.random.default_rng(0)
  masks = [rng.random((1, size, size)) < 0.8 for _ in range(n_subjects)]
  counts = [mask.sum() for mask in masks]
  signals = [rng.normal(size=(n, 6)).astype(np.float32) for n in counts]
  maps = [np.tanh(s[:, :3]) * [0.2, 400, 40] + [0.8, 1000, 90] for s in signals]
  return TrainingData(
    Signals.in_memory(signals),
    masks,
    [Maps.unstack(values.astype(np.float32)) for values in maps],
  )


def table_of(signals, n_subjects=3):
  """Signals of all subjects as the rows of a table."""
  parts = [signals.load(k, 0) for k in range(n_subjects)]
  return np.concatenate([np.zeros_like(parts[0][:1]), *parts])


def network(dropout=0.0):
  return Spatiotemporal(widths=(16, 8), branch_width=8, dropout=dropout)


def test_tile_has_loss_of_its_patches():
  data = tiny_study(1)
  maps = data.maps[0].stack()
  table = VoxelTable(
    table_of(data.signals, 1),
    np.concatenate([np.zeros((1, 3), np.float32), maps]),
    make_grid(data.masks, padding=REACH + 3),
  )
  fold = Fold(
    np.arange(1, 5),
    maps.min(0),
    maps.max(0),
    np.zeros((2, 0), np.int32),
    jax.random.key(0),
  )
  # The losses agree because this network has no statistics of the batch.
  plain, optimizer = _Plain(), optax.sgd(0.0)
  state = init_state(plain, optimizer, fold.key, n_channels=6)
  centre = np.array([40])
  rows = np.asarray(table.grid.neighbours(centre, before=1, after=1))

  def loss_of(centres, tile):
    _, loss = train_step(
      state,
      fold,
      table,
      centres,
      network=plain,
      optimizer=optimizer,
      options=dataclasses.replace(OPTIONS, tile=tile),
    )
    return float(loss)

  patches = loss_of(rows[rows > 0], tile=1)
  assert loss_of(centre, tile=3) == pytest.approx(patches, rel=1e-5)


class _Plain(nn.Module):
  """One convolution: no statistics of the batch."""

  reach = REACH
  slices = 1

  @nn.compact
  def __call__(self, signals, *, train):
    del train
    return ValidConv(3, 2 * REACH + 1)(signals)


def test_left_out_subject_has_no_effect():
  data = tiny_study()
  first = train_folds(network(), data, OPTIONS)[0]
  parts = [data.signals.load(k, 0) for k in range(3)]
  changed = TrainingData(
    Signals.in_memory([parts[0] + 5, *parts[1:]]),
    data.masks,
    [Maps.unstack(data.maps[0].stack() * 3), *data.maps[1:]],
  )
  second = train_folds(network(), changed, OPTIONS)[0]
  np.testing.assert_array_equal(first.map_range.high, second.map_range.high)
  jax.tree.map(np.testing.assert_array_equal, first.variables, second.variables)


def last_kernel(fold):
  return fold.variables["params"]["maps"]["kernel"]


def test_seed_determines_the_network():
  data = tiny_study()
  first = train_folds(network(0.2), data, OPTIONS)
  again = train_folds(network(0.2), data, OPTIONS)
  jax.tree.map(
    np.testing.assert_array_equal, first[1].variables, again[1].variables
  )
  other_seed = dataclasses.replace(OPTIONS, seed=1)
  other = train_folds(network(0.2), data, other_seed)
  for one, two in ((first[0], other[0]), (first[0], first[1])):
    assert np.abs(last_kernel(one) - last_kernel(two)).max() > 1e-3


def test_watched_errors_are_map_errors():
  data = tiny_study()
  watched = []
  (fold, *_) = train_folds(
    network(),
    data,
    dataclasses.replace(OPTIONS, watched_voxels=7),
    on_epoch=lambda epoch, metrics: watched.append(metrics["watched_mae"]),
  )
  assert len(watched) == 2
  assert watched[0].shape == (3, 2, 3)
  # Fold 0 leaves subject 0 out: seven voxels, evenly spaced.
  count = data.masks[0].sum()
  rows = np.linspace(0, count - 1, 7).astype(int)
  grid = make_grid(data.masks, padding=REACH)
  patches = table_of(data.signals)[
    grid.neighbours(1 + rows, before=REACH, after=REACH)
  ]
  scaled = network().apply(fold.variables, patches, train=False)[:, 0, 0]
  error = fold.map_range.unscale(np.asarray(scaled))
  error -= data.maps[0].stack()[rows]
  expected = np.abs(error).mean(0)
  np.testing.assert_allclose(watched[-1][0, 1], expected, rtol=1e-3)


def test_input_noise_changes_the_training():
  """It is the same noise in every run of the same seed."""
  data = tiny_study()
  kernels = [
    last_kernel(
      train_folds(
        network(), data, dataclasses.replace(OPTIONS, input_noise=noise)
      )[0]
    )
    for noise in (0.0, 0.3, 0.3)
  ]
  assert np.abs(kernels[0] - kernels[1]).max() > 1e-3
  np.testing.assert_array_equal(kernels[1], kernels[2])


def test_runner_returns_folds_in_order():
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


def test_table_is_filled_in_parts():
  runner = FoldRunner(2)
  rng = np.random.default_rng(0)
  parts = [rng.normal(size=(n, 3)).astype(np.float32) for n in (70_000, 5)]
  table = runner.table(parts, n_rows=70_010, n_columns=3, dtype=np.float16)
  expected = np.zeros((70_010, 3), np.float16)
  expected[1:70_006] = np.concatenate(parts)
  np.testing.assert_array_equal(np.asarray(table)[0], expected)


def test_infinite_loss_ends_the_training():
  options = dataclasses.replace(OPTIONS, learning_rate=1e30)
  message = r"fold \d is not finite in epoch 1 \(learning rate 1e\+30\)"
  with pytest.raises(UserError, match=message):
    train_folds(network(), tiny_study(), options)


def test_single_subject_is_refused():
  with pytest.raises(UserError, match="at least two"):
    train_folds(network(), tiny_study(1), OPTIONS)
