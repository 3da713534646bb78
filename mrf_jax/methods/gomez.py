"""Spatiotemporal matching with an atlas of training scans (Gómez 2016)."""

import time

import ml_collections
import numpy as np
from jaxtyping import Shaped

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
  """Matches each left-out subject with an atlas of all other subjects.

  Each training scan is resampled on the grid of the left-out scan, by nearest
  voxel, through the known affine alignment of simulated heads, see `voxel_map`.
  The temporal basis and the ranges of the maps come from the training scans.

  Raises:
    UserError: there is only one subject.
  """
  n_subjects = len(study.subjects)
  if n_subjects < 2:
    raise UserError(f"gomez: {n_subjects} subject; leave-one-out needs two")
  start = time.perf_counter()
  signals = _signals(study, study.config.gomez.rank)
  seconds = time.perf_counter() - start
  voxels = sum(subject.n_voxels for subject in study.subjects)
  times = [StageTime("gomez", "compress", seconds, voxels=voxels)]
  maps, seconds, n_matched = [], 0.0, 0
  folds = study.folds
  for fold in progress(folds, total=len(folds), text="gomez maps"):
    others = [k for k in range(n_subjects) if k != fold]
    if fold == folds[0]:
      # Compiles with an atlas of one scan, so that compilation is not timed.
      _estimate(study, signals[fold], fold, others=others[:1])
    start = time.perf_counter()
    maps.append(_estimate(study, signals[fold], fold, others=others))
    seconds += time.perf_counter() - start
    n_matched += study.subjects[fold].n_voxels
  atoms = voxels * (n_subjects - 1) // n_subjects
  times.append(
    StageTime("gomez", "reconstruct", seconds, voxels=n_matched, atoms=atoms)
  )
  return Estimates(maps, times)


def check_gomez(config: ml_collections.ConfigDict, *, n_windows: int) -> None:
  """Raises `UserError` if an option of the section `gomez` is out of range."""
  options = config.gomez
  check_parameters(**search_options(config))
  if options.rank is not None:
    check_rank("--config.gomez.rank", options.rank, n_frames=n_windows)


def search_options(config: ml_collections.ConfigDict) -> dict:
  """Keyword arguments of `match_atlas`."""
  options = config.gomez
  return {
    "window": tuple(options.window),
    "patch": tuple(options.patch),
    "n_neighbours": options.n_neighbours,
    "alpha": options.alpha,
    "n_iterations": options.n_iterations,
  }


def _signals(study: Study, rank: int | None) -> dict[int, list[np.ndarray]]:
  """Signals of each subject in the basis of each fold, [fold][subject].

  Without compression the whole signals of all subjects are in memory.
  """
  if rank is None:
    signals = [study.signals(k) for k in range(len(study.subjects))]
    return dict.fromkeys(study.folds, signals)
  scans = compress_scans(study, rank=rank, left_out=study.folds)
  return {fold: scan.signals for fold, scan in scans.items()}


def _estimate(
  study: Study, signals: list[np.ndarray], fold: int, *, others: list[int]
) -> Maps:
  """Maps of the left-out subject from an atlas of other subjects."""
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
  scaled = match_atlas(
    on_own_grid(subject, signals[fold]),
    subject.mask,
    atlas,
    **search_options(study.config),
  )
  maps = map_range.unscale(scaled[:, subject.mask].T.astype(np.float64))
  return Maps.unstack(maps.astype(np.float32))


def aligned_scan(
  fixed: Subject,
  moving: Subject,
  signals: np.ndarray,
  maps: np.ndarray,
  **alignment,
) -> AtlasScan:
  """A training scan on the grid of the left-out scan, by nearest voxel.

  Args:
    fixed: the left-out scan.
    moving: the training scan.
    signals: signals of the training scan's masked voxels, [voxel, channel].
    maps: maps of the same voxels, scaled to [0, 1], [voxel, map].
    **alignment: keyword arguments of `voxel_map`.
  """
  voxels = voxel_map(fixed, moving, **alignment)
  rows = nearest_rows(moving.mask, voxels, shape=fixed.mask.shape)
  return AtlasScan(
    _volume(signals, rows), _volume(maps.astype(np.float32), rows), rows > 0
  )


def on_own_grid(
  subject: Subject, values: Shaped[np.ndarray, "voxel channel"]
) -> Shaped[np.ndarray, "channel slice y x"]:
  """Volume of a subject's masked voxels, zero outside of the mask."""
  rows = nearest_rows(subject.mask, np.eye(4), shape=subject.mask.shape)
  return _volume(values, rows)


def _volume(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Volume [channel, slice, y, x] from a table [voxel, channel].

  Row i of the table is number i + 1 in `rows`, [slice, y, x]; 0 is outside.
  """
  table = np.concatenate([np.zeros_like(values[:1]), values])
  return np.ascontiguousarray(np.moveaxis(table[rows], -1, 0))
