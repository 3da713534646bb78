"""What the values of a mask mean: binary, labels, or shares of a voxel.

Programs write masks as 0 and 1, as labels of tissues, and as probabilities (of
1, per cent, or 8 bits). Which of them it is shows in the values alone: NIfTI
has no field for it that programs fill.
"""

import dataclasses
import os

import numpy as np
from jaxtyping import Float32

from mrf_jax.errors import UserError

# Values of a full voxel: a probability, per cent, numbers of 8, 12 and 16 bits.
_FULL = (1.0, 100.0, 255.0, 1000.0, 4095.0, 65535.0)
_WORDS = {1.0: "probabilities", 100.0: "per cent"}
# Cubic interpolation of a mask overshoots by at most a quarter on each side.
_OVERSHOOT = 0.25
# Labels and ones that were stored as scaled 16-bit integers are off by this.
_ROUNDED = 1e-3
# A list of labels may have this many; with more, it may be a soft mask.
_FEW = 20
# The inside of a soft mask is full: at least this share of the voxels that are
# not 0 is nearly full. In an atlas of a hundred labels it is 5 %.
_NEARLY_FULL = 0.95
_FULL_SHARE = 0.1
# A blurred one may have fewer. It falls to 0 smoothly, so that voxels next to
# 0 have less than this share; and of the voxels with more than that, this share
# is more than half full. An image of a brain without its skull has an edge, and
# one of a head is mostly darker than half its maximum.
_LOW = 0.1
_ABOVE_HALF = 0.4
# In a label map most neighbours are equal; in an image hardly any.
_EQUAL_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Meaning:
  """What counts as inside.

  Attributes:
    least: the smallest value inside.
    is_soft: values between 0 and a full voxel are shares, which can be
      interpolated.
    words: what the values are taken for; empty for 0 and 1.
  """

  least: float
  is_soft: bool = False
  words: str = ""


def meaning_of(
  path: str | os.PathLike, values: Float32[np.ndarray, "x y slice"]
) -> Meaning:
  """Finds what the values of a mask mean; `path` is for messages.

  Raises:
    UserError: the values are not finite, those of no mask, or could be both
      labels and shares.
  """
  if not np.isfinite(values).all():
    raise UserError(
      f"{path}: the mask has values that are NaN or infinite; 0 is outside"
    )
  found = np.unique(values)
  whole = np.unique(np.round(found))
  is_whole = bool(np.all(np.abs(found - np.round(found)) <= _ROUNDED))
  if is_whole:
    found = whole
  low, high = float(found[0]), float(found[-1])
  if low < 0 and (is_whole or low < -_OVERSHOOT * high):
    raise UserError(
      f"{path}: values from {low:g} to {high:g}; a mask needs 0 outside and 1 "
      "inside"
    )
  inside = found[found > 0]
  if not len(inside):
    raise UserError(f"{path}: the mask has no voxels, all values are 0")
  if len(inside) == 1 and low >= 0:
    words = "" if high == 1 else f"values 0 and {high:g}: {high:g} is inside"
    return Meaning(high / 2, words=words)
  if is_whole:
    return _of_whole_numbers(path, values, inside)
  full = _full(high / (1 + _OVERSHOOT))
  if full is None or (full != 1 and not _is_share(values, full)):
    raise _no_mask(path, found)
  return _soft(path, values, full)


def _of_whole_numbers(path, values: np.ndarray, inside: np.ndarray) -> Meaning:
  """Meaning of several whole numbers: labels or shares."""
  high = float(inside[-1])
  labels = Meaning(
    float(inside[0]) / 2,
    words=f"{len(inside)} labels from {inside[0]:g} to {high:g}: every voxel "
    "that is not 0 is inside",
  )
  if len(inside) <= _FEW:
    # 0, 50, 100 may be tissues or shares; 0, 251, 255 is the same mask either
    # way.
    if high in (100.0, 255.0) and inside[0] < high / 2:
      numbers = ", ".join(f"{value:g}" for value in inside)
      raise UserError(
        f"{path}: values 0, {numbers}: labels, or shares of {high:g}? A mask "
        "of 0 and 1 is needed"
      )
    return labels
  full = _full(high)
  if full is not None and _is_share(values, full):
    return _soft(path, values, full)
  if _equal_neighbours(values) >= _EQUAL_SHARE:
    return labels
  raise _no_mask(path, inside)


def _full(high: float) -> float | None:
  """Value of a full voxel if the largest value is `high`."""
  return next((full for full in _FULL if high <= full), None)


def _soft(path, values: np.ndarray, full: float) -> Meaning:
  n_inside = np.count_nonzero(values >= full / 2)
  if not n_inside:
    raise UserError(
      f"{path}: values up to {values.max():.4g} are taken for shares of "
      f"{full:g}, of which {full / 2:g} or more is inside: none is"
    )
  n_above = np.count_nonzero(values > 0)
  kind = _WORDS.get(full, f"shares of {full:g}")
  return Meaning(
    full / 2,
    is_soft=True,
    words=f"values up to {values.max():.4g} are taken for {kind}: {full / 2:g} "
    f"or more is inside, {n_inside:,} of the {n_above:,} voxels above 0",
  )


def _is_share(values: np.ndarray, full: float) -> bool:
  """Whether values are shares of a full voxel, not labels or an image."""
  n_full = np.count_nonzero(values >= _NEARLY_FULL * full)
  if not n_full:
    return False
  if n_full >= _FULL_SHARE * np.count_nonzero(values > 0):
    return True
  outside = values <= 0
  next_to_0 = np.zeros(values.shape, bool)
  for axis in (0, 1):
    ahead = np.moveaxis(outside, axis, 0)
    found = np.moveaxis(next_to_0, axis, 0)  # a view
    found[1:] |= ahead[:-1]
    found[:-1] |= ahead[1:]
  edge = values[next_to_0 & ~outside]
  n_above = np.count_nonzero(values > _LOW * full)
  return bool(
    len(edge)
    and np.median(edge) < _LOW * full
    and np.count_nonzero(values >= full / 2) >= _ABOVE_HALF * n_above
  )


def _equal_neighbours(values: np.ndarray) -> float:
  """Share of neighbours along x, neither of them 0, that are equal."""
  one, next_one = values[:-1], values[1:]
  both = (one != 0) & (next_one != 0)
  n_equal = int(np.count_nonzero(both & (one == next_one)))
  return n_equal / max(int(np.count_nonzero(both)), 1)


def _no_mask(path, found: np.ndarray) -> UserError:
  return UserError(
    f"{path}: {len(found):,} different values up to {found[-1]:.4g} are those "
    "of an image; a mask of 0 and 1, probabilities, per cent, or labels is "
    "needed"
  )
