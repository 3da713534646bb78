"""Timing tasks of a network: reconstruction of a scan, one training step."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import make_grid, patch_shape
from mrf_jax.inference.model import Model, reconstruct
from mrf_jax.inference.network import signal_table
from mrf_jax.methods.network import (
  make_network,
  standardised,
  training_options,
)
from mrf_jax.runtime.precision import PRECISIONS
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from mrf_jax.timing.measure import Task
from mrf_jax.timing.scan import Scene
from mrf_jax.training.epochs import Plan
from mrf_jax.training.fold_data import NOBODY, make_folds
from mrf_jax.training.step import VoxelTable, init_state, train_step

# Voxels for the temporal components, on which the time does not depend.
_BASIS_VOXELS = 8192


def network_tasks(
  config: ml_collections.ConfigDict, method: str, scene: Scene
) -> Iterator[Task]:
  """Reconstruction of the scan, and one step of training.

  Args:
    config: the experiment's configuration.
    method: name of the network.
    scene: the scan.

  Yields:
    Tasks.
  """
  scan = scene.subjects[0]
  network, reach = make_network(config, method)
  options = training_options(config, method)
  n_channels = 2 * (options["rank"] or scan.n_windows)
  plan = _plan(network, reach, options)
  state = init_state(
    network,
    plan.optimizer,
    jax.random.key(config.seed),
    n_channels=n_channels,
    reach=reach,
  )
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  rank = options["rank"]
  per = standardised(config, compressed=rank is not None)
  signals: np.ndarray = scene.signals
  basis = None
  if rank is not None:
    gram = gram_matrix(signals[:_BASIS_VOXELS])
    basis = temporal_basis(gram, rank=rank).astype(np.complex64)
    signals = signals @ basis
  model = Model(
    method=method,
    network=network,
    reach=reach,
    variables=variables,
    map_range=MapRange.of(scene.maps[:1], powers=plan.map_powers),
    normalise_signals_per=per,
    acquisition=scan.acquisition,
    basis=basis,
  )
  common = {"method": method, "precision": config.precision}
  weights = sum(x.nbytes for x in jax.tree.leaves(variables))
  yield Task(
    **common,
    stage="reconstruct",
    run=lambda: reconstruct(model, scan, precision=config.precision).stack(),
    voxels=scan.n_voxels,
    flop=scan.n_voxels * flop_of_voxel(network, variables, reach, n_channels),
    n_bytes=scene.signals.nbytes + weights + 12 * scan.n_voxels,
  )
  table = signal_table(signals, per=per).reshape(-1, n_channels)
  yield _training_task(common, plan, state, table, scene, options)


def _plan(network, reach: int, options: dict) -> Plan:
  """Training steps as in the experiment, at its first learning rate."""
  named = ("batch", "weight_decay", "tile", "loss", "flips", "input_noise")
  return Plan(
    total=1,
    steps_per_epoch=1,
    rate=optax.constant_schedule(options["learning_rate"]),
    network=network,
    reach=reach,
    map_weights=tuple(options["map_weights"]),
    map_powers=tuple(options["map_powers"]),
    precision=options["precision"],
    **{name: options[name] for name in named},
  )


def flop_of_voxel(network, variables, reach: int, n_channels: int) -> float:
  """Counts the operations for the estimate of one voxel.

  Args:
    network: the Flax module.
    variables: parameters and batch statistics.
    reach: voxels on each side of a patch's centre.
    n_channels: real channels of a voxel, 2T.

  Returns:
    Operations as XLA counts them. Layers over time are counted once, since
    neighbouring patches share them.
  """

  def count(method, shape, channels):
    """Operations, and features of the output."""

    def apply(variables, x):
      return network.apply(variables, x, method=method, train=False)

    x = jax.ShapeDtypeStruct((1, *shape, channels), jnp.float32)
    lowered = jax.jit(apply).lower(variables, x)
    return _flop(lowered), jax.eval_shape(apply, variables, x).shape[-1]

  if not reach:
    return count(None, (1, 1), n_channels)[0]
  temporal, features = count("temporal", (1, 1), n_channels)
  patch = patch_shape(reach, network.slices)
  return temporal + count("spatial", patch, features)[0]


def _flop(lowered: jax.stages.Lowered) -> float:
  """Operations of a compiled function, as XLA counts them."""
  cost = lowered.cost_analysis()
  assert cost is not None
  return cost["flops"]


def _training_task(
  common, plan: Plan, state, table, scene: Scene, options
) -> Task:
  """One training step after another, as in the training of a fold."""
  scan = scene.subjects[0]
  folds, _ = make_folds(
    [scan.mask],
    scene.maps[:1],
    [NOBODY],
    seed=0,
    watched_voxels=0,
    map_powers=plan.map_powers,
    balance=options["balance"],
  )
  maps = np.zeros((len(table), 3), np.float32)
  maps[folds[0].rows] = scene.maps[0].stack()
  stored = table.astype(jnp.dtype(options["storage"]), copy=False)
  padding = plan.reach + plan.tile
  voxels = VoxelTable(
    jax.device_put(stored),
    jax.device_put(maps),
    jax.device_put(make_grid([scan.mask], padding=padding)),
  )
  centres = np.random.default_rng(0).choice(folds[0].rows, plan.batch)
  products = PRECISIONS[plan.precision].products

  def step(state, fold, table, centres):
    with jax.default_matmul_precision(products):
      return train_step(state, fold, table, centres, **plan.step_options)

  compiled = jax.jit(step, donate_argnums=0)
  arguments = jax.device_put(folds[0]), voxels, jax.device_put(centres)
  states = [state]

  def run():
    states[0], loss = compiled(states[0], *arguments)
    return states[0], loss

  side = plan.tile + 2 * plan.reach
  patch = plan.network.slices * side**2
  return Task(
    **common,
    stage="train_step",
    run=run,
    voxels=plan.batch * plan.tile**2,
    flop=_flop(compiled.lower(state, *arguments)),
    n_bytes=plan.batch * patch * table.shape[1] * stored.itemsize
    + 6 * sum(x.nbytes for x in jax.tree.leaves(state.params)),
  )
