"""Units of times, rates, angles and phases, and guards against another one.

Every way in uses them: schedules, flags, comments in files, reference maps, and
the fits that are called from Python. A guard knows what no scanner can play and
no tissue can have. Where two units are possible it asks, and names both.
"""

from collections.abc import Mapping

import numpy as np

from mrf_jax.errors import UserError

# Times in ms, by their unit.
TIMES_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3}
# A time in ms is this, divided by its rate in the unit.
RATES = {"1/s": 1e3, "1/ms": 1.0}
# Units of maps that hold times, or rates R1 = 1/T1 and R2 = 1/T2.
MAP_UNITS = (*TIMES_MS, *RATES)
ANGLES_DEG = {"deg": 1.0, "rad": 180 / np.pi}
# Some sequences count the phase of a pulse in turns, or in units of π.
PHASES_DEG = {**ANGLES_DEG, "cycles": 360.0, "half_turns": 180.0}

# What is wrong with times of a pulse sequence.
SECONDS = "looks like seconds"
TOO_LONG = "a thousand times too long?"

# Least and greatest times of a pulse sequence, ms. No sequence repeats within
# half a millisecond, or waits a second from one frame to the next, hundreds of
# times; no readout begins 20 µs after the middle of its pulse; an adiabatic
# inversion alone takes more than 1 ms, and after 5 s T1 is forgotten; the
# pulses of a T2 preparation take 2 ms, and beyond 1 s nothing is left.
_SEQUENCE_MS = {
  "tr_ms": (0.5, 1000.0),
  "te_ms": (0.02, 500.0),
  "inversion_time_ms": (1.0, 5000.0),
  "saturation_time_ms": (0.1, 5000.0),
  "t2_preparation_ms": (2.0, 1000.0),
}
# An inversion time below this is as likely one in seconds, ms.
_SHORT_INVERSION_MS = 4.0
# Flip angles are radians if none is above π, which may have been rounded up.
_LARGEST_RADIAN = 1.001 * np.pi
# No pulse of a train turns by more; an inversion turns by this.
_LARGEST_FLIP_DEG = 180.0
# Radians that are larger than a whole turn were degrees.
_TURN_DEG = 1.01 * 360.0
# Share of a unit by which an angle may miss a whole one, by its last digits.
_WHOLE = 1e-3
# Flip angles of spoiled gradient echoes go up to tens of degrees; none of them
# above this, which is 46° in radians, are no degrees.
_LARGEST_SMALL_FLIP = 0.8
# Repetition times of spoiled gradient echoes, and the longest echo time of a
# series, ms: slow 2D series reach 2 s, and T2 of body fluids 2 to 3 s.
_SPGR_TR_MS = (0.5, 2500.0)
_LAST_ECHO_MS = (0.5, 10_000.0)
# Medians of factors on the flip angles: no coil is that far from its nominal
# angle. 100 is per cent, 10 and more may be µT.
_B1_MEDIANS = (0.2, 5.0)


# Fields of scanners for MR, from earth's field experiments to the largest, T.
_FIELDS_T = (0.005, 25.0)
# Resonance frequency of protons.
PROTON_MHZ_PER_T = 42.577
# Units of maps of the offset of the main field.
B0_UNITS = ("Hz", "rad/s", "ppm")


def check_field_strength(what: str, field_t: float) -> None:
  """Raises `UserError` if a field strength, T, is that of no scanner."""
  if _FIELDS_T[0] <= field_t <= _FIELDS_T[1]:
    return
  units = {"MHz": field_t / PROTON_MHZ_PER_T, "mT": 1e-3 * field_t}
  units["gauss"] = 1e-4 * field_t
  guesses = (
    f"{t:.3g} T if it was in {unit}"
    for unit, t in units.items()
    if _FIELDS_T[0] <= t <= _FIELDS_T[1]
  )
  raise UserError(
    f"{what} is {field_t:g} T, not between {_FIELDS_T[0]:g} and "
    f"{_FIELDS_T[1]:g} T; {', '.join(guesses) or 'teslas are needed'}"
  )


