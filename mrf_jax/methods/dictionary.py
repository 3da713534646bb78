"""Dictionary matching (Ma 2013), full and SVD-compressed (McGivney 2014)."""

import dataclasses
import functools
import time
from collections.abc import Callable

import jax
import ml_collections

from mrf_jax.checks import check_one_of
from mrf_jax.maps import Maps
from mrf_jax.matching import DICTIONARIES
from mrf_jax.matching.dictionary import (
  build_dictionary,
  compress,
  count_atoms,
  grid_axis,
  is_interpolated,
)
from mrf_jax.matching.dot_product import match
from mrf_jax.matching.groups import group_atoms, match_groups
from mrf_jax.methods.study import Estimates, Study, reconstruct_all
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.subspace import check_rank
from mrf_jax.workdir.stage_times import StageTime

_SEARCHES = ("exhaustive", "groups")


def has_relative_pd(config: ml_collections.ConfigDict, method: str) -> bool:
  """Whether proton density is in the unit of the signals, not the references'.

  That of all dictionaries is. Simulated scanners have a gain of one, so that
  both units are the same; scans from files have any.
  """
  return method in DICTIONARIES and bool(config.data.get("files"))


def dictionary(method: str, study: Study) -> Estimates:
  """Matches each left-out subject with one dictionary, without any training."""
  match_signals, times = make_matcher(
    study.config, method, study.subjects[0].acquisition
  )
  maps, time_of_matching = reconstruct_all(
    method,
    study,
    lambda k, subject: match_signals(subject.signals),
    atoms=times[0].atoms,
  )
  return Estimates(maps, [*times, time_of_matching])


def check_dictionary(
  config: ml_collections.ConfigDict, method: str, *, n_windows: int
) -> None:
  """Checks the section `dictionary` of a configuration.

  Raises:
    UserError: the search is unknown, an axis is not valid, or the rank is not
      between 1 and the number of windows.
  """
  options = config.dictionary
  check_one_of("dictionary.search", options.search, _SEARCHES)
  for ends in (options.t1_ms, options.t2_ms):
    grid_axis(*ends, step_percent=options.step_percent)
  if method == "dictionary_svd":
    name = "--config.dictionary.svd_rank"
    check_rank(name, options.svd_rank, n_frames=n_windows)


def acquisition_of_atoms(
  config: ml_collections.ConfigDict, acquisition: Acquisition
) -> Acquisition:
  """The acquisition that atoms are simulated with.

  Without the profile of its pulses, if the configuration says so.
  """
  # Configurations that were stored before there were profiles lack the key.
  if not config.dictionary.get("ideal_slice"):
    return acquisition
  sequence = dataclasses.replace(
    acquisition.sequence, slice_time_bandwidth=None
  )
  return dataclasses.replace(acquisition, sequence=sequence)


def make_matcher(
  config: ml_collections.ConfigDict, method: str, acquisition: Acquisition
) -> tuple[Callable[..., Maps], list[StageTime]]:
  """Simulates a dictionary and prepares the matching of signals with it.

  Returns:
    A function from signals [voxel, window] to maps, and the times of the
    stages with the number of atoms.
  """
  options = config.dictionary
  acquisition = acquisition_of_atoms(config, acquisition)
  seconds = {}

  def timed(stage: str, function: Callable, *args, **arguments):
    start = time.perf_counter()
    result = function(*args, **arguments)
    seconds[stage] = time.perf_counter() - start
    return result

  axes = [
    grid_axis(*ends, step_percent=options.step_percent)
    for ends in (options.t1_ms, options.t2_ms)
  ]
  build = functools.partial(
    build_dictionary,
    acquisition.sequence,
    *axes,
    b1=options.b1,
    window=acquisition.window,
    stride=acquisition.stride,
    text="simulating the dictionary",
  )
  is_compressed = method == "dictionary_svd"
  n_atoms = len(options.b1) * count_atoms(*axes)
  if is_compressed and is_interpolated(n_atoms):
    # Interpolated, without all of its frames in memory.
    table = timed("build", build, rank=options.svd_rank)
  else:
    table = timed("simulate", build)
    if is_compressed:
      table = timed("compress", compress, table, rank=options.svd_rank)
  if options.search == "groups":
    groups = jax.device_put(timed("group", group_atoms, table))
    match_signals = functools.partial(match_groups, groups)
  else:
    table = jax.device_put(table)
    match_signals = functools.partial(match, table, precision=config.precision)
  return match_signals, [
    StageTime(method, stage, took, atoms=n_atoms)
    for stage, took in seconds.items()
  ]
