"""Reconstruction and training of a network as tasks to be timed."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from mrf_jax.benchmark.measure import Task
from mrf_jax.benchmark.scan import Scene
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import make_grid, patch_shape
from mrf_jax.inference import signal_table
from mrf_jax.matching.compress import gram_matrix, temporal_basis
from mrf_jax.methods.network import (
  make_network,
  standardised,
  training_options,
)
from mrf_jax.model import Model, reconstruct
from mrf_jax.precision import PRECISIONS
from mrf_jax.training.step import Fold, VoxelTable, init_state, train_step

# Voxels that temporal components are found from: time does not depend on them.
_BASIS_VOXELS = 8192


def network_tasks(
  config: ml_collections.ConfigDict, method: str, scene: Scene
) -> Iterator[Task]:
  """Reconstruction of the scan, and one step of training.

  Args:
    config: the experiment's configuration.
    method: name of the network.
    scene: the scan.
  """
  scan = scene.subjects[0]
  network, reach = make_network(config, method)
  options = training_options(config, method)
  n_channels = 2 * (options["rank"] or scan.n_windows)
  optimizer = optax.adam(options["learning_rate"])
  state = init_state(
    network,
    optimizer,
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
    map_range=MapRange.of(scene.maps[:1]),
    normalise_signals_per=per,
    sequence=scan.sequence,
    window=scan.window,
    stride=scan.stride,
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
  yield _training_task(
    common, network, optimizer, state, table, scene, options, reach=reach
  )


def flop_of_voxel(network, variables, reach: int, n_channels: int) -> float:
  """Arithmetic of one voxel's estimate, as the compiler counts it.

  Args:
    network: the Flax module.
    variables: its parameters and statistics.
    reach: voxels on each side of a patch's centre.
    n_channels: 2T.
  """

  def count(method, shape, channels):
    def apply(variables, x):
      return network.apply(variables, x, method=method, train=False)

    x = jax.ShapeDtypeStruct((1, *shape, channels), jnp.float32)
    lowered = jax.jit(apply).lower(variables, x)
    return _flop(lowered), jax.eval_shape(apply, variables, x).shape[-1]

  if not reach:
    return count(None, (1, 1), n_channels)[0]
  temporal, features = count("temporal", (1, 1), n_channels)
  around = patch_shape(reach, network.slices)
  return temporal + count("spatial", around, features)[0]


def _flop(lowered: jax.stages.Lowered) -> float:
  """Arithmetic as the compiler counts it."""
  cost = lowered.cost_analysis()
  assert cost is not None
  return cost["flops"]


def _training_task(
  common, network, optimizer, state, table, scene: Scene, options, *, reach: int
) -> Task:
  """One step after another, as folds are trained."""
  scan = scene.subjects[0]
  tile, batch = options["tile"], options["batch"]
  rows = np.arange(1, 1 + scan.n_voxels, dtype=np.int32)
  maps = np.zeros((len(table), 3), np.float32)
  maps[rows] = scene.maps[0].stack()
  fold = Fold(
    rows=rows,
    low=maps[rows].min(0),
    high=maps[rows].max(0),
    watched=np.zeros((2, 0), np.int32),
    key=jax.random.key(0),
  )
  stored = table.astype(jnp.dtype(options["storage"]), copy=False)
  voxels = VoxelTable(
    jax.device_put(stored),
    jax.device_put(maps),
    jax.device_put(make_grid([scan.mask], padding=reach + tile)),
  )
  centres = np.random.default_rng(0).choice(rows, batch).astype(np.int32)
  dtype, products = PRECISIONS[common["precision"]]

  def step(state, fold, table, centres):
    with jax.default_matmul_precision(products):
      return train_step(
        state,
        fold,
        table,
        centres,
        model=network,
        optimizer=optimizer,
        reach=reach,
        tile=tile,
        input_noise=options["input_noise"],
        compute_dtype=dtype,
      )

  compiled = jax.jit(step, donate_argnums=0)
  arguments = jax.device_put(fold), voxels, jax.device_put(centres)
  states = [state]

  def run():
    states[0], loss = compiled(states[0], *arguments)
    return states[0], loss

  side = tile + 2 * reach
  patch = network.slices * side**2
  return Task(
    **common,
    stage="train_step",
    run=run,
    voxels=batch * tile**2,
    flop=_flop(compiled.lower(state, *arguments)),
    n_bytes=batch * patch * table.shape[1] * stored.itemsize
    + 6 * sum(x.nbytes for x in jax.tree.leaves(state.params)),
  )
