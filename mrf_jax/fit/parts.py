"""Parts of a scan that do not fit as the rest does: images, voxels, slices."""

import numpy as np
from jaxtyping import Bool, Complex64

from mrf_jax.dataset.subject import Subject
from mrf_jax.fit.maps import QuickMatch
from mrf_jax.fit.orders import alike
from mrf_jax.fit.scan import ScanFit, fit_scan
from mrf_jax.runtime.progress import share_of_voxels
from mrf_jax.signal.interpolant import Interpolant

# A voxel this many times as bright as the median is no tissue: the brightest
# voxel of a head of the demo has 2.1 times the median.
_LARGEST_RATIO = 30.0
# Voxels that tell whether an image is empty, or the one before it again.
_SAMPLE = 1000
# A scan without noise may repeat its images in a steady state.
_WITHOUT_NOISE = 0.999
# Voxels of noise that are named, as a share of the scan. Of six heads of the
# demo no voxel is explained by less than 0.67, and noise by 0.05.
_LEAST_NOISE = 0.01
# Correlation of neighbours along x or y. Heads of the demo have 0.55 to 0.7 for
# the logarithm of the energy, and 0.65 to 0.78 for that of T1; the smallest
# scans have 0.26 for the energy. In another order than that of the mask, voxels
# have 0.12 or less along x or y.
_LEAST_ALIKE = 0.15
# Contrast that tells: standard deviations of the logarithms (0.25 and 0.5 in
# heads; one tissue with noise has up to 0.13 of the energy), and share that the
# sequence explains.
_LEAST_CONTRAST, _LEAST_EXPLAINED = 0.18, 0.6
# A slice is looked at if the sequence explains so much less of it than of the
# best one; those of a head of the demo differ by 0.004 at most.
_LESS_EXPLAINED = 0.04
# At most so many slices, and with so many voxels each.
_MOST_SLICES, _LEAST_VOXELS = 3, 30
# A slice as dark as this, beside the median of the scan, is air.
_DARK = 0.1
# Phase of a slice beside that of the scan, degrees (at most 0.1 in the demo);
# and its concentration, below which it is not known.
_SURE_PHASE_DEG, _DOUBTFUL_PHASE_DEG = 45.0, 10.0
_LEAST_CONCENTRATION = 0.5


