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
  """Dictionary matching of all windows (Ma 2013), without any training."""
  return _match_all("dictionary", study, rank=None)


def dictionary_svd(study: Study) -> Estimates:
  """Dictionary matching of temporal components (McGivney 2014)."""
  rank = study.config.dictionary.svd_rank
  return _match_all("dictionary_svd", study, rank=rank)


def check_dictionary(
  config: ml_collections.ConfigDict, method: str, *, n_windows: int
) -> None:
  """Checks the section `dictionary` of a configuration.

  Args:
    config: the experiment's configuration.
    method: `dictionary` or `dictionary_svd`.
    n_windows: length T of a fingerprint.

  Raises:
    UserError: the search is unknown, an axis is not valid, or the rank is not
      between 1 and T.
  """
  options = config.dictionary
  if options.search not in SEARCHES:
    raise UserError(
      f"dictionary.search: {options.search!r} is not one of "
      + ", ".join(SEARCHES)
    )
  for ends in (options.t1_ms, options.t2_ms):
    grid_axis(*ends, step_percent=options.step_percent)
  if method == "dictionary_svd":
    check_rank(options.svd_rank, n_frames=n_windows)


def _match_all(method: str, study: Study, *, rank: int | None) -> Estimates:
  """Matches each left-out subject with one dictionary."""
  match_signals, times = make_matcher(
    study.config.dictionary,
    method,
    study.subjects[0].acquisition,
    rank=rank,
    precision=study.config.precision,
  )
  maps, time_of_matching = reconstruct_all(
    method, study, lambda k, subject: match_signals(subject.signals)
  )
  n_atoms = times[0].atoms
  times.append(dataclasses.replace(time_of_matching, atoms=n_atoms))
  return Estimates(maps, times)


def make_matcher(
  options: ml_collections.ConfigDict,
  method: str,
  acquisition: Acquisition,
  *,
  rank: int | None,
  precision: str,
) -> tuple[Callable[..., Maps], list[StageTime]]:
  """Simulates a dictionary and prepares the matching of signals with it.

  Args:
    options: section `dictionary` of a configuration.
    method: name of the method, for the times.
    acquisition: the pulse sequence and its sliding window.
    rank: number of temporal components; None matches all windows.
    precision: precision of the products, one of `PRECISIONS`.

  Returns:
    A function from signals [voxel, window] to maps, and the times of the
    stages with the number of atoms.
  """
  times = []

  def timed(stage: str, function: Callable, *args, **arguments):
    start = time.perf_counter()
    result = function(*args, **arguments)
    times.append(StageTime(method, stage, time.perf_counter() - start))
    return result

  table = timed(
    "simulate",
    build_dictionary,
    acquisition.sequence,
    grid_axis(*options.t1_ms, step_percent=options.step_percent),
    grid_axis(*options.t2_ms, step_percent=options.step_percent),
    b1=options.b1,
    window=acquisition.window,
    stride=acquisition.stride,
    text="simulating the dictionary",
  )
  n_atoms = table.n_atoms
  if rank is not None:
    table = timed("compress", compress, table, rank=rank)
  if options.search == "groups":
    groups = jax.device_put(timed("group", group_atoms, table))
    match_signals = functools.partial(match_groups, groups)
  else:
    table = jax.device_put(table)
    match_signals = functools.partial(match, table, precision=precision)
  return match_signals, [
    dataclasses.replace(stage, atoms=n_atoms) for stage in times
  ]
