"""Are reference maps those of the scan: T1 beside that of a quick match."""

import numpy as np
from jaxtyping import Bool, Float

from mrf_jax.errors import UserError
from mrf_jax.fit.maps import QuickMatch
from mrf_jax.fit.orders import alike, correlation, mirrored
from mrf_jax.maps import Maps

# Correlation of log T1 of the maps and of the match. Six heads of the demo have
# 0.88 to 0.90 with their own maps, 0.31 to 0.58 with those of another one, and
# at most 0.61 with their own, mirrored.
_LEAST = 0.3
_DOUBTFUL = 0.7
# By how much another order of the voxels must correlate better.
_GAIN = 0.1
# Correlation of matched T1 with that of neighbours below which noise hides what
# the maps should be like, and below which it may lower their correlation. Heads
# of the demo have 0.65 to 0.78; those of the smoke test 0.3 to 0.4, and 0.1 and
# less with noise, where their own maps correlate by 0.0 to 0.3.
_TOLD, _TOLD_WELL = 0.3, 0.5
# Maps of less contrast, the standard deviation of log T1, say nothing.
_LEAST_CONTRAST = 0.05


def check_reference(
  match: QuickMatch, maps: Maps, mask: Bool[np.ndarray, "slice y x"]
) -> list[str]:
  """Compares T1 of reference maps with T1 of the signals.

  Args:
    match: quick match of the scan.
    maps: its reference maps, [voxel].
    mask: the voxels, in C order.

  Returns:
    A sentence if they are doubtful, else none; nor if noise hides it.

  Raises:
    UserError: the maps fit much better in another order, or not at all.
  """
  reference = np.log(np.maximum(np.asarray(maps.t1_ms, np.float64), 1.0))
  log_t1 = np.log(match.t1_ms)
  told = np.mean([*alike(log_t1, mask).values()] or [0.0])
  if reference.std() < _LEAST_CONTRAST or told < _TOLD:
    return []
  matched = _volume(mask, log_t1)
  volume = _volume(mask, reference)
  own = correlation(matched, volume)
  others = {
    change: correlation(matched, changed)
    for change, changed in mirrored(volume)
  }
  best = max(others, key=lambda change: others[change])
  about = "T1 of the reference maps and of the signals correlate by"
  if others[best] > own + _GAIN:
    raise UserError(
      f"t1: {about} {own:.2f}, but by {others[best]:.2f} {best}: do the maps "
      "lie as the scan does?"
    )
  if own < _LEAST:
    raise UserError(
      f"t1: {about} {own:.2f} only: are the maps those of another scan?"
    )
  if own < _DOUBTFUL and told > _TOLD_WELL:
    return [
      f"{about} {own:.2f}, which is little (0.9 in simulated heads): are the "
      "maps those of this scan?"
    ]
  return []


def _volume(
  mask: Bool[np.ndarray, "slice y x"], values: Float[np.ndarray, "voxel"]
) -> Float[np.ndarray, "slice y x"]:
  """Volume of masked values, NaN elsewhere."""
  volume = np.full(mask.shape, np.nan)
  volume[mask] = values
  return volume