def image_problem(signals: Complex64[np.ndarray, "voxel window"]) -> str | None:
  """Images without any signal, in words; None if there are none."""
  sample = signals[:: max(1, len(signals) // _SAMPLE)]
  empty = [
    k for k in np.flatnonzero(~sample.any(axis=0)) if not signals[:, k].any()
  ]
  if not empty or len(empty) == signals.shape[1]:
    return None
  return (
    f"{_counted(len(empty), 'image')} of {signals.shape[1]} "
    f"{'is' if len(empty) == 1 else 'are'} zero in all voxels, image "
    f"{empty[0] + 1} first: is the scan complete?"
  )


def image_doubts(
  signals: Complex64[np.ndarray, "voxel window"], fit: ScanFit
) -> list[str]:
  """A sentence if images repeat the one before."""
  if fit.explained > _WITHOUT_NOISE:
    return []
  sample = signals[:: max(1, len(signals) // _SAMPLE)]
  alike = np.flatnonzero((sample[:, 1:] == sample[:, :-1]).all(axis=0))
  same = [k for k in alike if np.array_equal(signals[:, k], signals[:, k + 1])]
  if not same:
    return []
  return [
    f"{_counted(len(same), 'image')} of {signals.shape[1]} "
    f"{'repeats' if len(same) == 1 else 'repeat'} the one before, image "
    f"{same[0] + 2} first: were images lost or averaged?"
  ]


def voxel_problem(match: QuickMatch) -> str | None:
  """Voxels that are far too bright, in words; None if there are none."""
  brightness = np.sqrt(match.energies)
  median = float(np.median(brightness))
  count = np.count_nonzero(brightness > _LARGEST_RATIO * median)
  if not count or not median:
    return None
  ratio = float(brightness.max()) / median
  are = "voxel is" if count == 1 else "voxels are up to"
  return (
    f"{count:,} {are} {ratio:.3g} times as bright as the median voxel: leave "
    f"{'it' if count == 1 else 'them'} out of the mask"
  )


def voxel_doubts(match: QuickMatch) -> list[str]:
  """Sentences on voxels that have no signal, or no more than noise."""
  n_voxels = len(match.energies)
  empty = int(np.count_nonzero(match.energies == 0))
  noise = int(np.count_nonzero(match.is_noise)) - empty
  sentences = []
  if empty:
    sentences.append(
      f"{share_of_voxels(empty, n_voxels)} have no signal: leave them out of "
      "the mask"
    )
  if noise > _LEAST_NOISE * n_voxels:
    sentences.append(
      f"{share_of_voxels(noise, n_voxels)} are like noise: the sequence "
      f"explains at most {match.noise_share:.0%} of them"
    )
  return sentences


def order_doubts(
  match: QuickMatch, mask: Bool[np.ndarray, "slice y x"]
) -> list[str]:
  """A sentence if voxels are not in the order of the mask."""
  if np.median(match.explained) < _LEAST_EXPLAINED:
    return []
  is_signal = ~match.is_noise
  along = []
  for values in (match.energies, match.t1_ms):
    logs = np.log(values, out=np.full(len(values), np.nan), where=is_signal)
    if not is_signal.any() or logs[is_signal].std() < _LEAST_CONTRAST:
      return []
    along.append(alike(logs, mask))
  for axis, in_energy in along[0].items():
    in_t1 = along[1][axis]
    if max(in_energy, in_t1) < _LEAST_ALIKE:
      return [
        f"neighbours along {axis} are unlike (their T1 correlate by "
        f"{in_t1:.2f}): are the voxels in the order of the mask?"
      ]
  return []


def slice_findings(
  subject: Subject, match: QuickMatch, *, echoes: Interpolant
) -> tuple[str | None, list[str]]:
  """What is surely wrong with a slice, or None, and what is doubtful."""
  assert subject.signals is not None
  mask, signals = subject.mask, subject.signals
  n_slices = len(mask)
  own = _slices(mask)
  counts = np.bincount(own, minlength=n_slices)
  for k in np.flatnonzero(counts):
    if not match.energies[own == k].any() and match.energies.any():
      return f"slice {k + 1} of {n_slices} has no signal", []
  usable = np.flatnonzero(counts >= _LEAST_VOXELS)
  if len(usable) < 2:
    return None, []
  means = np.array([match.explained[own == k].mean() for k in usable])
  doubts = []
  for k in usable[np.argsort(means)][:_MOST_SLICES]:
    share = means[usable == k][0]
    if share > means.max() - _LESS_EXPLAINED:
      break
    fit = fit_scan(subject.acquisition, signals[own == k], echoes=echoes)
    problem, doubt = fit.problem(), fit.doubts()[1:]
    dark = np.median(match.energies[own == k]) < _DARK**2 * np.median(
      match.energies
    )
    if problem is not None and not dark:
      return f"slice {k + 1} of {n_slices}: {problem}", []
    # What is common to all slices is said of the scan.
    for words in [*([problem] if problem else doubt)][:1]:
      doubts.append(f"slice {k + 1} of {n_slices}: {words}")
  return None, doubts


def slice_phases(
  match: QuickMatch, mask: Bool[np.ndarray, "slice y x"], flag: str
) -> tuple[str | None, list[str]]:
  """The same of the phases of slices, for networks; a flag turns them back."""
  own = _slices(mask)
  n_slices = len(mask)
  usable = np.flatnonzero(np.bincount(own) >= _LEAST_VOXELS)
  turns = np.exp(1j * match.phases_rad)
  means = np.array([turns[own == k].mean() for k in usable])
  known = np.abs(means) > _LEAST_CONCENTRATION
  if np.count_nonzero(known) < 2:
    return None, []
  usable, means = usable[known], means[known]
  # The middle one of the phases; a few that differ do not matter.
  turned = np.angle(means[:, None] / means)
  middle = np.abs(turned).sum(1).argmin()
  degrees = np.rad2deg(np.angle(means / means[middle]))
  worst = int(np.abs(degrees).argmax())
  words = (
    f"the phase of slice {usable[worst] + 1} of {n_slices} is turned by "
    f"{abs(degrees[worst]):.0f}° against the others"
  )
  if abs(degrees[worst]) > _SURE_PHASE_DEG:
    return f"{words}: {flag}", []
  if abs(degrees[worst]) > _DOUBTFUL_PHASE_DEG:
    return None, [f"{words}, which networks were not trained for ({flag})"]
  return None, []


def _slices(mask: Bool[np.ndarray, "slice y x"]) -> np.ndarray:
  """Slice of each voxel of the mask."""
  return np.nonzero(mask)[0]


def _counted(count: int, name: str) -> str:
  """A count and its noun."""
  return f"{count} {name}{'' if count == 1 else 's'}"
