"""Plausibility checks of an imported scan: voxel size, T1 and T2."""

import os
from collections.abc import Collection, Mapping

import numpy as np
from jaxtyping import Float64

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.units import MAP_UNITS, RATES, SECONDS, explaining_units

# Plausible medians: wide enough for any part of a body at 0.05 to 7 T, and for
# phantoms, but not for an error by a factor of 1000.
_MEDIANS_MS = {"t1_ms": (50.0, 6000.0), "t2_ms": (5.0, 3000.0)}
# Plausible ratios of the medians, T2 / T1: 0.025 in muscle at 3 T, 0.08 in
# brain, 1 in fluids. R2 / R1 of brain, 1/s, taken for ms and s, is 0.012.
_RATIOS = (0.02, 1.0)
# T1 and T2 rise and fall together but for noise: their rank correlation is 0.85
# in a brain, and -0.85 if one of the two is a rate. Fat beside muscle brings it
# below 0 as well.
_OPPOSITE = -0.3
# T2 is never longer than T1. A rate taken for T1 makes it so in fluids, 3 % of
# a head; noise alone, in none of the demo's.
_LONGER, _LONGER_SHARE = 1.1, 0.01
# PD of about 1, as other programs scale it too.
_USUAL_PD = (0.1, 3.0)
# Plausible sides of a voxel.
_SIZES_MM = (0.05, 50.0)


def check_voxels(affine: Float64[np.ndarray, "4 4"]) -> None:
  """Checks that voxels have a plausible size, by their affine to RAS, mm.

  Raises:
    UserError: a side is too small or too large; the message names the unit if
      a factor of 1000 explains it.
  """
  sizes = np.linalg.norm(affine[:3, :3], axis=0)
  low, high = _SIZES_MM
  if np.all((sizes >= low) & (sizes <= high)):
    return
  message = f"voxels of {' × '.join(f'{size:.3g}' for size in sizes)} mm"
  for factor, unit in ((1e3, "metres"), (1e-3, "micrometres")):
    if np.all((sizes * factor >= low) & (sizes * factor <= high)):
      message += f": are these {unit}?"
  raise UserError(message)


def check_times(
  maps: Maps,
  units: Mapping[str, str],
  *,
  stated: Collection[str] = (),
  paths: Mapping[str, str | os.PathLike] | None = None,
  with_flags: bool = True,
) -> list[str]:
  """Checks that PD, T1 and T2, which were given in `units`, are plausible.

  Args:
    maps: the maps in ms.
    units: units of `t1_ms` and `t2_ms` in their files, of `MAP_UNITS`.
    stated: those of the two whose unit the user has stated. What is only
      unlikely is then a sentence instead of an error.
    paths: files of the maps, for messages.
    with_flags: whether messages ask for the flags of units.

  Returns:
    Sentences on what is unlikely.

  Raises:
    UserError: the median PD is not positive, a median time is implausible (the
      message names units that would explain it), T2 is longer than T1 in most
      voxels, or one of the two looks like a rate.
  """
  labels = {name: name.removesuffix("_ms") for name in ("pd", *_MEDIANS_MS)}
  for name, path in (paths or {}).items():
    labels[name] = f"{path}: {labels[name]}"
  median_pd = float(np.median(maps.pd))
  if not median_pd > 0:
    raise UserError(
      f"{labels['pd']}: the median in the mask is {median_pd:g}, not above 0"
    )
  for name in _MEDIANS_MS:
    _check_median(labels[name], name, maps, units, with_flags)
  _check_exchange(labels, maps, units, with_flags)
  notes = _rate_notes(labels, maps, units, stated, with_flags)
  if not _USUAL_PD[0] <= median_pd <= _USUAL_PD[1]:
    is_share = 20 <= median_pd <= 150
    notes.append(
      f"{labels['pd']}: the median in the mask is {median_pd:g}"
      + (" (per cent?)" if is_share else "")
      + "; errors of PD are in this unit, and scans that are trained on "
      "together need the same"
    )
  return notes


def _check_median(
  label: str,
  name: str,
  maps: Maps,
  units: Mapping[str, str],
  with_flags: bool,
) -> None:
  """Raises `UserError` if a median is implausible; asks for its unit."""
  span = _MEDIANS_MS[name]
  median = float(np.median(getattr(maps, name)))
  if span[0] <= median <= span[1]:
    return
  others = explaining_units(median, units[name], span)
  message = (
    f"{label}: the median in the mask is {median:g} ms if the unit is "
    f"{units[name]}"
  )
  if others:
    short = name.removesuffix("_ms")
    rate = "R" + short[1:]
    each = (
      f"{other:g} ms if it is {unit}{f' (a map of {rate})' * (unit in RATES)}"
      for unit, other in others.items()
    )
    flags = " or ".join(f"--{short}_unit={unit}" for unit in others)
    if with_flags:
      message += f", but {', '.join(each)}: {flags}?"
    else:
      message += f", which {SECONDS}:" if "s" in others else ", but"
      message += f" {', or '.join(each)}"
  else:
    message += f"; none of {', '.join(MAP_UNITS)} explains it"
  raise UserError(message)


