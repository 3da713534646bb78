"""Dictionary matching (Ma 2013), full and SVD-compressed (McGivney 2014)."""

import dataclasses
import time

import jax
import ml_collections

from mrf_jax.matching.compress import check_rank, compress
from mrf_jax.matching.dictionary import build_dictionary, grid_axis
from mrf_jax.matching.dot_product import match
from mrf_jax.methods.study import Estimates, Study, reconstruct_all
from mrf_jax.timing import StageTime


def dictionary(study: Study) -> Estimates:
  """Matching with all frames; it learns nothing."""
  return _match_all("dictionary", study, rank=None)


def dictionary_svd(study: Study) -> Estimates:
  """Matching in the space of the dictionary's first temporal components."""
  rank = study.config.dictionary.svd_rank
  return _match_all("dictionary_svd", study, rank=rank)


def check_svd(config: ml_collections.ConfigDict, *, n_windows: int) -> None:
  """Refuses a rank that the fingerprints do not have.

  Args:
    config: the experiment's configuration.
    n_windows: T.

  Raises:
    UserError: it is not between 1 and T.
  """
  check_rank(config.dictionary.svd_rank, n_frames=n_windows)


def _match_all(method: str, study: Study, *, rank: int | None) -> Estimates:
  options = study.config.dictionary
  scan = study.subjects[0]
  start = time.perf_counter()
  atoms = build_dictionary(
    scan.sequence,
    grid_axis(*options.t1_ms, step_percent=options.step_percent),
    grid_axis(*options.t2_ms, step_percent=options.step_percent),
    b1=options.b1,
    window=scan.window,
    stride=scan.stride,
    text="simulating the dictionary",
  )
  n_atoms = atoms.n_atoms
  seconds = time.perf_counter() - start
  times = [StageTime(method, "simulate", seconds, atoms=n_atoms)]
  if rank is not None:
    start = time.perf_counter()
    atoms = compress(atoms, rank=rank)
    seconds = time.perf_counter() - start
    times.append(StageTime(method, "compress", seconds, atoms=n_atoms))
  atoms = jax.device_put(atoms)
  maps, matched = reconstruct_all(
    method, study, lambda k, subject: match(atoms, subject.signals)
  )
  return maps, [*times, dataclasses.replace(matched, atoms=n_atoms)]
