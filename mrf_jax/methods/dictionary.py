"""Dictionary matching (Ma 2013), full and SVD-compressed (McGivney 2014)."""

import dataclasses
import functools
import time
from collections.abc import Callable

import jax
import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.matching.dictionary import build_dictionary, compress, grid_axis
from mrf_jax.matching.dot_product import match
from mrf_jax.matching.groups import group_atoms, match_groups
from mrf_jax.methods.study import Estimates, Study, reconstruct_all
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.subspace import check_rank
from mrf_jax.workdir.stage_times import StageTime

SEARCHES = ("exhaustive", "groups")


def dictionary(study: Study) -> Estimates:
  """Matching with all frames; it learns nothing."""
  return _match_all("dictionary", study, rank=None)


def dictionary_svd(study: Study) -> Estimates:
  """Matching in the space of the dictionary's first temporal components."""
  rank = study.config.dictionary.svd_rank
  return _match_all("dictionary_svd", study, rank=rank)


def check_dictionary(
  config: ml_collections.ConfigDict, method: str, *, n_windows: int
) -> None:
  """Refuses an unknown search, or a rank that the fingerprints do not have.

  Args:
    config: the experiment's configuration.
    method: `dictionary` or `dictionary_svd`.
    n_windows: T.

  Raises:
    UserError: the search is none, or the rank is not between 1 and T.
  """
  search = config.dictionary.search
  if search not in SEARCHES:
    raise UserError(
      f"dictionary.search: {search!r} is not one of {', '.join(SEARCHES)}"
    )
  options = config.dictionary
  for ends in (options.t1_ms, options.t2_ms):
    grid_axis(*ends, step_percent=options.step_percent)
  if method == "dictionary_svd":
    check_rank(config.dictionary.svd_rank, n_frames=n_windows)


def _match_all(method: str, study: Study, *, rank: int | None) -> Estimates:
  scan = study.subjects[0]
  find, times = make_matcher(
    study.config.dictionary,
    method,
    scan.acquisition,
    rank=rank,
    precision=study.config.precision,
  )
  maps, matched = reconstruct_all(
    method, study, lambda k, subject: find(subject.signals)
  )
  matched = dataclasses.replace(matched, atoms=times[0].atoms)
  return Estimates(maps, [*times, matched])


def make_matcher(
  options: ml_collections.ConfigDict,
  method: str,
  acquisition: Acquisition,
  *,
  rank: int | None,
  precision: str,
) -> tuple[Callable[..., Maps], list[StageTime]]:
  """What finds the maps of signals in a dictionary that it simulates.

  Args:
    options: section `dictionary` of a configuration.
    method: name of the method, for the times.
    acquisition: the pulse sequence and its sliding window.
    rank: temporal components; None is all windows.
    precision: of the products, one of `PRECISIONS`.

  Returns:
    Maps from signals [voxel, window], and what the stages took, of which the
    first knows the number of atoms.
  """
  start = time.perf_counter()
  atoms = build_dictionary(
    acquisition.sequence,
    grid_axis(*options.t1_ms, step_percent=options.step_percent),
    grid_axis(*options.t2_ms, step_percent=options.step_percent),
    b1=options.b1,
    window=acquisition.window,
    stride=acquisition.stride,
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
  if options.search == "groups":
    start = time.perf_counter()
    groups = group_atoms(atoms)
    seconds = time.perf_counter() - start
    times.append(StageTime(method, "group", seconds, atoms=n_atoms))
    return functools.partial(match_groups, jax.device_put(groups)), times
  atoms = jax.device_put(atoms)
  return functools.partial(match, atoms, precision=precision), times
