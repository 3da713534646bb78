"""How much voxels are like their neighbours: do they lie as they should?"""

import numpy as np
from jaxtyping import Bool, Float

# Fewer neighbours do not tell.
_LEAST_PAIRS = 100


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
    if np.count_nonzero(both) < _LEAST_PAIRS:
      continue
    a, b = (v[both] - v[both].mean() for v in (moved[1:], moved[:-1]))
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    found[name] = float(a @ b / norms) if norms else 1.0
  return found
