"""Images that are phases: how they are told from imaginary parts, their unit.

A scanner exports magnitude and phase more often than real and imaginary parts,
and its phases have any unit: ±π, 0…2π, ±180, ±4096, 0…4095, mrad. What they
have in common is a full turn that noise and the sign of the signal fill from
end to end, and that they do not grow with the magnitude.
"""

import math

import numpy as np
from jaxtyping import Float

from mrf_jax.errors import UserError

# Share of the outer twentieth of the values' range at each end. Phases of noise
# have 0.05; the imaginary parts of signals and of noise have tails, with less
# than 0.013 in simulated scans of any phase.
_EDGE = 0.05
_FILLED = 0.02
# Ends of the range of an angle: the lower is 0, or both are equal but for the
# sign, to this share of the range.
_END = 0.05
# Imaginary parts of voxels are taken for a multiple of the real parts if that
# leaves less than this part of what a constant leaves; for a constant, in the
# opposite case, if it leaves less than the second number of what a multiple
# does, and that is not next to nothing. Phases that drift leave 0.6.
_PROPORTIONAL = 0.5
_CONSTANT = 0.25
_MORE_THAN_NOISE = 0.05
# Fingerprints of a phase that changes only with their sign: the share of their
# energy that is then in one direction, and what a multiple leaves at least.
_ONE_DIRECTION = 0.9
_NO_MULTIPLE = 0.3
# Values of a full turn that no part of another turn is taken for: radians,
# degrees, mrad, numbers of 12, 13 and 16 bits. A range of ±1 may be a turn, or
# what a mask has left of a turn in radians.
_TURNS = (2 * math.pi, 360.0, 2000 * math.pi, 4096.0, 8192.0, 65536.0)
# Phases fill a full turn if each twentieth of it has this share of them: then
# their range is the turn, to the second share. Without that, it is taken for a
# sign of phases only if it is a turn to the third share.
_PRESENT = 1e-3
_NEAR_TURN = 0.02
_NEARER_TURN = 0.005

# Real and imaginary parts lie about the same number if their medians differ by
# this share of it, and most values by no more than the second share.
_SAME_OFFSET = 0.02
_ABOUT = 0.2
_MOST = 0.5

Signals = Float[np.ndarray, "voxel image"]


def looks_like_phase(magnitude: Signals, values: Signals) -> bool:
  """Whether values are the phases of images rather than imaginary parts.

  Args:
    magnitude: real parts of some voxels, none below 0.
    values: imaginary parts of these voxels, or phases in any unit.
  """
  values = values.astype(np.float64)
  live = np.any((magnitude != 0) | (values != 0), 1)
  magnitude, values = magnitude[live].astype(np.float64), values[live]
  energy = float(np.sum(values**2))
  present = values[(magnitude != 0) | (values != 0)]
  if not energy or not magnitude.any() or np.ptp(present) == 0:
    return False
  # What is left of each voxel's values if they are a multiple of its real
  # parts, and if they are constant.
  norms = np.maximum(np.sum(magnitude**2, 1), np.finfo(float).tiny)
  multiple = np.sum(magnitude * values, 1) / norms
  of_multiple = np.sum((values - multiple[:, None] * magnitude) ** 2) / energy
  of_constant = np.sum((values - values.mean(1, keepdims=True)) ** 2) / energy
  if of_multiple < _PROPORTIONAL * of_constant:
    return False
  if of_constant < _CONSTANT * of_multiple and of_multiple > _MORE_THAN_NOISE:
    return True
  low, high = float(present.min()), float(present.max())
  span = high - low
  is_angle = min(abs(low), abs(low + high)) <= _END * span
  if is_angle and _is_filled(present):
    return True
  if is_angle and of_multiple > _NO_MULTIPLE and _turn(present, _NEARER_TURN):
    return True
  # With a full turn that is the range, the fingerprints are real but for one
  # phase each.
  turned = magnitude * np.exp(2j * np.pi / span * values)
  in_one = np.abs(np.sum(turned**2, 1)).sum() / np.sum(magnitude**2)
  return bool(in_one > _ONE_DIRECTION and of_multiple > _NO_MULTIPLE)


def full_turn(
  path: str,
  values: Float[np.ndarray, "sample"],
  *,
  given: float | None = None,
) -> float:
  """Value of a full turn in images of phases, from their range.

  Args:
    path: file of the phases, for messages.
    values: finite phases of many voxels and images, with the smallest and the
      largest of all.
    given: the value that the user says.

  Raises:
    UserError: the range does not tell it, or tells another one.
  """
  low, high = values.min(), values.max()
  present = values[values != 0]  # 0 is also what a mask leaves
  turn = _turn(present, _NEAR_TURN)
  if turn is not None:
    counts, _ = np.histogram(present, bins=round(1 / _EDGE))
    is_filled = counts.min() >= _PRESENT * counts.sum()
    turn = turn if is_filled else None
  if given is not None:
    if turn is not None and abs(turn - given) > _NEAR_TURN * turn:
      raise UserError(
        f"{path}: phases fill the range from {low:.4g} to {high:.4g}, a full "
        f"turn of {turn:.6g}; --phase_turn says {given:g}"
      )
    return given
  if turn is not None:
    return turn
  fills = f", {high - low:.6g} if they fill it" if high > low else ""
  raise UserError(
    f"{path}: phases from {low:.4g} to {high:.4g} do not tell what a full turn "
    f"is; --phase_turn says it (6.2832 in radians, 360 in degrees{fills})"
  )


def _turn(values: np.ndarray, near: float) -> float | None:
  """The full turn that the range of values is, to a share of it, if any."""
  span = float(np.ptp(values)) if len(values) else 0.0
  if not span:
    return None
  turn = min(_TURNS, key=lambda turn: abs(math.log(span / turn)))
  return turn if abs(span - turn) <= near * turn else None


def _is_filled(values: np.ndarray) -> bool:
  """Whether the range of values is filled to both of its ends."""
  low, high = values.min(), values.max()
  margin = _EDGE * (high - low)
  shares = np.mean(values <= low + margin), np.mean(values >= high - margin)
  return bool(min(shares) >= _FILLED)


def common_offset(real: Signals, imaginary: Signals) -> float | None:
  """Number that both parts lie about instead of 0, if there is one.

  Scanners export real and imaginary parts as unsigned numbers, 2048 for 0, and
  the header's rescaling may be lost.

  Args:
    real: real parts of some voxels, none below 0.
    imaginary: their imaginary parts, none below 0.
  """
  offsets = float(np.median(real)), float(np.median(imaginary))
  middle = sum(offsets) / 2
  if middle <= 0 or abs(offsets[0] - offsets[1]) > _SAME_OFFSET * middle:
    return None
  near = [
    np.mean(np.abs(part - middle) < _ABOUT * middle)
    for part in (real, imaginary)
  ]
  return middle if min(near) > _MOST else None
