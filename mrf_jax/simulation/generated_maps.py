"""Maps of heads that are none: random regions of T1, T2 and PD drawn apart.

A network that has seen three tissues on one line of (T1, T2, PD) knows no
other. Training subjects of such maps teach it what a signal says, wherever in
that space it lies.
"""

import nibabel
import numpy as np
from jaxtyping import Bool, Float64

from mrf_jax.importing.map_folder import HeadMaps
from mrf_jax.maps import Maps
from mrf_jax.simulation.anatomy import BRAIN_CENTRE_MM, SliceGrid
from mrf_jax.simulation.fields import smooth_noise

# Half axes of the mean head, x, y and z, mm, and how much each may be longer or
# shorter.
_HALF_AXES_MM = np.array([70.0, 88.0, 70.0])
_AXES_VARY = 0.2
# The rim: standard deviation of the radius, relative, and its correlation.
_RIM = 0.06
_RIM_MM = 35.0
# How far borders of regions bend, and over what distance, mm.
_BEND_MM = 2.0
_BEND_OVER_MM = 6.0
# Maps reach so far beyond the slices of the scan, mm: heads move.
_MARGIN_MM = 8.0
# Least side of their voxels, mm.
_FINEST_MM = 1.0


def generate_head_maps(
  rng: np.random.Generator,
  grid: SliceGrid,
  *,
  t1_ms: tuple[float, float],
  t2_ms: tuple[float, float],
  pd: tuple[float, float],
  region_mm: tuple[float, float],
  within_region: float,
) -> HeadMaps:
  """Maps of random regions in a random outline, about as large as a head.

  Each region has one T1, T2 and PD, drawn apart: T1 and T2 log-uniform, T2 not
  above T1, PD uniform. Voxels vary about them. Regions are the cells of random
  seeds, whose borders bend; their density differs between parts of the head.

  Args:
    rng: random numbers.
    grid: the slices of the scan; the maps cover these alone, at half of its
      in-plane voxels, or 1 mm.
    t1_ms: least and greatest T1, ms.
    t2_ms: least and greatest T2, ms.
    pd: least and greatest PD, relative to water.
    region_mm: smallest and largest distance of neighbouring seeds, mm.
    within_region: relative standard deviation of T1, T2 and PD inside a region.

  Returns:
    The maps, which lie in the slices as they are.
  """
  shape_rng, region_rng, value_rng, voxel_rng = rng.spawn(4)
  affine, points, size = _grid_of(grid)
  inside = _outline(shape_rng, points)
  regions = _regions(region_rng, points[inside], region_mm)
  n_regions = int(regions.max()) + 1
  t1 = _log_uniform(value_rng, t1_ms, n_regions)
  highest = np.minimum(t1, t2_ms[1])
  t2 = np.exp(
    value_rng.uniform(np.log(np.minimum(t2_ms[0], highest)), np.log(highest))
  )
  proton_density = value_rng.uniform(*pd, n_regions)
  values = np.stack([proton_density, t1, t2], -1)[regions]
  values *= np.exp(within_region * voxel_rng.normal(size=values.shape))
  values[:, 2] = np.minimum(values[:, 2], values[:, 1])
  return HeadMaps(
    folder="generated maps",
    affine=affine,
    mask=inside.reshape(size),
    maps=Maps.unstack(values.astype(np.float32)),
    made_by="generated maps of random regions",
    anchor_mm=BRAIN_CENTRE_MM,
  )


def _grid_of(
  grid: SliceGrid,
) -> tuple[
  Float64[np.ndarray, "4 4"],
  Float64[np.ndarray, "point 3"],
  tuple[int, int, int],
]:
  """Affine, places and shape of maps that cover the slices of a scan."""
  side = max(grid.voxel_mm[0] / 2, _FINEST_MM)
  half = np.ceil(
    [
      *(_HALF_AXES_MM[:2] * (1 + _AXES_VARY + 3 * _RIM) / side),
      (grid.n_slices * grid.slice_thickness_mm / 2 + _MARGIN_MM) / side,
    ]
  ).astype(int)
  x, y, z = (2 * half).tolist()
  size = (x, y, z)
  affine = np.diag([side, side, side, 1.0])
  centre = np.array([*BRAIN_CENTRE_MM[:2], grid.centre_z_mm])
  affine[:3, 3] = centre - side * (2 * half - 1) / 2
  index = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
  points = nibabel.affines.apply_affine(affine, index.reshape(-1, 3))
  return affine, points, size


def _outline(
  rng: np.random.Generator, points: Float64[np.ndarray, "point 3"]
) -> Bool[np.ndarray, "point"]:
  """Whether points lie in a random ellipsoid with an uneven rim."""
  axes = _HALF_AXES_MM * rng.uniform(1 - _AXES_VARY, 1 + _AXES_VARY, 3)
  radius = np.linalg.norm((points - BRAIN_CENTRE_MM) / axes, axis=-1)
  rim = _RIM * smooth_noise(rng, points, correlation_mm=_RIM_MM)
  return radius < 1 + np.clip(rim, -3 * _RIM, 3 * _RIM)


def _regions(
  rng: np.random.Generator,
  points: Float64[np.ndarray, "point 3"],
  region_mm: tuple[float, float],
) -> np.ndarray:
  """Number of the region of each point."""
  from scipy.spatial import cKDTree

  finest, coarsest = region_mm
  low, high = points.min(0) - coarsest, points.max(0) + coarsest
  n_fine = int(np.ceil(np.prod(high - low) / finest**3))
  seeds = rng.uniform(low, high, (n_fine, 3))
  # Distances of seeds are log-uniform over the parts of the head.
  field = smooth_noise(rng, seeds, correlation_mm=20.0)
  share = 0.5 * (1 + np.tanh(field))
  distance = finest * (coarsest / finest) ** share
  seeds = seeds[rng.uniform(size=n_fine) < (finest / distance) ** 3]
  bent = points + _BEND_MM * np.stack(
    [
      smooth_noise(r, points, correlation_mm=_BEND_OVER_MM)
      for r in rng.spawn(3)
    ],
    -1,
  )
  _, nearest = cKDTree(seeds).query(bent)
  _, regions = np.unique(nearest, return_inverse=True)
  return regions


def _log_uniform(
  rng: np.random.Generator, limits: tuple[float, float], count: int
) -> Float64[np.ndarray, "region"]:
  low, high = np.log(limits)
  return np.exp(rng.uniform(low, high, count))
