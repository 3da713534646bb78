"""Timing tasks of a network: reconstruction of a scan, one training step."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import make_grid, patch_shape
from mrf_jax.inference.model import Model, reconstruct
from mrf_jax.methods.network_options import (
  make_network,
  signal_rank,
  standardised,
  training_options,
)
from mrf_jax.methods.network_signals import (
  b1_range,
  given_variables,
  seen_channels,
  training_statistics,
)
from mrf_jax.networks.channels import channel_count, sees_b1
from mrf_jax.runtime.precision import PRECISIONS
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from mrf_jax.timing.measure import Task
from mrf_jax.timing.scan import Scene
from mrf_jax.training.epochs import Plan
from mrf_jax.training.fold_data import NO_SUBJECT, make_folds
from mrf_jax.training.state import Fold, TrainState, VoxelTable, init_state
from mrf_jax.training.step import train_step

# Voxels for the temporal components, on which the time does not depend.
_BASIS_VOXELS = 8192


def network_tasks(
  config: ml_collections.ConfigDict, method: str, scene: Scene
) -> Iterator[Task]:
  """Tasks of a network: reconstruction of the scan, and a training step."""
  scan = scene.subjects[0]
  network = make_network(config, method)
  if sees_b1(network):
    # Time does not depend on its values.
    nominal = np.ones(scan.n_voxels, np.float32)
    scan = dataclasses.replace(scan, b1=nominal)
  # A step takes as long at every learning rate and with every seed.
  options = dataclasses.replace(
    training_options(config, method),
    seed=0,
    schedule="constant",
    watched_voxels=0,
  )
  plan = Plan(network, options, steps_per_epoch=1)
  rank = signal_rank(config, method)
  n_channels = channel_count(network, n_components=rank or scan.n_windows)
  key = jax.random.key(config.seed)
  state = init_state(network, plan.optimizer, key, n_channels=n_channels)
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  per = standardised(config, compressed=rank is not None)
  signals: np.ndarray = scene.signals
  basis = None
  if rank is not None:
    gram = gram_matrix(signals[:_BASIS_VOXELS])
    basis = temporal_basis(gram, rank=rank).astype(np.complex64)
    signals = signals @ basis
  statistics = training_statistics(
    config.preprocessing,
    [signals[:_BASIS_VOXELS]],
    scan.acquisition,
    per=per,
    basis=basis,
  )
  map_range = MapRange.of(scene.maps[:1], powers=options.map_powers)
  given = given_variables(
    network, scan.acquisition, basis, statistics, map_range
  )
  variables |= given
  model = Model(
    method=method,
    network=network,
    variables=variables,
    map_range=map_range,
    normalise_signals_per=per,
    acquisition=scan.acquisition,
    basis=basis,
    statistics=statistics,
    b1_range=b1_range(network, [scan]),
  )
  common = {"method": method, "precision": config.precision}
  weights = sum(x.nbytes for x in jax.tree.leaves(variables))
  yield Task(
    **common,
    stage="reconstruct",
    run=lambda: reconstruct(model, scan, precision=config.precision).stack(),
    voxels=scan.n_voxels,
    flop=scan.n_voxels * flop_of_voxel(network, variables, n_channels),
    n_bytes=scene.signals.nbytes + weights + 12 * scan.n_voxels,
  )
  # Row 0 is for voxels outside of the mask.
  table = np.zeros((1 + scan.n_voxels, n_channels), np.float32)
  table[1:] = seen_channels(
    network, scan, signals, per=per, statistics=statistics
  )
  yield _training_task(common, plan, (state, given), table, scene)


def flop_of_voxel(network, variables, n_channels: int) -> float:
  """Operations for the estimate of one voxel, as XLA counts them.

  Layers over time are counted once, since neighbouring patches share them.
  """

  def count(method, shape, channels):
    """Operations, and features of the output."""

    def apply(variables, x):
      return network.apply(variables, x, method=method, train=False)

    x = jax.ShapeDtypeStruct((1, *shape, channels), jnp.float32)
    lowered = jax.jit(apply).lower(variables, x)
    return _flop(lowered), jax.eval_shape(apply, variables, x).shape[-1]

  if not network.reach:
    return count(None, (1, 1), n_channels)[0]
  temporal, features = count("temporal", (1, 1), n_channels)
  patch = patch_shape(network.reach, network.slices)
  return temporal + count("spatial", patch, features)[0]


def _flop(lowered: jax.stages.Lowered) -> float:
  """Operations of a compiled function, as XLA counts them."""
  cost = lowered.cost_analysis()
  assert cost is not None
  return cost["flops"]


def flop_of_step(
  plan: Plan, state: TrainState, fold: Fold, table: VoxelTable, centres
) -> float:
  """Operations of a training step of one fold, as XLA counts them.

  Shapes are enough (`jax.ShapeDtypeStruct`), instead of arrays.
  """
  return _flop(_compiled_step(plan).lower(state, fold, table, centres))


def _compiled_step(plan: Plan) -> jax.stages.Wrapped:
  """The step of one fold, a function of state, fold, table and centres."""
  optimizer = plan.optimizer

  def step(state, fold, table, centres):
    with jax.default_matmul_precision(
      PRECISIONS[plan.options.precision].products
    ):
      return train_step(
        state,
        fold,
        table,
        centres,
        network=plan.network,
        optimizer=optimizer,
        options=plan.options,
      )

  return jax.jit(step, donate_argnums=0)


def _training_task(
  common: dict,
  plan: Plan,
  start: tuple[TrainState, dict],
  table: np.ndarray,
  scene: Scene,
) -> Task:
  """One training step after another, as in the training of a fold.

  `start` is the state before the first, and what the network is given.
  """
  state, given = start
  scan, options = scene.subjects[0], plan.options
  folds, _ = make_folds([scan.mask], scene.maps[:1], [NO_SUBJECT], options)
  fold = dataclasses.replace(folds[0], given=given or None)
  maps = np.zeros((len(table), 3), np.float32)
  maps[fold.rows] = scene.maps[0].stack()
  stored = table.astype(jnp.dtype(options.storage), copy=False)
  padding = plan.network.reach + options.tile
  voxels = VoxelTable(
    jax.device_put(stored),
    jax.device_put(maps),
    jax.device_put(make_grid([scan.mask], padding=padding)),
  )
  centres = np.random.default_rng(0).choice(fold.rows, options.batch)
  compiled = _compiled_step(plan)
  arguments = jax.device_put(fold), voxels, jax.device_put(centres)
  states = [state]

  def run():
    states[0], loss = compiled(states[0], *arguments)
    return states[0], loss

  side = options.tile + 2 * plan.network.reach
  patch = plan.network.slices * side**2
  return Task(
    **common,
    stage="train_step",
    run=run,
    voxels=options.estimates_per_step,
    flop=flop_of_step(plan, state, *arguments),
    n_bytes=options.batch * patch * table.shape[1] * stored.itemsize
    + 6 * sum(x.nbytes for x in jax.tree.leaves(state.params)),
  )