def hz_per_unit(unit: str, field_t: float) -> float:
  """Frequency, Hz, of an offset of one in a unit of `B0_UNITS`.

  Args:
    unit: of the offset.
    field_t: main magnetic field, tesla.
  """
  factors = {
    "Hz": 1.0,
    "rad/s": 1 / (2 * np.pi),
    "ppm": PROTON_MHZ_PER_T * field_t,
  }
  return factors[unit]


def to_ms(values, unit: str):
  """Times in ms, from times or rates in a unit of `MAP_UNITS`.

  The rate 0 becomes an infinite time.
  """
  values = np.asarray(values)
  factor = values.dtype.type if values.dtype.kind == "f" else float
  if unit in TIMES_MS:
    return values * factor(TIMES_MS[unit])
  with np.errstate(divide="ignore"):
    return factor(RATES[unit]) / values


def sequence_time_problem(name: str, time_ms: float) -> str | None:
  """What is wrong with a time of a pulse sequence, in words, or None.

  Args:
    name: `tr_ms`, `te_ms`, or a preparation of `Sequence`.
    time_ms: the time, or the median of many, ms; 0 is left to other checks.
  """
  least, greatest = _SEQUENCE_MS[name]
  if 0 < time_ms < least:
    return SECONDS
  if time_ms > greatest:
    return TOO_LONG
  return None


def check_sequence_time(where: str, name: str, time_ms: float) -> None:
  """Raises `UserError` if one time of a pulse sequence has another unit.

  Args:
    where: what has the value, such as a flag, for the message.
    name: see `sequence_time_problem`.
    time_ms: the time, ms.
  """
  if time_ms > 0:
    _check_scale(where, time_ms, _SEQUENCE_MS[name])


def short_inversion(time_ms: float | None) -> str | None:
  """A sentence on an inversion time that may mean another one, or None."""
  if time_ms == 0:
    return (
      "the inversion time is 0 ms: an inversion right before the first pulse; "
      "if none is played, remove the 0 and give --inversion_time_ms=none"
    )
  if time_ms is None or not 0 < time_ms < _SHORT_INVERSION_MS:
    return None
  return (
    f"the inversion time is {time_ms:g} ms, which is short; if it was meant in "
    f"seconds, it is {1e3 * time_ms:g} ms"
  )


def look_like_radians(flips: np.ndarray) -> bool:
  """Whether flip angles, [frame], are too small for degrees."""
  return bool(0 < np.max(np.abs(flips)) <= _LARGEST_RADIAN)


def flip_problem(flips_deg: np.ndarray, unit: str | None) -> str | None:
  """What is wrong with large flip angles, in words, or None.

  Args:
    flips_deg: flip angles, [frame], degrees.
    unit: the unit that the user stated; None if degrees are assumed.
  """
  largest = float(np.max(np.abs(flips_deg)))
  if unit == "rad" and largest > _TURN_DEG:
    return f"{largest:g}° if the unit is rad: are these degrees?"
  if unit is None and largest > _LARGEST_FLIP_DEG:
    if is_counter(flips_deg):
      return f"{largest:g}°; they count 1, 2, 3 …: the numbers of the frames?"
    return (
      f"{largest:g}°, more than {_LARGEST_FLIP_DEG:g}°: another column, or "
      "another unit?"
    )
  return None


def is_counter(values: np.ndarray) -> bool:
  """Whether a column, [frame], counts its frames from 0 or 1."""
  steps = np.arange(len(values))
  return len(values) > 1 and bool(
    values[0] in (0, 1) and np.array_equal(values - values[0], steps)
  )


