"""What an imported scan looks like, and what cannot be right about it."""

import itertools

import numpy as np
from jaxtyping import Bool, Float32, Float64

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps

# What one of each is in ms.
UNITS_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3}
# Medians over any part of a body at 0.05 to 7 T, and of phantoms, lie here.
_MEDIANS_MS = {"t1_ms": (50.0, 6000.0), "t2_ms": (5.0, 3000.0)}
# Of a voxel's sides.
_SIZES_MM = (0.05, 50.0)
# Share of the volume that a mask may fill.
_SHARES = (0.002, 0.98)
# A mirrored or turned mask that overlaps so much better with the bright voxels
# is the right one.
_TURN_GAIN = 0.1


def check_voxels(affine: Float64[np.ndarray, "4 4"]) -> None:
  """Refuses voxels that no scan has.

  Args:
    affine: voxel index to RAS, mm.

  Raises:
    UserError: a voxel is smaller or larger than any, a factor of 1000 named.
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
  """Refuses relaxation times that no body has, and a PD that is none.

  Args:
    maps: in the masked voxels.
    units: what T1 and T2 were said to be in, for the message.

  Raises:
    UserError: a median is out of all bounds, with the unit that would mend
      it; or T2 is longer than T1 in most voxels.
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
  """How well a mask fits the scan; refuses one that cannot belong to it.

  Args:
    mask: of the user.
    magnitude: mean magnitude of the series.
    bright: the mask that the magnitude itself suggests.

  Returns:
    Its overlap (Dice) with the bright voxels.

  Raises:
    UserError: it fills nearly nothing or everything, its voxels are darker
      than the rest, or it fits much better mirrored or with x and y exchanged.
  """
  share = float(mask.mean())
  if not _SHARES[0] <= share <= _SHARES[1]:
    raise UserError(f"the mask fills {share:.1%} of the volume")
  image = magnitude.transpose(2, 1, 0)
  inside, outside = float(image[mask].mean()), float(image[~mask].mean())
  if inside <= outside:
    raise UserError(
      f"the scan is darker inside the mask ({inside:g}) than outside "
      f"({outside:g}): is it turned, mirrored or inverted?"
    )
  turned = {"as it is": mask}
  if mask.shape[1] == mask.shape[2]:
    turned["if x and y are exchanged"] = mask.transpose(0, 2, 1)
  overlaps = {}
  for words, one in turned.items():
    for n_axes in range(4):
      for axes in itertools.combinations(range(3), n_axes):
        said = words
        if axes:
          along = " and ".join("zyx"[axis] for axis in axes)
          said = f"{words}, mirrored along {along}".removeprefix("as it is, ")
        overlaps[said] = _dice(np.flip(one, axes), bright)
  own = overlaps["as it is"]
  best = max(overlaps, key=lambda words: overlaps[words])
  if overlaps[best] > own + _TURN_GAIN:
    raise UserError(
      f"the mask and the bright voxels overlap by {own:.2f} (Dice), by "
      f"{overlaps[best]:.2f} {best}"
    )
  return own


def _dice(a: np.ndarray, b: np.ndarray) -> float:
  """Twice what two masks share over what they have together."""
  return float(2 * np.count_nonzero(a & b) / (np.sum(a) + np.sum(b)))
