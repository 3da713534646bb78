"""Plausibility checks of an imported scan: voxel size, T1 and T2, mask."""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Float64

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps

# Units of time, in ms.
UNITS_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3}
# Plausible medians: wide enough for any part of a body at 0.05 to 7 T, and for
# phantoms, but not for an error by a factor of 1000.
_MEDIANS_MS = {"t1_ms": (50.0, 6000.0), "t2_ms": (5.0, 3000.0)}
# Plausible sides of a voxel.
_SIZES_MM = (0.05, 50.0)
# Plausible share of the volume in a mask.
_SHARES = (0.002, 0.98)
# A mask is wrong if, mirrored or transposed, its overlap with the bright voxels
# grows by more than this.
_OVERLAP_GAIN = 0.1


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


def check_times(maps: Maps, units: dict[str, str]) -> None:
  """Checks that PD, T1 and T2, which were given in `units`, are plausible.

  Raises:
    UserError: the median PD is not positive, a median time is implausible (the
      message names a unit that would explain it), or T2 is longer than T1 in
      most voxels.
  """
  median_pd = float(np.median(maps.pd))
  if not median_pd > 0:
    raise UserError(f"pd: the median in the mask is {median_pd:g}, not above 0")
  for name, (low, high) in _MEDIANS_MS.items():
    median = float(np.median(getattr(maps, name)))
    if low <= median <= high:
      continue
    short = name.removesuffix("_ms")
    message = (
      f"{short}: the median in the mask is {median:g} ms if the unit is "
      f"{units[name]}"
    )
    for unit, in_ms in UNITS_MS.items():
      other = median * in_ms / UNITS_MS[units[name]]
      if low <= other <= high:
        message += f", but {other:g} ms if it is {unit}: --{short}_unit={unit}?"
        break
    raise UserError(message)
  longer = float(np.mean(maps.t2_ms > maps.t1_ms))
  if longer > 0.5:
    raise UserError(
      f"t2 is longer than t1 in {longer:.0%} of the mask: are they exchanged?"
    )


def check_mask(
  mask: Bool[np.ndarray, "slice y x"],
  magnitude: Float32[np.ndarray, "x y slice"],
  bright: Bool[np.ndarray, "slice y x"],
) -> float:
  """Checks that a mask fits a scan; returns its Dice overlap with `bright`.

  Raises:
    UserError: the mask fills nearly nothing or everything, its voxels are
      darker than the rest, or it fits much better when it is mirrored or its x
      and y are exchanged.
  """
  share = float(mask.mean())
  if not _SHARES[0] <= share <= _SHARES[1]:
    raise UserError(f"the mask fills {share:.1%} of the volume")
  image = magnitude.transpose(2, 1, 0)  # [slice, y, x]
  inside, outside = float(image[mask].mean()), float(image[~mask].mean())
  if inside <= outside:
    raise UserError(
      f"the scan is darker inside the mask ({inside:g}) than outside "
      f"({outside:g}): is it turned, mirrored or inverted?"
    )
  overlap = _dice(mask, bright)
  overlaps = {
    change: _dice(changed, bright) for change, changed in _mirrored(mask)
  }
  best = max(overlaps, key=lambda change: overlaps[change])
  if overlaps[best] > overlap + _OVERLAP_GAIN:
    raise UserError(
      f"the mask and the bright voxels overlap by {overlap:.2f} (Dice), by "
      f"{overlaps[best]:.2f} {best}"
    )
  return overlap


def _mirrored(mask: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
  """A mask mirrored along any axes, also with x and y exchanged, in words."""
  exchanged = [False, True] if mask.shape[1] == mask.shape[2] else [False]
  for exchange, n_axes in itertools.product(exchanged, range(4)):
    for axes in itertools.combinations(range(3), n_axes):
      changes = ["if x and y are exchanged"] if exchange else []
      if axes:
        along = " and ".join("zyx"[axis] for axis in axes)
        changes.append(f"mirrored along {along}")
      changed = mask.transpose(0, 2, 1) if exchange else mask
      yield ", ".join(changes), np.flip(changed, axes)


def _dice(a: np.ndarray, b: np.ndarray) -> float:
  """Dice overlap of two masks, 2 |A ∩ B| / (|A| + |B|)."""
  return float(2 * np.count_nonzero(a & b) / (np.sum(a) + np.sum(b)))
