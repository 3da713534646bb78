"""Whether a mask, or the voxels of a map, lie on the object of a scan."""

import numpy as np
from jaxtyping import Bool, Float32

from mrf_jax.dataset.mask import otsu_threshold
from mrf_jax.errors import UserError
from mrf_jax.fit.orders import mirrored

# A mask has this many voxels at least, and not more than this share of all.
_LEAST_VOXELS = 10
_LARGEST_SHARE = 0.98
# A mask is wrong if, mirrored or transposed, its overlap with the bright voxels
# grows by more than this. A smaller gain is said, and wrong too if it leaves
# less than this part of what was missing: so it is with a mask that was made of
# these images and then mirrored.
_MIRROR_GAIN = 0.06
_DOUBTFUL_MIRROR_GAIN = 0.02
_ERROR_LEFT = 1 / 3
# A mask is wrong if a move brings this much more of the smaller of mask and
# bright voxels into the other; a smaller gain is said. An ellipse of diameter D
# that is moved by d loses 4 d / (pi D), 0.08 for 6 % of its diameter. Masks of
# a head, a brain, a half of it, a slice, or vials gain less than 0.01 where
# they belong, one of a brain that covers most of the dark skull up to 0.06.
_MOVE_GAIN = 0.08
_DOUBTFUL_MOVE_GAIN = 0.03
# The mask in bright voxels, or they in the mask: at least this share of the
# smaller of both. A brain in a head, a lesion, and a slice have 1, less what
# air next to the skull takes; a head beside itself by a sixth of its diameter
# has 0.8.
_LEAST_COMMON = 0.8
# A mask of less than this share of the bright voxels has no outline that says
# where it belongs.
_OUTLINE = 0.2
# Voxels along each axis of the coarser masks that are moved against each other.
_COARSE = 96


def check_mask(
  mask: Bool[np.ndarray, "slice y x"],
  magnitude: Float32[np.ndarray, "x y slice"],
  bright: Bool[np.ndarray, "slice y x"],
) -> str:
  """Checks that a mask fits a scan; returns a sentence on their overlap.

  Args:
    mask: the mask.
    magnitude: mean magnitude of the scan's images.
    bright: the object in it, see `default_mask`.

  Raises:
    UserError: the mask fills nearly nothing or everything, its voxels are
      darker than the rest, it lies beside the bright voxels, or it fits much
      better when it is mirrored, moved, or its x and y are exchanged.
  """
  n_voxels, share = int(np.count_nonzero(mask)), float(mask.mean())
  if n_voxels < _LEAST_VOXELS or share > _LARGEST_SHARE:
    raise UserError(
      f"the mask fills {share:.1%} of the volume, {n_voxels:,} voxels"
    )
  image = magnitude.transpose(2, 1, 0)  # [slice, y, x]
  inside, outside = float(image[mask].mean()), float(image[~mask].mean())
  # A small region may be a dark one.
  has_outline = n_voxels >= _OUTLINE * np.count_nonzero(bright)
  if has_outline and inside <= outside:
    raise UserError(
      f"the scan is darker inside the mask ({inside:g}) than outside "
      f"({outside:g}): is it turned, mirrored or inverted?"
    )
  return check_lies_on(mask, magnitude, bright, name="the mask")


def check_lies_on(
  mask: Bool[np.ndarray, "slice y x"],
  magnitude: Float32[np.ndarray, "x y slice"],
  bright: Bool[np.ndarray, "slice y x"],
  *,
  name: str,
) -> str:
  """Checks that a mask lies on the bright object of a scan.

  Args:
    mask: the mask, or the voxels of a map.
    magnitude: see `check_mask`.
    bright: see `check_mask`.
    name: of the mask, for messages.

  Returns:
    A sentence on how much they overlap; empty for a mask of nearly everything.

  Raises:
    UserError: it lies beside it, or fits much better when it is mirrored,
      moved, or its x and y are exchanged.
  """
  if mask.mean() > _LARGEST_SHARE:
    return ""
  lit = magnitude.transpose(2, 1, 0) >= otsu_threshold(magnitude)
  # A mask of another object than the largest is held against all of them.
  if 2 * np.count_nonzero(mask & bright) < np.count_nonzero(mask):
    bright = bright | lit
  said = _compare_mirrored(mask, bright, name)
  gain, move = _best_move(mask, lit)
  if gain > _DOUBTFUL_MOVE_GAIN:
    steps = [
      f"{abs(step)} voxels along {axis}"
      for axis, step in zip("zyx", move, strict=True)
      if step
    ]
    said += (
      f"; {gain:.0%} more of the smaller are in common if {name} is moved by "
      + " and ".join(steps)
    )
  if gain > _MOVE_GAIN:
    raise UserError(said)
  common = max(_common(mask, lit | bright), _common(mask, bright))
  if common < _LEAST_COMMON:
    raise UserError(
      f"{said}: {common:.0%} of the smaller of them are in common, at least "
      f"{_LEAST_COMMON:.0%} are needed"
    )
  return said


