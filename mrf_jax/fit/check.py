"""Holds a scan against its own physics before maps are made of it."""

import numpy as np

from mrf_jax.checks import check_one_of
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.fit.maps import QuickMatch, quick_match
from mrf_jax.fit.reference import check_reference
from mrf_jax.fit.scan import fit_scan
from mrf_jax.signal.interpolant import Interpolant, make_interpolant

# What is done with a scan that does not fit: nothing is written; a sentence
# says so; nothing is compared.
MISFITS = ("refuse", "accept", "ignore")
# A voxel this many times as bright as the median is no tissue: the brightest
# voxel of a head of the demo has 2.4 times the median.
_LARGEST_RATIO = 30.0


def check_scan(
  subject: Subject,
  *,
  path,
  misfit: str = "refuse",
  needs_phase: bool = False,
  match: QuickMatch | None = None,
  echoes: Interpolant | None = None,
) -> list[str]:
  """Checks order, phase and noise of a scan, and whose its maps are.

  Args:
    subject: the scan with its signals.
    path: its file, for messages.
    misfit: one of `MISFITS`.
    needs_phase: whether the scan is for a method that uses phases.
    match: quick match of the scan, if it is known.
    echoes: interpolant of the sequence, if it is known.

  Returns:
    Sentences on the fit and on what is doubtful.

  Raises:
    UserError: something is surely wrong, and is not to be accepted.
  """
  check_one_of("--misfit", misfit, MISFITS)
  if misfit == "ignore":
    return []
  assert subject.signals is not None
  if echoes is None:
    echoes = make_interpolant(subject.sequence)
  fit = fit_scan(subject.acquisition, subject.signals, echoes=echoes)
  sentences = fit.doubts() + (fit.phase_doubts() if needs_phase else [])
  problems = [fit.problem(), _outliers(subject.signals)]
  if needs_phase:
    problems.append(fit.phase_problem())
  if subject.maps is not None:
    if match is None:
      match = quick_match(subject.acquisition, subject.signals, echoes=echoes)
    try:
      sentences += check_reference(match, subject.maps, subject.mask)
    except UserError as error:
      problems.append(str(error))
  found = [problem for problem in problems if problem is not None]
  if found and misfit == "refuse":
    raise UserError(
      f"{path}: {found[0]} (--misfit=accept makes maps of it all the same)"
    )
  return [*(f"{path}: {problem}" for problem in found), *sentences]


def _outliers(signals: np.ndarray) -> str | None:
  """Voxels that are far too bright, in words; None if there are none."""
  brightness = np.abs(signals[:, :: max(1, signals.shape[1] // 64)]).max(1)
  median = float(np.median(brightness))
  count = np.count_nonzero(brightness > _LARGEST_RATIO * median)
  if not count or not median:
    return None
  ratio = float(brightness.max()) / median
  return (
    f"{count:,} voxels are up to {ratio:.3g} times as bright as the median "
    "voxel: leave them out of the mask"
  )
