"""Training of folds: what it depends on, and what it reports."""

import dataclasses
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax.dataset.patches import make_grid
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.networks.cohen import Cohen
from mrf_jax.networks.layers import ValidConv
from mrf_jax.networks.outputs import split_deviations
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus
from mrf_jax.runtime import processes
from mrf_jax.training import devices
from mrf_jax.training.devices import FoldRunner
from mrf_jax.training.fold_data import Signals, TrainingData
from mrf_jax.training.state import VoxelTable
from mrf_jax.training.train import train_folds
from tests.training.examples import OPTIONS, make_fold, make_step, tiny_study

NETWORK = Spatiotemporal(widths=(16, 8), branch_width=8)
REACH = NETWORK.reach
# Nothing bounds its maps.
LINEAR = Cohen(widths=(8,), activation="relu", output="linear")


def table_of(signals, n_subjects=3):
  """Signals of all subjects as the rows of a table."""
  parts = [signals.load(k, 0) for k in range(n_subjects)]
  return np.concatenate([np.zeros_like(parts[0][:1]), *parts])


def test_tile_has_loss_of_its_patches():
  data = tiny_study(1)
  maps = data.maps[0].stack()
  table = VoxelTable(
    table_of(data.signals, 1),
    np.concatenate([np.zeros((1, 3), np.float32), maps]),
    make_grid(data.masks, padding=REACH + 3),
  )
  fold = make_fold(np.arange(1, 5), low=maps.min(0), high=maps.max(0))
  centre = np.array([40])
  rows = np.asarray(table.grid.neighbours(centre, before=1, after=1))

  def loss_of(centres, tile):
    options = dataclasses.replace(OPTIONS, tile=tile)
    state, step = make_step(_Plain(), fold, options, n_channels=6)
    return float(step(state, fold, table, centres)[1])

  patches = loss_of(rows[rows > 0], tile=1)
  assert loss_of(centre, tile=3) == pytest.approx(patches, rel=1e-5)


class _Plain(nn.Module):
  """One convolution: no statistics of the batch, on which losses depend."""

  reach = REACH
  slices = 1

  @nn.compact
  def __call__(self, signals, *, train):
    del train
    return ValidConv(3, 2 * REACH + 1)(signals)


@pytest.fixture(scope="module")
def watched():
  """Errors of seven watched voxels after each epoch, and the folds."""
  errors = []
  folds = train_folds(
    NETWORK,
    tiny_study(),
    dataclasses.replace(OPTIONS, watched_voxels=7),
    on_epoch=lambda epoch, metrics: errors.append(metrics["watched_mae"]),
  )
  return errors, folds


def assert_same(fold, other):
  jax.tree.map(np.testing.assert_array_equal, fold.variables, other.variables)


def assert_different(fold, other):
  kernels = [f.variables["params"]["maps"]["kernel"] for f in (fold, other)]
  assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_left_out_subject_has_no_effect(watched):
  """Nor have the watched voxels."""
  data, first = tiny_study(), watched[1][0]
  parts = [data.signals.load(k, 0) for k in range(3)]
  changed = TrainingData(
    Signals.in_memory([parts[0] + 5, *parts[1:]]),
    data.masks,
    [Maps.unstack(data.maps[0].stack() * 3), *data.maps[1:]],
  )
  second = train_folds(NETWORK, changed, OPTIONS)[0]
  np.testing.assert_array_equal(first.map_range.high, second.map_range.high)
  assert_same(first, second)


def test_seed_determines_the_network(watched):
  """Weights, dropout and noise on the input are drawn from it."""
  data = tiny_study()
  noisy = dataclasses.replace(OPTIONS, input_noise=0.3)
  first, again, other = (
    train_folds(NETWORK, data, dataclasses.replace(noisy, seed=seed))
    for seed in (0, 0, 1)
  )
  assert_same(first[1], again[1])
  assert_different(first[0], other[0])
  assert_different(first[0], first[1])
  # Without noise the training is another.
  assert_different(first[0], watched[1][0])


