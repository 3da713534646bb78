"""Orders of the voxels of a volume: mirrored ones, and which one is right."""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

# Fewer neighbours do not tell.
_LEAST_PAIRS = 100


def mirrored(volume: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
  """A volume [slice, y, x] mirrored along any axes, also with x and y swapped.

  Each comes with the words that follow "it fits better".
  """
  exchanged = [False, True] if volume.shape[1] == volume.shape[2] else [False]
  for exchange, n_axes in itertools.product(exchanged, range(4)):
    for axes in itertools.combinations(range(3), n_axes):
      changes = ["if x and y are exchanged"] if exchange else []
      if axes:
        along = " and ".join("zyx"[axis] for axis in axes)
        changes.append(f"mirrored along {along}")
      changed = volume.transpose(0, 2, 1) if exchange else volume
      if changes:
        yield ", ".join(changes), np.flip(changed, axes)


def alike(
  values: Float[np.ndarray, "voxel"], mask: Bool[np.ndarray, "slice y x"]
) -> dict[str, float]:
  """Correlation of neighbours in a slice, along y and along x.

  Directions with few neighbours are left out; NaN are no values, and without
  any contrast neighbours are alike.
  """
  volume = np.full(mask.shape, np.nan)
  volume[mask] = values
  found = {}
  for axis, name in ((1, "y"), (2, "x")):
    moved = np.moveaxis(volume, axis, 0)
    both = np.isfinite(moved[1:]) & np.isfinite(moved[:-1])
    if np.count_nonzero(both) >= _LEAST_PAIRS:
      found[name] = _pearson(moved[1:][both], moved[:-1][both], constant=1.0)
  return found


def correlation(a: np.ndarray, b: np.ndarray) -> float:
  """Correlation over the voxels that both have; 0 if they have too few."""
  both = np.isfinite(a) & np.isfinite(b)
  if np.count_nonzero(both) < 0.5 * np.count_nonzero(np.isfinite(a)):
    return 0.0
  return _pearson(a[both], b[both], constant=0.0)


def _pearson(a: np.ndarray, b: np.ndarray, *, constant: float) -> float:
  """Correlation of some values; `constant` if one of both has no contrast."""
  a, b = a - a.mean(), b - b.mean()
  norms = np.linalg.norm(a) * np.linalg.norm(b)
  return float(a @ b / norms) if norms else constant
