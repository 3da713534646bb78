"""Data of one fold made by hand, and a compiled step on it."""

import functools

import jax
import numpy as np
import optax

from mrf_jax.maps import Maps
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.training.fold_data import Signals, TrainingData
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.state import Fold, init_state
from mrf_jax.training.step import train_step

DROPOUT_NETWORK = Spatiotemporal(widths=(16, 8), branch_width=8, dropout=0.2)
OPTIONS = TrainingOptions(seed=0, epochs=2, batch=8, tile=2, learning_rate=1e-3)
STILL = optax.sgd(0.0)


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


def make_fold(rows, **fields) -> Fold:
  """A fold that watches no voxels, with map ranges of [0, 1]."""
  defaults = {
    "low": np.zeros(3, np.float32),
    "high": np.ones(3, np.float32),
    "watched": np.zeros((2, 0), np.int32),
    "key": jax.random.key(0),
  }
  return Fold(np.asarray(rows, np.int32), **{**defaults, **fields})


def make_step(network, fold, options, *, n_channels, optimizer=STILL):
  """A fresh state, and a compiled step."""
  init = compiled(init_state, network, optimizer, n_channels=n_channels)
  step = compiled(
    train_step, network=network, optimizer=optimizer, options=options
  )
  return init(key=fold.key), step


@functools.cache
def compiled(function, *arguments, **options):
  """One function for equal arguments, so that it is compiled once."""
  return jax.jit(functools.partial(function, *arguments, **options))