def phase_units(phases: np.ndarray) -> tuple[str, ...]:
  """Units that phases without a unit may have, of `PHASES_DEG`.

  Phases in degrees are mostly whole, or go round the circle. Those that stay
  within ±2π are asked about, and those that are whole degrees only when they
  are turned from radians to degrees. The unit of one phase for all pulses does
  not matter.

  Args:
    phases: phases of the pulses as they stand, [frame].

  Returns:
    `("deg",)` if nothing is doubtful.
  """
  largest = float(np.max(np.abs(phases)))
  # 0 and 1 may count half turns.
  is_whole = _are_whole(phases) and largest > 1
  if np.ptp(phases) == 0 or is_whole:
    return ("deg",)
  units = ["deg"]
  if are_within_radians(phases) or _are_whole(np.rad2deg(phases)):
    units.append("rad")
  if largest <= 1:
    units.append("cycles")
  if largest <= 2:
    units.append("half_turns")
  return tuple(units)


def are_within_radians(phases: np.ndarray) -> bool:
  """Whether phases in radians, [frame], stay within a turn each way."""
  return bool(np.max(np.abs(phases)) <= 2 * _LARGEST_RADIAN)


def _are_whole(values: np.ndarray) -> bool:
  """Whether all values are whole numbers, but for their last digits."""
  return bool(np.all(np.abs(values - np.round(values)) <= _WHOLE))


def check_echo_times(where: str, te_ms: np.ndarray) -> None:
  """Raises `UserError` if the echo times of a T2 fit have another unit.

  Args:
    where: function or file, for the message.
    te_ms: echo times, [echo], ms.
  """
  _check_scale(f"{where}: the longest of te_ms", np.max(te_ms), _LAST_ECHO_MS)


def check_spgr(where: str, flips_deg: np.ndarray, tr_ms: float) -> None:
  """Raises `UserError` if spoiled gradient echoes are in other units.

  Args:
    where: function or file, for the message.
    flips_deg: flip angles, [flip], degrees.
    tr_ms: repetition time, ms.
  """
  _check_scale(f"{where}: tr_ms", tr_ms, _SPGR_TR_MS)
  largest = float(np.max(flips_deg))
  if largest < _LARGEST_SMALL_FLIP:
    raise UserError(
      f"{where}: the largest of flip_angles_deg is {largest:g}, which looks "
      f"like radians ({np.rad2deg(largest):g}°); degrees are needed"
    )


def _check_scale(what: str, value_ms: float, span: tuple[float, float]) -> None:
  """Raises `UserError` for a time outside a span, ms, and guesses its unit."""
  if span[0] <= value_ms <= span[1]:
    return
  factor, unit = (1e3, "seconds") if value_ms < span[0] else (1e-3, "µs")
  raise UserError(
    f"{what} is {value_ms:g} ms, which looks like {unit} "
    f"({value_ms * factor:g} ms); ms are needed"
  )


def check_b1(what: str, b1: np.ndarray) -> None:
  """Raises `UserError` if factors on flip angles, [voxel], are none."""
  median = float(np.median(b1)) if np.size(b1) else 1.0
  if not _B1_MEDIANS[0] <= median <= _B1_MEDIANS[1]:
    raise UserError(
      f"{what} is {median:g}; a factor on the flip angle is needed (about 1), "
      "not per cent or µT"
    )


def explaining_units(
  median_ms: float, unit: str, span_ms: tuple[float, float]
) -> Mapping[str, float]:
  """Other units that bring the median of a map into a span, and what it is.

  Args:
    median_ms: the median if the map is in `unit`, ms.
    unit: one of `MAP_UNITS`.
    span_ms: plausible medians.

  Returns:
    The median in ms by the unit, times before rates.
  """
  stored = (
    median_ms / TIMES_MS[unit] if unit in TIMES_MS else RATES[unit] / median_ms
  )
  others = {
    other: float(to_ms(stored, other)) for other in MAP_UNITS if other != unit
  }
  return {
    other: median
    for other, median in others.items()
    if span_ms[0] <= median <= span_ms[1]
  }
