"""Units of trajectories in ISMRMRD files, which sets none.

Gadgetron and KomaMRI store ±0.5 (cycles per voxel), mrpro, BART and SigPy ±N/2
(cycles per field of view), converters of vendors' files 1/m, 1/cm or rad/m.
"""

import numpy as np
from jaxtyping import Float64

# Units of a length, in mm.
_LENGTHS_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0}
# Units that belong to the band of a scan, whatever its voxels measure.
SCALED_UNITS = (
  "cycles_per_voxel",
  "radians_per_voxel",
  "cycles_per_fov",
  "normalized",
)
TRAJECTORY_UNITS = (
  *SCALED_UNITS,
  *(f"per_{unit}" for unit in _LENGTHS_MM),
  *(f"radians_per_{unit}" for unit in _LENGTHS_MM),
)


def trajectory_edges(
  matrix: tuple[int, int], voxel_mm: tuple[float, float] | None
) -> dict[str, Float64[np.ndarray, "2"]]:
  """Edge of the band along x and y, half a cycle per voxel, in each unit.

  Args:
    matrix: voxels of the encoded space along x and y.
    voxel_mm: their sizes, mm; None leaves out the units that need them.

  Returns:
    The edges by the names of `TRAJECTORY_UNITS`; `normalized` is 1 at the edge.
  """
  edges = {
    "cycles_per_voxel": np.full(2, 0.5),
    "radians_per_voxel": np.full(2, np.pi),
    "cycles_per_fov": np.array(matrix) / 2,
    "normalized": np.ones(2),
  }
  if voxel_mm is not None:
    for unit, length_mm in _LENGTHS_MM.items():
      per_length = 0.5 * length_mm / np.array(voxel_mm)
      edges[f"per_{unit}"] = per_length
      edges[f"radians_per_{unit}"] = 2 * np.pi * per_length
  return edges
