"""Matching off the grid: a dictionary's best atom, then a least-squares fit."""

import dataclasses
import time

import ml_collections
import numpy as np
from jaxtyping import Bool, Float32

from mrf_jax.checks import check_one_of
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.matching import B1_CHOICES, FIT
from mrf_jax.matching.atom_interpolant import InterpolationError
from mrf_jax.matching.dictionary import count_atoms, grid_axis
from mrf_jax.matching.off_grid import match_off_grid
from mrf_jax.matching.off_grid_matcher import (
  OffGridMatcher,
  make_off_grid_matcher,
)
from mrf_jax.methods.dictionary import acquisition_of_atoms
from mrf_jax.methods.study import Estimates, Study, reconstruct_all
from mrf_jax.runtime.progress import share_of_voxels
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.subspace import check_rank
from mrf_jax.workdir.stage_times import StageTime

_SECTION = f"--config.{FIT}"
# T1 or T2 is not told by the signal if its standard deviation is more than this
# share of it, and B1 if it is more than that of any value of its range.
_MOST_RELATIVE = 0.5
_OF_A_RANGE = 1 / np.sqrt(12)
# Values at an end of a range, up to the rounding of float32.
_AT_END = 1e-5


@dataclasses.dataclass(frozen=True)
class Fitted:
  """Maps of one scan, and what is known of them.

  Attributes:
    maps: proton density, T1 and T2.
    deviations: their standard deviations by the noise that the signals show.
      None is larger than half of the range of its map.
    b1: factors on the flip angles, [voxel]; None where they are 1.
    b1_deviations: their standard deviations, [voxel]; None unless B1 is fitted.
    is_unsure: whether the signal tells one of the values hardly, or B1 is
      outside the range of the atoms, [voxel].
    sentences: on these voxels.
  """

  maps: Maps
  deviations: Maps
  b1: Float32[np.ndarray, "voxel"] | None
  b1_deviations: Float32[np.ndarray, "voxel"] | None
  is_unsure: Bool[np.ndarray, "voxel"]
  sentences: tuple[str, ...]


def dictionary_fit(study: Study) -> Estimates:
  """Fits each left-out subject, without any training."""
  config = study.config
  choices = {k: b1_choice(config, study.subjects[k]) for k in study.folds}
  matchers, times = {}, []
  for choice in dict.fromkeys(choices.values()):
    start = time.perf_counter()
    matcher = make_fit_matcher(
      config, study.subjects[0].acquisition, _b1_range(config, choice)
    )
    matchers[choice] = matcher
    seconds = time.perf_counter() - start
    times.append(StageTime(FIT, "build", seconds, atoms=matcher.coarse.n_atoms))
  fitted, time_of_fit = reconstruct_all(
    FIT,
    study,
    lambda k, subject: _fit(config, matchers[choices[k]], subject, choices[k]),
    atoms=times[0].atoms,
  )
  return Estimates(
    [own.maps for own in fitted],
    [*times, time_of_fit],
    [own.deviations for own in fitted],
  )


def check_dictionary_fit(
  config: ml_collections.ConfigDict, *, n_windows: int
) -> None:
  """Checks the section `dictionary_fit`, and the ranges of `dictionary`.

  Raises:
    UserError: the section is missing, a range is empty or has no T2 ≤ T1, or
      the rank is not between 1 and the number of windows.
  """
  if FIT not in config:
    raise UserError(
      f"--config: it has no section {FIT}, which configs/common.py has: it is "
      "of an older version"
    )
  options = config[FIT]
  axes = [
    grid_axis(*ends, step_percent=options.step_percent)
    for ends in (config.dictionary.t1_ms, config.dictionary.t2_ms)
  ]
  if not count_atoms(*axes):
    raise UserError(
      "--config.dictionary: no T2 of t2_ms is as short as a T1 of t1_ms"
    )
  check_rank(f"{_SECTION}.rank", options.rank, n_frames=n_windows)
  if options.b1 is not None:
    check_one_of(f"{_SECTION}.b1", options.b1, B1_CHOICES)
  low, high = options.b1_range
  if not 0 < low < high < np.inf:
    raise UserError(
      f"{_SECTION}.b1_range: no B1 lies between {low:g} and {high:g}"
    )
  if not 0 < options.largest_error < 1:
    raise UserError(
      f"{_SECTION}.largest_error is {options.largest_error:g}, not between 0 "
      "and 1"
    )


def b1_choice(config: ml_collections.ConfigDict, subject: Subject) -> str:
  """What a fit does with B1: as configured, else by the scan's map if any.

  Raises:
    UserError: a map is asked for, and the scan has none.
  """
  choice = config[FIT].b1
  if choice is None:
    return "none" if subject.b1 is None else "map"
  if choice == "map" and subject.b1 is None:
    raise UserError(
      f"{subject.subject}: B1 by a map is asked for, but the scan has none; "
      "--b1_map in --mode=import or reconstruct gives it"
    )
  return choice


