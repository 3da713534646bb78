"""Holds a scan against its own physics before maps are made of it."""

from mrf_jax.checks import check_one_of
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.fit import MISFITS, parts
from mrf_jax.fit.maps import QuickMatch, quick_match
from mrf_jax.fit.reference import check_reference
from mrf_jax.fit.scan import fit_scan
from mrf_jax.signal.interpolant import Interpolant, make_interpolant


def check_scan(
  subject: Subject,
  *,
  path,
  misfit: str = "refuse",
  needs_phase: bool = False,
  phase_is_learned: bool = False,
  turned: str | None = None,
  align: str = "--align_phases",
  match: QuickMatch | None = None,
  echoes: Interpolant | None = None,
) -> list[str]:
  """Checks order, phase and noise of a scan, and whose its maps are.

  Args:
    subject: the scan with its signals.
    path: its file, for messages.
    misfit: one of `MISFITS`.
    needs_phase: whether the scan is for a method that uses phases.
    phase_is_learned: whether the method learned from scans of its phase, which
      then need not be that of the sequence.
    turned: why its phase is none that the method learned, in words.
    align: what turns its phases back, in words.
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
  if match is None:
    match = quick_match(subject.acquisition, subject.signals, echoes=echoes)
  fit = fit_scan(subject.acquisition, subject.signals, echoes=echoes)
  sentences = [
    *fit.doubts(),
    *parts.image_doubts(subject.signals, fit),
    *parts.voxel_doubts(match),
    *parts.order_doubts(match, subject.mask),
  ]
  problems = [
    parts.image_problem(subject.signals),
    fit.problem(),
    parts.voxel_problem(match),
  ]
  if not any(problems):
    problem, doubts = parts.slice_findings(subject, match, echoes=echoes)
    problems.append(problem)
    sentences += doubts
  if needs_phase:
    problem, doubts = parts.slice_phases(match, subject.mask, align)
    if not phase_is_learned:
      problems.append(fit.phase_problem(align))
      doubts = fit.phase_doubts(align) or doubts
    problems.append(problem)
    sentences += doubts
  problems.append(turned)
  if subject.maps is not None:
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
