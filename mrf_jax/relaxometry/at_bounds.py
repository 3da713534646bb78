"""Fits that end at the bounds of T1 or T2 in most voxels, and what explains it.

Some voxels do: fluids whose echoes hardly decay, and noise. If most of the
signal does, the times or angles are in another unit, or in another order than
the series.
"""

from collections.abc import Callable, Mapping

import numpy as np

from mrf_jax.errors import UserError

# Times this close to a bound, relative to it, are at it.
_CLOSE = 1e-4
# Share of the signal at a bound that is an error, and the largest one under
# another unit that explains it.
_MOST, _FEW = 0.5, 0.2
# Fewer voxels than these show nothing but themselves: who fits voxel by voxel
# meets noise and fluids too.
_FEWEST_VOXELS = 4
# Energies above this quantile count as much as it does, since a few bright
# voxels are not the object. Half of the energy is then in voxels above a
# certain one: those above half of it count alike, background noise counts less.
_BRIGHTEST = 0.995
# The fit as given, with the usual bounds, explains signals better than another
# one that leaves more than this share of their energy in addition.
_WORSE = 1e-6
# Voxels on which other units are tried.
_N_TRIED = 512

# Signals [voxel, sample] and their voxels' numbers to times, [voxel], ms, and
# fitted signals, [voxel, sample].
Fit = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def check_not_at_bounds(
  where: str,
  name: str,
  signals: np.ndarray,
  times_ms: np.ndarray,
  *,
  bounds_ms: np.ndarray,
  usual_ms: tuple[float, float],
  as_given: Fit,
  others: Mapping[str, Fit],
) -> None:
  """Raises `UserError` if the fit is at a bound in most of the signal.

  Bounds that are narrower than the usual ones are meant: then only what another
  unit explains is an error.

  Args:
    where: function or file, for the message.
    name: `T1` or `T2`.
    signals: magnitudes, [voxel, sample].
    times_ms: the fitted times, [voxel], ms.
    bounds_ms: least and greatest time, ms.
    usual_ms: the default of the bounds.
    as_given: the fit with the usual bounds.
    others: fits under other units, by what they assume in words; the one that
      explains the signals best is named, if `as_given` does not.
  """
  # Without a copy of the signals.
  energies = np.einsum("ij,ij->i", signals, signals, dtype=np.float64)
  bright = np.flatnonzero(energies)
  if len(bright) < _FEWEST_VOXELS:
    return
  weights = np.minimum(energies, np.quantile(energies[bright], _BRIGHTEST))
  weights = np.minimum(weights, _weighted_median(weights) / 2)
  low, high = _at_bounds(times_ms, weights, bounds_ms)
  if low + high <= _MOST:
    return
  bound = bounds_ms[0] if low > high else bounds_ms[1]
  message = (
    f"{where}: {name} is at its bound of {bound:g} ms in "
    f"{max(low, high):.0%} of the signal"
  )
  step = max(1, len(bright) // _N_TRIED)
  tried = bright[::step]
  own = np.inf
  explaining = []
  for words, fit in {"": as_given, **others}.items():
    # Under a wrong one, S0 may be beyond float32, and S0 times a decay NaN.
    some = signals[tried].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
      found, fitted = fit(some, tried)
      errors = np.sum((fitted - some) ** 2, 1) / energies[tried]
    error = float(np.median(np.nan_to_num(errors, nan=np.inf)))
    if sum(_at_bounds(found, weights[tried], np.asarray(usual_ms))) < _FEW:
      if not words:
        own = error
      elif error <= own + _WORSE:
        explaining.append((error, words, float(np.median(found))))
  if explaining:
    _, words, median = min(explaining)
    raise UserError(f"{message}, but {median:g} ms (median) if {words}")
  if bounds_ms[0] <= usual_ms[0] and bounds_ms[1] >= usual_ms[1]:
    raise UserError(
      f"{message}: its units, its order, or noise? (bounds_ms is "
      f"{bounds_ms[0]:g} to {bounds_ms[1]:g})"
    )


def _weighted_median(weights: np.ndarray) -> float:
  """The weight above and below which are halves of the sum of the weights."""
  ordered = np.sort(weights)
  half = np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)
  return float(ordered[min(half, len(ordered) - 1)])


def _at_bounds(
  times_ms: np.ndarray, weights: np.ndarray, bounds_ms: np.ndarray
) -> tuple[float, float]:
  """Shares of the weights whose times are at the lower and the upper bound."""
  total = weights.sum()
  low = weights[times_ms <= bounds_ms[0] * (1 + _CLOSE)].sum() / total
  high = weights[times_ms >= bounds_ms[1] * (1 - _CLOSE)].sum() / total
  return float(low), float(high)
