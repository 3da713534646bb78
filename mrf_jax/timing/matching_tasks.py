"""Timing tasks of matching with dictionaries and with atlases."""

import functools
from collections.abc import Callable, Iterator

import jax
import ml_collections
import numpy as np

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.matching import FIT
from mrf_jax.matching.atlas import match_atlas
from mrf_jax.matching.dictionary import (
  Dictionary,
  build_dictionary,
  compress,
  count_atoms,
  square_axes,
)
from mrf_jax.matching.dot_product import match
from mrf_jax.matching.groups import (
  best_atoms_of_groups,
  group_atoms,
  match_groups,
)
from mrf_jax.matching.off_grid import match_off_grid
from mrf_jax.matching.off_grid_matcher import OffGridMatcher
from mrf_jax.methods.dictionary_fit import make_fit_matcher
from mrf_jax.methods.gomez import aligned_scan, on_own_grid, search_options
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from mrf_jax.timing.machine import Rates
from mrf_jax.timing.measure import Task
from mrf_jax.timing.scan import Scene

# Matching is timed on a multiple of these voxels, so that copying atoms to the
# device is shared by many voxels, and a search in groups has full blocks.
_CPU_STEP, _STEP = 2048, 4096
# A search in groups reaches less than this share of the rate of products.
_GROUPS_RATE = 0.1
# Voxels from which the searched share of the groups is estimated.
_PROBES = 4096
_BYTES = np.dtype(np.float32).itemsize


def dictionary_tasks(
  config: ml_collections.ConfigDict,
  scene: Scene,
  n_atoms: int,
  rates: Rates,
  *,
  seconds: float,
) -> Iterator[Task]:
  """Simulation, compression and matching with one size of dictionary.

  `n_atoms` are rounded up to axes of equal lengths. The voxels of a run follow
  from the machine's peak rates and the seconds for the warm runs of a task.

  Yields:
    Tasks. Each must run before the next is asked for, which uses its result.
  """
  scan, options = scene.subjects[0], config.dictionary
  axes = square_axes(options.t1_ms, options.t2_ms, n_atoms=n_atoms)
  simulated: list[Dictionary] = []

  def simulate():
    # Two of the largest dictionary might not fit into memory.
    simulated.clear()
    simulated.append(
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
  full = simulated[0]
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
  compressed = compress(full, rank=rank)
  yield matching("dictionary_svd", "reconstruct", match, compressed)
  yield Task(
    "dictionary_svd",
    "group",
    lambda: group_atoms(compressed),
    atoms=count,
    n_bytes=count * rank * _BYTES,
  )
  groups = group_atoms(compressed)
  yield matching("dictionary_svd", "reconstruct_groups", match_groups, groups)


def _matching_task(
  scene: Scene,
  method: str,
  stage: str,
  search: Callable,
  table,
  *,
  rates: Rates,
  seconds: float,
  precision: str,
) -> Task:
  """Matching of evenly spaced voxels, as many as the seconds allow."""
  scan = scene.subjects[0]
  dictionary = table if isinstance(table, Dictionary) else table.dictionary
  n_frames, n_columns = scan.n_windows, dictionary.atoms.shape[1]
  # FLOP for each number of an atom times a complex signal: two real
  # multiply-adds if the atom is real, four if it is complex.
  products = 8 if np.iscomplexobj(dictionary.atoms) else 4
  rate, step = rates.products, _STEP
  if table is dictionary:
    search = functools.partial(search, precision=precision)
    scores = float(dictionary.n_atoms)
    if jax.default_backend() == "cpu":
      step = _CPU_STEP
  else:
    # The bounds of a search in groups need float32.
    precision = "float32"
    probes = _evenly_spaced(scene.signals, min(_PROBES, scan.n_voxels))
    share = best_atoms_of_groups(table, probes)[2]
    scores = len(table.members) + share * table.members.size
    rate *= _GROUPS_RATE
  if dictionary.basis is not None:
    scores += n_frames  # for the compression of the signal
  per_voxel = products * n_columns * scores
  timed = max(1, int(seconds / 5 * rate / per_voxel / step)) * step
  timed = min(scan.n_voxels, timed)
  signals = scene.signals
  if timed < scan.n_voxels:
    signals = _evenly_spaced(signals, timed)
  return Task(
    method,
    stage,
    lambda: search(table, signals).stack(),
    voxels=scan.n_voxels,
    timed=timed,
    atoms=dictionary.n_atoms,
    flop=per_voxel * scan.n_voxels,
    n_bytes=scene.signals.nbytes + dictionary.atoms.nbytes + 12 * scan.n_voxels,
    precision=precision,
  )


def _evenly_spaced(signals, count: int) -> np.ndarray:
  """Signals of voxels from all over the scan."""
  return signals[np.linspace(0, len(signals) - 1, count).astype(int)]


def fit_tasks(
  config: ml_collections.ConfigDict, scene: Scene
) -> Iterator[Task]:
  """Simulation and matching off the grid, at B1 = 1."""
  scan = scene.subjects[0]
  made: list[OffGridMatcher] = []

  def build():
    made[:] = [make_fit_matcher(config, scan.acquisition)]

  yield Task(FIT, "build", build)
  (matcher,) = made
  yield Task(
    FIT,
    "reconstruct",
    lambda: match_off_grid(matcher, scene.signals).maps.stack(),
    voxels=scan.n_voxels,
    atoms=matcher.coarse.n_atoms,
    n_bytes=scene.signals.nbytes + 12 * scan.n_voxels,
  )


def gomez_tasks(
  config: ml_collections.ConfigDict, scene: Scene
) -> Iterator[Task]:
  """Compression of the scan, alignment of the other heads, and the search."""
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
        components.astype(np.complex64),
        map_range.scale(subject_maps.stack()),
        known=options.align,
      )
      for subject, components, subject_maps in zip(
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
      **search_options(config),
    ),
    voxels=fixed.n_voxels,
    atoms=atoms,
    flop=8.0 * fixed.n_voxels * candidates * rank * options.n_iterations,
    n_bytes=query.nbytes + sum(scan.signals.nbytes for scan in atlas),
  )
