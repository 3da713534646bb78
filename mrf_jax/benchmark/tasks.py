"""The stages of every method as tasks to be timed, on one scene."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from mrf_jax.benchmark.machine import Rates
from mrf_jax.benchmark.measure import Task
from mrf_jax.benchmark.scan import Scene
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import make_grid
from mrf_jax.inference import Model, reconstruct, signal_table
from mrf_jax.matching.atlas import match_atlas
from mrf_jax.matching.compress import compress, gram_matrix, temporal_basis
from mrf_jax.matching.dictionary import Dictionary, build_dictionary
from mrf_jax.matching.dot_product import match
from mrf_jax.matching.groups import (
  best_atoms_of_groups,
  group_atoms,
  match_groups,
)
from mrf_jax.methods.gomez import aligned_scan, on_own_grid
from mrf_jax.methods.network import make_network, training_options
from mrf_jax.precision import PRECISIONS
from mrf_jax.training.step import Fold, VoxelTable, init_state, train_step

# Matching is timed on a multiple of so many voxels.
_VOXEL_STEP = 4096
_BYTES = np.dtype(np.float32).itemsize


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
  state = init_state(
    network,
    optimizer := optax.adam(options["learning_rate"]),
    jax.random.key(config.seed),
    n_channels=n_channels,
    reach=reach,
  )
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  per = config.preprocessing.normalise_signals_per
  signals: np.ndarray = scene.signals
  basis = None
  if options["rank"] is not None:
    basis = temporal_basis(gram_matrix(signals[:8192]), rank=options["rank"])
    signals = signals @ (basis := basis.astype(np.complex64))
    per = "subject" if per == "frame" else per
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

  def count(method, size, channels):
    def apply(variables, x):
      return network.apply(variables, x, method=method, train=False)

    x = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    lowered = jax.jit(apply).lower(variables, x)
    return _flop(lowered), jax.eval_shape(apply, variables, x).shape[-1]

  if not reach:
    return count(None, 1, n_channels)[0]
  temporal, features = count("temporal", 1, n_channels)
  return temporal + count("spatial", 2 * reach + 1, features)[0]


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
  return Task(
    **common,
    stage="train_step",
    run=run,
    voxels=batch * tile**2,
    flop=_flop(compiled.lower(state, *arguments)),
    n_bytes=batch * side**2 * table.shape[1] * stored.itemsize
    + 6 * sum(x.nbytes for x in jax.tree.leaves(state.params)),
  )


def dictionary_tasks(
  config: ml_collections.ConfigDict,
  scene: Scene,
  n_atoms: int,
  rates: Rates,
  *,
  seconds: float,
) -> Iterator[Task]:
  """Simulation, compression and matching with one size of dictionary.

  Args:
    config: the experiment's configuration; `methods` says which forms.
    scene: the scan.
    n_atoms: least number of atoms; the next square of axes is taken.
    rates: of the machine, for how many voxels are enough.
    seconds: that the warm runs of a task may take.
  """
  scan, options = scene.subjects[0], config.dictionary
  axes = axes_of(config, n_atoms)
  held: list[Dictionary] = []

  def simulate():
    held.clear()
    held.append(
      build_dictionary(
        scan.sequence, *axes, window=scan.window, stride=scan.stride
      )
    )

  count = count_atoms(*axes)
  n_windows = scan.n_windows
  atom_bytes = count * n_windows * _BYTES
  yield Task(
    "dictionary", "simulate", simulate, atoms=count, n_bytes=atom_bytes
  )
  full = held[0]
  matching = functools.partial(
    _matching_task,
    scene,
    rates=rates,
    seconds=seconds,
    precision=config.precision,
  )
  if "dictionary" in config.methods:
    yield matching("dictionary", "reconstruct", match, full)
  if "dictionary_svd" not in config.methods:
    return
  rank = options.svd_rank
  yield Task(
    "dictionary_svd",
    "compress",
    lambda: compress(full, rank=rank),
    atoms=count,
    flop=2.0 * count * n_windows * (n_windows + rank),
    n_bytes=atom_bytes,
  )
  short = compress(full, rank=rank)
  yield matching("dictionary_svd", "reconstruct", match, short)
  yield Task(
    "dictionary_svd",
    "group",
    lambda: group_atoms(short),
    atoms=count,
    n_bytes=count * rank * _BYTES,
  )
  groups = group_atoms(short)
  yield matching("dictionary_svd", "reconstruct_groups", match_groups, groups)


def _matching_task(
  scene: Scene,
  method: str,
  stage: str,
  find: Callable,
  table,
  *,
  rates: Rates,
  seconds: float,
  precision: str,
) -> Task:
  """Matching of as many voxels as the seconds allow, evenly spread."""
  scan = scene.subjects[0]
  dictionary = table if isinstance(table, Dictionary) else table.dictionary
  n_frames, n_columns = scan.n_windows, dictionary.atoms.shape[1]
  # Two real products for each number of a real dictionary, four of a complex.
  products = 8 if np.iscomplexobj(dictionary.atoms) else 4
  per_voxel = products * dictionary.n_atoms * n_columns
  if dictionary.basis is not None:
    per_voxel += products * n_frames * n_columns
  timed = seconds / 5 * rates.products / per_voxel
  timed = max(1, int(timed // _VOXEL_STEP)) * _VOXEL_STEP
  timed = min(scan.n_voxels, timed)
  rows = np.linspace(0, scan.n_voxels - 1, timed).astype(int)
  signals = scene.signals if timed == scan.n_voxels else scene.signals[rows]
  if table is dictionary:
    run = lambda: find(table, signals, precision=precision).stack()  # noqa: E731
  else:
    run, precision = lambda: find(table, signals).stack(), "float32"
    share = best_atoms_of_groups(table, signals[:: max(1, timed // 4096)])[2]
    per_voxel = (
      products
      * n_columns
      * (n_frames + len(table.members) + share * table.members.size)
    )
  return Task(
    method,
    stage,
    run,
    voxels=scan.n_voxels,
    timed=timed,
    atoms=dictionary.n_atoms,
    flop=float(per_voxel) * scan.n_voxels,
    n_bytes=scene.signals.nbytes + dictionary.atoms.nbytes + 12 * scan.n_voxels,
    precision=precision,
  )


def gomez_tasks(
  config: ml_collections.ConfigDict, scene: Scene
) -> Iterator[Task]:
  """Compression of the scan, alignment of the atlas, and the search.

  Args:
    config: the experiment's configuration.
    scene: the scan, and the other heads as atlas.
  """
  options = config.gomez
  fixed, *others = scene.subjects
  signals = scene.signals
  rank = options.rank or fixed.n_windows
  basis = temporal_basis(gram_matrix(signals), rank=rank).astype(np.complex64)
  yield Task(
    "gomez",
    "compress",
    lambda: signals @ basis,
    voxels=fixed.n_voxels,
    flop=8.0 * signals.size * rank,
    n_bytes=signals.nbytes + 8 * fixed.n_voxels * rank,
  )
  noise = config.scan.noise_level
  projected = [
    signals @ basis,
    *(
      scene.compressed(k, basis, noise=noise)
      for k in range(1, len(scene.subjects))
    ),
  ]
  maps = scene.maps[1:]
  map_range = MapRange.of(maps)

  def align():
    return [
      aligned_scan(
        fixed,
        subject,
        own.astype(np.complex64),
        map_range.scale(own_maps.stack()),
        known=options.align,
      )
      for subject, own, own_maps in zip(
        others, projected[1:], maps, strict=True
      )
    ]

  atoms = sum(subject.n_voxels for subject in others)
  yield Task("gomez", "align", align, voxels=atoms, atoms=atoms)
  atlas, query = align(), on_own_grid(fixed, projected[0])
  candidates = int(np.prod(options.window)) * len(others)
  yield Task(
    "gomez",
    "reconstruct",
    lambda: match_atlas(
      query,
      fixed.mask,
      atlas,
      window=tuple(options.window),
      patch=tuple(options.patch),
      n_neighbours=options.n_neighbours,
      alpha=options.alpha,
      n_iterations=options.n_iterations,
    ),
    voxels=fixed.n_voxels,
    atoms=atoms,
    flop=8.0 * fixed.n_voxels * candidates * rank * options.n_iterations,
    n_bytes=query.nbytes + sum(scan.signals.nbytes for scan in atlas),
  )


def axes_of(
  config: ml_collections.ConfigDict, n_atoms: int
) -> list[np.ndarray]:
  """T1 and T2 of the smallest dictionary that has so many atoms.

  Args:
    config: the experiment's configuration; its ranges are kept.
    n_atoms: least number of pairs with T2 ≤ T1.
  """
  options = config.dictionary

  def axes(side):
    return [
      np.geomspace(low_ms, high_ms, side).astype(np.float32)
      for low_ms, high_ms in (options.t1_ms, options.t2_ms)
    ]

  low, high = 1, 2
  while count_atoms(*axes(high)) < n_atoms:
    low, high = high, 2 * high
  while high - low > 1:
    middle = (low + high) // 2
    if count_atoms(*axes(middle)) < n_atoms:
      low = middle
    else:
      high = middle
  return axes(high)


def count_atoms(t1_ms, t2_ms) -> int:
  """Pairs with T2 ≤ T1.

  Args:
    t1_ms: ascending axis.
    t2_ms: ascending axis.
  """
  return int(np.searchsorted(t2_ms, t1_ms, side="right").sum())
