"""The maps of proton density, T1 and T2 that every method estimates."""

import dataclasses
from typing import Any

import jax
import numpy as np

# The order of the maps, and their names in files and tables; M = 3 in the
# paper.
MAP_NAMES = ("pd", "t1_ms", "t2_ms")
# The shortest T1 or T2 of an estimate: no image of an MRF scan would show less.
LEAST_MS = 1.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Maps:
  """Proton density, T1 and T2 of the masked voxels of one scan.

  Attributes:
    pd: proton density, [voxel], about one in cerebrospinal fluid.
    t1_ms: longitudinal relaxation time, [voxel], ms.
    t2_ms: transverse relaxation time, [voxel], ms.
  """

  pd: Any
  t1_ms: Any
  t2_ms: Any

  def stack(self) -> np.ndarray:
    """The maps as one array, [voxel, 3], in the order of `MAP_NAMES`."""
    return np.stack([np.asarray(getattr(self, n)) for n in MAP_NAMES], -1)

  @classmethod
  def unstack(cls, values) -> "Maps":
    """Maps from an array [voxel, 3] in the order of `MAP_NAMES`."""
    return cls(*(values[..., i] for i in range(len(MAP_NAMES))))


def bounded(maps: Maps) -> Maps:
  """Maps, of NumPy or JAX, with the nearest values that are possible.

  PD is not negative, T1 and T2 are at least 1 ms, and T2 is at most T1.
  """
  t1_ms = maps.t1_ms.clip(LEAST_MS)
  return Maps(maps.pd.clip(0), t1_ms, maps.t2_ms.clip(LEAST_MS, t1_ms))


def count_at_bounds(maps: Maps) -> int:
  """Number of voxels in which one of the maps is at a bound of `bounded`."""
  pd, t1_ms, t2_ms = (np.asarray(getattr(maps, name)) for name in MAP_NAMES)
  at_bound = (pd <= 0) | (t2_ms <= LEAST_MS) | (t2_ms >= t1_ms)
  return int(np.count_nonzero(at_bound))