def _check_exchange(
  labels: Mapping[str, str],
  maps: Maps,
  units: Mapping[str, str],
  with_flags: bool,
) -> None:
  """Raises `UserError` if T2 is longer than T1 in most voxels."""
  longer = float(np.mean(maps.t2_ms > maps.t1_ms))
  if longer <= 0.5:
    return
  question = "are they exchanged?"
  # The rates of T2 < T1 are R2 > R1.
  rates = {
    name: explaining_units(
      float(np.median(getattr(maps, name))), units[name], span
    )
    for name, span in _MEDIANS_MS.items()
  }
  both = [
    unit for unit in RATES if all(unit in found for found in rates.values())
  ]
  if both:
    flags = f": --t1_unit={both[0]} --t2_unit={both[0]}" * with_flags
    question += f" Or are both rates, R1 and R2{flags}?"
  raise UserError(
    f"{labels['t2_ms']} is longer than t1 in {longer:.0%} of the mask: "
    f"{question}"
  )


def _rate_notes(
  labels: Mapping[str, str],
  maps: Maps,
  units: Mapping[str, str],
  stated: Collection[str],
  with_flags: bool,
) -> list[str]:
  """Sentences on maps that may be rates; raises `UserError` if they must be.

  R1 of tissue, 0.3 to 2 1/s, is a plausible T1 in s, and R2, 10 to 30 1/s, a
  plausible T2 in ms: only both maps together tell.
  """
  t1, t2 = (np.asarray(v, np.float64) for v in (maps.t1_ms, maps.t2_ms))
  ratio = float(np.median(t2) / np.median(t1))
  longer = float(np.mean(t2 > _LONGER * t1))
  correlation = _rank_correlation(t1, t2)
  is_opposite = correlation < _OPPOSITE
  rates = {
    name: explaining_units(float(np.median(v)), units[name], span)
    for (name, span), v in zip(_MEDIANS_MS.items(), (t1, t2), strict=True)
  }
  suspects = [name for name in rates if {*rates[name]} & {*RATES}]
  if (ratio >= _RATIOS[0] and not is_opposite) or not suspects:
    return []
  seen = []
  if ratio < _RATIOS[0]:
    seen.append(f"the median T2 is only {ratio:.2g} of T1")
  if is_opposite:
    seen.append(f"t1 falls where t2 rises (rank correlation {correlation:.2f})")
  if longer > _LONGER_SHARE:
    seen.append(f"t2 is longer than t1 in {longer:.0%} of the mask")
  flags = [
    f"--{name.removesuffix('_ms')}_unit={unit}"
    for name in suspects
    for unit in rates[name]
    if unit in RATES
  ]
  with_pd = _rank_correlation(t1, np.asarray(maps.pd, np.float64))
  if with_pd < _OPPOSITE:
    seen.append(f"t1 falls where pd rises ({with_pd:.2f})")
  asked = f" ({', '.join(flags)})" * with_flags
  sentence = (
    f"{labels['t1_ms']} in {units['t1_ms']}, t2 in {units['t2_ms']}: "
    f"{', '.join(seen)}; are one or both maps of rates, R1 or R2"
    f"{asked}?"
  )
  # Fat beside muscle has opposite contrasts too, and iron alone a short T2.
  is_short = ratio < _RATIOS[0]
  is_certain = (is_opposite and (is_short or longer > _LONGER_SHARE)) or (
    is_short and with_pd < _OPPOSITE
  )
  is_likely = is_short and {*_MEDIANS_MS} > {*stated}
  if is_certain or is_likely:
    units_meant = " ".join(
      f"--{name.removesuffix('_ms')}_unit={units[name]}" for name in units
    )
    raise UserError(
      sentence
      if is_certain or not with_flags
      else f"{sentence} If not: {units_meant}"
    )
  return [sentence]


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
  """Spearman's rank correlation; 0 where one of the two is constant."""
  from scipy import stats

  if np.ptp(a) == 0 or np.ptp(b) == 0:
    return 0.0
  return float(stats.spearmanr(a, b).statistic)
