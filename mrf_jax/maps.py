"""The maps of proton density, T1 and T2 that every method estimates."""

import dataclasses
from typing import Any

import jax
import numpy as np

# The order of the maps, and their names in files and tables; M = 3 in the
# paper.
MAP_NAMES = ("pd", "t1_ms", "t2_ms")


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