def test_watched_errors_are_map_errors(watched):
  data, (errors, (fold, *_)) = tiny_study(), watched
  assert len(errors) == 2
  assert errors[0].shape == (3, 2, 3)
  # Fold 0 leaves subject 0 out: seven voxels, evenly spaced.
  count = data.masks[0].sum()
  rows = np.linspace(0, count - 1, 7).astype(int)
  grid = make_grid(data.masks, padding=REACH)
  patches = table_of(data.signals)[
    grid.neighbours(1 + rows, before=REACH, after=REACH)
  ]
  scaled = NETWORK.apply(fold.variables, patches, train=False)[:, 0, 0]
  error = fold.map_range.unscale(np.asarray(scaled))
  error -= data.maps[0].stack()[rows]
  expected = np.abs(error).mean(0)
  np.testing.assert_allclose(errors[-1][0, 1], expected, rtol=1e-3)


def test_watched_loss_is_the_likelihood():
  """Where the weighted one is minimised, which rises."""
  data, reported = tiny_study(), []
  network = SpatiotemporalPlus(widths=(8, 8), depth=1, slices=1)
  folds = train_folds(
    network,
    data,
    dataclasses.replace(
      OPTIONS, watched_voxels=7, loss="weighted_likelihood", epochs=1
    ),
    left_out=[0],
    on_epoch=lambda epoch, metrics: reported.append(metrics),
  )
  (metrics,) = reported
  assert metrics["watched_loss"].shape == (1, 2)
  rows = np.linspace(0, data.masks[0].sum() - 1, 7).astype(int)
  grid = make_grid(data.masks, padding=network.reach)
  patches = table_of(data.signals)[
    grid.neighbours(1 + rows, before=network.reach, after=network.reach)
  ]
  outputs = network.apply(folds[0].variables, patches, train=False)[:, 0, 0]
  estimates, log_deviations = split_deviations(np.asarray(outputs))
  maps = folds[0].map_range.scale(data.maps[0].stack()[rows])
  likelihood = (
    log_deviations + ((estimates - maps) / np.exp(log_deviations)) ** 2 / 2
  )
  assert metrics["watched_loss"][0, 1] == pytest.approx(
    likelihood.mean(), rel=1e-3
  )


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
  options = dataclasses.replace(OPTIONS, tile=1, learning_rate=1e30)
  message = r"fold \d is not finite in epoch 1 \(learning rate 1e\+30\)"
  with pytest.raises(UserError, match=message):
    train_folds(LINEAR, tiny_study(), options)


def test_single_subject_is_refused():
  with pytest.raises(UserError, match="at least two"):
    train_folds(LINEAR, tiny_study(1), OPTIONS)


def test_devices_of_one_cpu_are_left_out_where_memory_is_short(monkeypatch):
  cpu = SimpleNamespace(platform="cpu")
  monkeypatch.setattr(devices.jax, "local_devices", lambda: [cpu] * 6)
  monkeypatch.setattr(devices, "available_bytes", lambda: 1000)
  used = []

  def map_devices(function, chosen, *, in_axes):
    del function, in_axes
    used.append(len(chosen))
    return jnp.asarray

  monkeypatch.setattr(devices, "MAP_DEVICES", map_devices)
  # Copies of the table in half of the memory: all, four, one and none.
  for table_bytes in (0, 120, 400, 600):
    FoldRunner(6, table_bytes=table_bytes)
  assert used == [6, 4, 1, 1]


@pytest.mark.parametrize(
  ("n_folds", "n_cores", "expected"),
  [
    (6, 2, 2),
    (6, 4, 3),
    (6, 64, 6),
    (5, 3, 3),
    (1, 8, 1),
    (3, None, 1),
    (0, 2, 1),
  ],
)
def test_cores_are_divided_among_folds(monkeypatch, n_folds, n_cores, expected):
  monkeypatch.setattr(processes.os, "cpu_count", lambda: n_cores)
  assert processes.devices_for_folds(n_folds) == expected
