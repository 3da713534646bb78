"""Spatiotemporal dictionary matching on the training scans (Gómez 2016)."""

import time

import ml_collections
import numpy as np

from mrf_jax.dataset.align import nearest_rows, voxel_map
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.matching.atlas import AtlasScan, match_atlas
from mrf_jax.matching.atlas_checks import check_parameters
from mrf_jax.methods.compression import compress_scans
from mrf_jax.methods.study import Estimates, Study
from mrf_jax.runtime.progress import progress
from mrf_jax.signal.subspace import check_rank
from mrf_jax.workdir.stage_times import StageTime


def gomez(study: Study) -> Estimates:
  """Each subject matched with the atlas of all others.

  Every training scan is brought onto the left-out scan's grid, nearest voxel
  by nearest voxel, through the known affine part of the simulated heads. The
  temporal basis and the maps' ranges come from the training scans.
  """
  options = study.config.gomez
  n_subjects = len(study.subjects)
  if n_subjects < 2:
    raise UserError(f"gomez: {n_subjects} subject; leave-one-out wants two")
  start = time.perf_counter()
  signals = _signals(study, options.rank)
  seconds = time.perf_counter() - start
  voxels = sum(subject.n_voxels for subject in study.subjects)
  times = [StageTime("gomez", "compress", seconds, voxels=voxels)]
  maps, seconds, matched = [], 0.0, 0
  folds = study.folds
  for fold in progress(folds, total=len(folds), text="gomez maps"):
    others = [k for k in range(n_subjects) if k != fold]
    if fold == folds[0]:
      # Compiles on one atlas scan, so that compilation is not counted.
      _estimate(study, signals[fold], fold, others=others[:1])
    start = time.perf_counter()
    maps.append(_estimate(study, signals[fold], fold, others=others))
    seconds += time.perf_counter() - start
    matched += study.subjects[fold].n_voxels
  atoms = voxels * (n_subjects - 1) // n_subjects
  times.append(
    StageTime("gomez", "reconstruct", seconds, voxels=matched, atoms=atoms)
  )
  return Estimates(maps, times)


def check_gomez(config: ml_collections.ConfigDict, *, n_windows: int) -> None:
  """Refuses options that the search or the compression cannot take.

  Args:
    config: the experiment's configuration.
    n_windows: T.

  Raises:
    UserError: an option is out of its range.
  """
  options = config.gomez
  check_parameters(**search_options(config))
  if options.rank is not None:
    check_rank(options.rank, n_frames=n_windows)


def search_options(config: ml_collections.ConfigDict) -> dict:
  """Arguments of `match_atlas`.

  Args:
    config: the experiment's configuration.
  """
  options = config.gomez
  return {
    "window": tuple(options.window),
    "patch": tuple(options.patch),
    "n_neighbours": options.n_neighbours,
    "alpha": options.alpha,
    "n_iterations": options.n_iterations,
  }


def _signals(study: Study, rank: int | None) -> dict[int, list[np.ndarray]]:
  """Signals of every subject in every fold's basis, [fold][subject].

  Subjects are read one at a time; without compression all stay in memory.
  """
  numbers = range(len(study.subjects))
  if rank is not None:
    scans = compress_scans(study, rank=rank, left_out=study.folds)
    return {
      fold: scan.signals for fold, scan in zip(study.folds, scans, strict=True)
    }
  whole = [study.signals(k) for k in numbers]
  return {fold: whole for fold in study.folds}


def _estimate(
  study: Study, signals: list[np.ndarray], fold: int, *, others: list[int]
) -> Maps:
  """Maps of the left-out subject from the atlas of some others."""
  options = study.config.gomez
  subject = study.subjects[fold]
  map_range = MapRange.of([study.references[k] for k in others])
  atlas = [
    aligned_scan(
      subject,
      study.subjects[k],
      signals[k],
      map_range.scale(study.references[k].stack()),
      known=options.align,
      shift_mm=options.shift_mm,
    )
    for k in others
  ]
  found = match_atlas(
    on_own_grid(subject, signals[fold]),
    subject.mask,
    atlas,
    **search_options(study.config),
  )
  estimates = map_range.unscale(found[:, subject.mask].T.astype(np.float64))
  return Maps.unstack(estimates.astype(np.float32))


def aligned_scan(
  fixed: Subject,
  moving: Subject,
  signals: np.ndarray,
  maps: np.ndarray,
  **alignment,
) -> AtlasScan:
  """A training scan on the left-out scan's grid.

  Args:
    fixed: the left-out scan.
    moving: the training scan.
    signals: of its masked voxels, [voxel, channel].
    maps: of its masked voxels, scaled to [0, 1], [voxel, map].
    **alignment: options of `voxel_map`.
  """
  voxels = voxel_map(fixed, moving, **alignment)
  rows = nearest_rows(moving.mask, voxels, shape=fixed.mask.shape)
  return AtlasScan(
    _volume(signals, rows), _volume(maps.astype(np.float32), rows), rows > 0
  )


def on_own_grid(subject: Subject, values: np.ndarray) -> np.ndarray:
  """Masked voxels [voxel, channel] as a volume, [channel, slice, y, x]."""
  rows = nearest_rows(subject.mask, np.eye(4), shape=subject.mask.shape)
  return _volume(values, rows)


def _volume(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Table [voxel, channel] on a grid of row numbers, [channel, slice, y, x]."""
  table = np.concatenate([np.zeros_like(values[:1]), values])
  return np.ascontiguousarray(np.moveaxis(table[rows], -1, 0))