def fit_subject(config: ml_collections.ConfigDict, subject: Subject) -> Fitted:
  """Fits a single scan, whose sequence may be any."""
  choice = b1_choice(config, subject)
  ends = _b1_range(config, choice)
  if choice == "map":
    assert subject.b1 is not None
    # No more than the map needs.
    ends = tuple(np.clip([subject.b1.min(), subject.b1.max()], *ends))
  matcher = make_fit_matcher(config, subject.acquisition, ends)
  return _fit(config, matcher, subject, choice)


def make_fit_matcher(
  config: ml_collections.ConfigDict,
  acquisition: Acquisition,
  b1_range: tuple[float, float] = (1.0, 1.0),
) -> OffGridMatcher:
  """Simulates what a fit of the configuration needs of an acquisition.

  Raises:
    UserError: the error of interpolation is larger than it may be.
  """
  options = config[FIT]
  try:
    return make_off_grid_matcher(
      acquisition_of_atoms(config, acquisition),
      tuple(config.dictionary.t1_ms),
      tuple(config.dictionary.t2_ms),
      b1_range,
      rank=options.rank,
      step_percent=options.step_percent,
      largest_error=options.largest_error,
    )
  except InterpolationError as error:
    raise UserError(
      f"{_SECTION}.largest_error is {options.largest_error:g}, but "
      f"{error.problem}; ask for a larger one, or for shorter ranges"
    ) from error


def _fit(
  config: ml_collections.ConfigDict,
  matcher: OffGridMatcher,
  subject: Subject,
  choice: str,
) -> Fitted:
  """Fits a scan of the matcher's acquisition."""
  assert subject.signals is not None
  low, high = float(matcher.b1[0]), float(matcher.b1[-1])
  is_unsure = np.zeros(subject.n_voxels, bool)

  def share(which: Bool[np.ndarray, "voxel"]) -> str:
    return share_of_voxels(int(which.sum()), len(which))

  sentences = []
  b1 = None
  if choice == "map":
    assert subject.b1 is not None
    b1 = np.clip(subject.b1, low, high)
    is_unsure |= ~np.isclose(b1, subject.b1, rtol=_AT_END)
    if is_unsure.any():
      first, last = config[FIT].b1_range
      sentences.append(
        f"B1 of {share(is_unsure)} is not between {first:g} and {last:g} "
        f"({_SECTION}.b1_range): they are fitted at the nearer end, and are "
        "doubtful"
      )
  found = match_off_grid(matcher, subject.signals, b1=b1)
  hardly = np.zeros(subject.n_voxels, bool)
  for name in ("t1_ms", "t2_ms"):
    relative = getattr(found.deviations, name) / getattr(found.maps, name)
    hardly |= ~(relative <= _MOST_RELATIVE)
  if hardly.any():
    sentences.append(
      f"the signals of {share(hardly)} hardly tell T1 or T2: its standard "
      f"deviation is more than {_MOST_RELATIVE:.0%} of it"
    )
  if choice == "free":
    unknown = ~(found.b1_deviations <= _OF_A_RANGE * (high - low))
    ends = (found.b1 <= low + _AT_END) | (found.b1 >= high - _AT_END)
    if unknown.any() or ends.any():
      sentences.append(
        f"the signals of {share(unknown)} do not tell B1, and that of "
        f"{share(ends)} is at an end of its range, {low:g} to {high:g}"
      )
    hardly |= unknown
  spans = [
    float(np.ptp(ends))
    for ends in (config.dictionary.t1_ms, config.dictionary.t2_ms)
  ]
  return Fitted(
    maps=found.maps,
    deviations=_within(found.deviations, found.maps, *spans),
    b1=found.b1 if choice != "none" else None,
    b1_deviations=np.minimum(found.b1_deviations, (high - low) / 2)
    if choice == "free"
    else None,
    is_unsure=is_unsure | hardly,
    sentences=tuple(sentences),
  )


def _within(deviations: Maps, maps: Maps, t1_ms: float, t2_ms: float) -> Maps:
  """Deviations no larger than half of a range, which none can be (Popoviciu).

  That of a proton density of which nothing is known is as large as itself.
  """
  pd = np.where(np.isfinite(deviations.pd), deviations.pd, maps.pd)
  return Maps(
    pd,
    np.minimum(deviations.t1_ms, np.float32(t1_ms / 2)),
    np.minimum(deviations.t2_ms, np.float32(t2_ms / 2)),
  )


def _b1_range(
  config: ml_collections.ConfigDict, choice: str
) -> tuple[float, float]:
  """Least and largest B1 of the atoms."""
  return (1.0, 1.0) if choice == "none" else tuple(config[FIT].b1_range)
