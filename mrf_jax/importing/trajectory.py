"""Trajectories of raw data: their unit, and whether they sample k-space."""

import os

import numpy as np
from jaxtyping import Float, Float32, Float64

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.io.ismrmrd_geometry import ImageGrid
from mrf_jax.io.ismrmrd_reader import RawData
from mrf_jax.io.ismrmrd_trajectory import SCALED_UNITS, trajectory_edges

# Simulators have files of one unit and do not say it: KomaMRI divides by twice
# the largest position, and our files did not say it until they had cycles per
# field of view.
_UNIT_OF_SIMULATORS = "cycles_per_voxel"
# Plausible extent of a trajectory, relative to the edge of the matrix's band.
_EXTENTS = (0.7, 1.0 + 1e-3)
# A trajectory of a known unit that fills less has a unit that is not right.
_LEAST = 0.3
# Share of the band that a trajectory fills which was scaled to it.
_EXACT = 0.998
# Units whose edges agree to this many digits are the same (1 mm: 1/mm).
_EDGE_DIGITS = 6
# Positions along z below this share of the largest one are 0.
_FLAT = 1e-3
# A trajectory that reaches less of the band than this share of the largest one
# is none.
_NO_TRAJECTORY = 0.05
# Share of the cells of k-space (1 / field of view) that all frames together
# reach. Spirals and radial spokes with the spacing that the field of view needs
# reach most of them; arms that are not turned, one in their number.
_LEAST_CELLS = 0.25

Trajectory = Float32[np.ndarray, "readout sample 2"]


def in_cycles_per_voxel(
  raw: RawData,
  grid: ImageGrid,
  said: list[str],
  *,
  path: str,
  unit: str | None,
  is_simulated: bool,
) -> Trajectory:
  """Trajectory in cycles per voxel of the encoded space.

  Args:
    raw: the acquisitions.
    grid: voxels of the images.
    said: sentences on what was assumed, added to.
    path: the file, for messages.
    unit: one of `TRAJECTORY_UNITS`; None is that which the file says, or else
      the only one in which the trajectory fills the band.
    is_simulated: whether a simulator wrote the file.

  Raises:
    UserError: there is none, it is three-dimensional, some acquisitions lack
      theirs, or its unit is not known.
  """
  if raw.trajectory is None:
    raise UserError(f"{path}: the acquisitions hold no trajectory")
  trajectory = in_plane(raw.trajectory, path)
  edges = trajectory_edges(grid.encoded_matrix, grid.encoded_voxel_mm)
  if unit is not None:
    check_one_of("--trajectory_unit", unit, edges)
  stated = raw.trajectory_unit
  if stated is not None:
    if unit not in (None, stated):
      raise UserError(
        f"{path}: the file says that its trajectory is in {stated}, "
        f"--trajectory_unit that it is in {unit}"
      )
    said.append(f"the trajectory is in {stated}, as the file says")
    unit = "cycles_per_voxel"  # as `load_raw_data` returns it
  elif unit is None:
    unit = _unit_that_fits(trajectory, edges, said, path, is_simulated)
    said.append(f"the trajectory is in {unit}")
  # In cycles per voxel the edge is at one half.
  scaled = trajectory * (0.5 / edges[unit]).astype(np.float32)
  reaches = np.abs(scaled).max((1, 2))
  largest = float(reaches.max())
  n_still = np.count_nonzero(reaches < _NO_TRAJECTORY * largest)
  if n_still:
    raise UserError(
      f"{path}: the trajectory of {n_still:,} of {len(reaches):,} acquisitions "
      "stays in the centre of k-space; each needs its own"
    )
  if not _LEAST <= 2 * largest <= _EXTENTS[1]:
    raise UserError(
      f"{path}: the trajectory in {stated or unit} reaches {2 * largest:.3g} "
      "times the edge of the band; it is not in this unit (--trajectory_unit), "
      "or the header has other voxels than the scan"
    )
  return np.clip(scaled, -0.5, 0.5).astype(np.float32)


def in_plane(
  positions: Float[np.ndarray, "readout sample axis"], path: str | os.PathLike
) -> Trajectory:
  """Positions along x and y; `UserError` if there are others along z."""
  plane = positions[..., :2].astype(np.float32, copy=False)
  if positions.shape[2] == 3:
    largest_kz = float(np.abs(positions[..., 2]).max())
    if largest_kz > _FLAT * float(np.abs(plane).max()):
      raise UserError(
        f"{path}: the trajectory is three-dimensional, or its third column is "
        "a density; slices with a trajectory of two columns are needed"
      )
  return plane


def _unit_that_fits(
  trajectory: Trajectory,
  edges: dict[str, Float64[np.ndarray, "2"]],
  said: list[str],
  path: str,
  is_simulated: bool,
) -> str:
  """The only unit in which the trajectory fills the band."""
  # The band is a square: a trajectory may reach into its corners.
  radius = float(np.linalg.norm(trajectory, axis=-1).max())
  largest = np.abs(trajectory).max((0, 1)).astype(float)
  reach = {
    name: radius / edge.min()
    for name, edge in edges.items()
    if np.all(largest <= _EXTENTS[1] * edge)
  }
  fitting = [name for name in reach if reach[name] >= _EXTENTS[0]]
  if is_simulated and _UNIT_OF_SIMULATORS in fitting:
    return _UNIT_OF_SIMULATORS
  different = {
    tuple(np.round(edges[name], _EDGE_DIGITS)): name
    for name in reversed(fitting)
  }
  # Who scales a trajectory to its band does so to the very edge. A length in
  # the unit of another's k-space is not so round by chance.
  exact = [n for n in fitting if n in SCALED_UNITS and reach[n] >= _EXACT]
  if exact and len(different) > 1:
    others = [n for n in fitting if n != exact[0]]
    said.append(
      f"the trajectory ends at the very edge of the band in {exact[0]}; it "
      f"would fit {' and '.join(others)}, too (--trajectory_unit)"
    )
    return exact[0]
  if len(different) != 1:
    shown = ", ".join(
      f"{name} (edge {edge.max():.4g})" for name, edge in edges.items()
    )
    choice = " or ".join(f"--trajectory_unit={n}" for n in fitting)
    raise UserError(
      f"{path}: the trajectory reaches {radius:.4g}, which fits "
      f"{' and '.join(fitting) or 'none'} of {shown}; "
      f"{choice or '--trajectory_unit'} sets the unit"
    )
  return fitting[0]


def undersampling(
  trajectory: Float32[np.ndarray, "frame sample 2"], grid: ImageGrid
) -> str | None:
  """A sentence if all frames of a slice together miss most of k-space."""
  n_cells = np.array(grid.encoded_matrix, float)
  if grid.voxel_mm is not None and grid.encoded_voxel_mm is not None:
    fov_mm = np.multiply(grid.matrix, grid.voxel_mm)[:2]
    n_cells = fov_mm / grid.encoded_voxel_mm
  places = trajectory.reshape(-1, 2) * n_cells
  radius = float(np.linalg.norm(places, axis=1).max())
  n_reached = len(np.unique(np.round(places), axis=0))
  share = n_reached / (np.pi * radius**2)
  if share >= _LEAST_CELLS:
    return None
  return (
    f"the trajectories of all frames together reach {share:.0%} of k-space, so "
    "that the images are aliased: are the arms not turned?"
  )