def _compare_mirrored(mask: np.ndarray, bright: np.ndarray, name: str) -> str:
  """Says how much a mask overlaps; an error if mirrored it would much more."""
  overlap = _dice(mask, bright)
  said = f"{name} and the bright voxels overlap by {overlap:.2f} (Dice)"
  overlaps = {
    change: _dice(changed, bright) for change, changed in mirrored(mask)
  }
  change = max(overlaps, key=lambda words: overlaps[words])
  best = overlaps[change]
  gain = best - overlap
  if gain <= _DOUBTFUL_MIRROR_GAIN:
    return said
  said += f", by {best:.2f} {change}"
  if gain > _MIRROR_GAIN or 1 - best < _ERROR_LEFT * (1 - overlap):
    raise UserError(said)
  return said


def _common(mask: np.ndarray, seen: np.ndarray) -> float:
  """Common voxels, as a share of the smaller mask in the slices of `mask`."""
  slices = np.any(mask, (1, 2))
  sizes = int(np.count_nonzero(mask)), int(np.count_nonzero(seen[slices]))
  return int(np.count_nonzero(mask & seen)) / max(min(sizes), 1)


def _best_move(
  mask: np.ndarray, lit: np.ndarray
) -> tuple[float, tuple[int, int, int]]:
  """How much more of the smaller mask is common if `mask` is moved, and how.

  Returns:
    The gain, as a share of the smaller mask, and the move along slices, y and
    x, voxels.
  """
  from scipy import signal

  slices = np.any(mask, (1, 2))
  lit_slices = np.any(lit, (1, 2))
  # A mask of few slices may be that of any: it is moved in its plane only.
  is_flat = 2 * np.count_nonzero(slices) <= np.count_nonzero(lit_slices)
  if is_flat:
    lit = lit & slices[:, None, None]
  if np.count_nonzero(mask) < _OUTLINE * np.count_nonzero(lit):
    return 0.0, (0, 0, 0)
  step = [-(-n // _COARSE) for n in mask.shape]
  coarse, coarse_lit = (_coarser(values, step) for values in (mask, lit))
  common = signal.correlate(coarse_lit, coarse, "full", "fft")
  middle = tuple(n - 1 for n in coarse.shape)
  if is_flat:
    common = common[middle[0] : middle[0] + 1]
    middle = (0, *middle[1:])
  best = np.unravel_index(np.argmax(common), common.shape)
  gain = (common[best] - common[middle]) / min(coarse.sum(), coarse_lit.sum())
  move = tuple(
    int(b - m) * s for b, m, s in zip(best, middle, step, strict=True)
  )
  return float(gain), move


def _coarser(values: np.ndarray, step: list[int]) -> np.ndarray:
  """Means of blocks of voxels."""
  padding = [(0, -n % s) for n, s in zip(values.shape, step, strict=True)]
  coarse: np.ndarray = np.pad(values.astype(np.float32), padding)
  for axis, s in enumerate(step):
    shape = (*coarse.shape[:axis], -1, s, *coarse.shape[axis + 1 :])
    coarse = coarse.reshape(shape).mean(axis + 1)
  return coarse


def _dice(a: np.ndarray, b: np.ndarray) -> float:
  """Dice overlap of two masks, 2 |A ∩ B| / (|A| + |B|)."""
  return float(2 * np.count_nonzero(a & b) / (np.sum(a) + np.sum(b)))
