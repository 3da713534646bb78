"""Simulated heads from one's own maps of T1, T2 and PD.

The voxels of a scan are larger than those of a map. Each is sampled at places
that divide it evenly, about as far apart as the voxels of the map, and its
signal is the sum over the samples, each with the T1, T2 and PD of the nearest
voxel of the map: that is its partial volume. Parameters are never averaged.
Each place within a voxel is a tissue of the phantom, whose share is one part of
the voxel or none.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32

from mrf_jax.errors import UserError
from mrf_jax.importing.map_folder import HeadMaps
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.simulation.anatomy import (
  BRAIN_CENTRE_MM,
  Head,
  SliceGrid,
  moved,
)
from mrf_jax.simulation.phantom import Phantom, make_fields, make_phantom
from mrf_jax.simulation.tissue import FIELD_STRENGTH_T

# Most samples along each axis of a voxel.
_MOST_SAMPLES = 16
# Samples of a longer T1 count as fluid, in which the variation of the main
# field within a voxel is not simulated, ms; grey matter has 1.2 s at 1.5 T and
# 1.6 s at 3 T, CSF 4 s.
_FLUID_T1_MS = 2500.0


def phantom_of(rng: np.random.Generator, grid: SliceGrid, **options) -> Phantom:
  """A phantom by `make_map_phantom` if there are `maps`, or by `make_phantom`.

  Args:
    rng: random numbers of the subject.
    grid: the slices of the scan.
    **options: arguments of the one or the other.
  """
  make = make_map_phantom if "maps" in options else make_phantom
  return make(rng, grid, **options)


def make_map_phantom(
  rng: np.random.Generator,
  grid: SliceGrid,
  *,
  maps: HeadMaps,
  b1_deviation: float,
  b0: dict | None = None,
  phase_deg: float = 0.0,
  field_strength_t: float = FIELD_STRENGTH_T,
  poses: Float64[np.ndarray, "slice 4 4"] | None = None,
  mask: Bool[np.ndarray, "slice y x"] | None = None,
) -> Phantom:
  """A head of given T1, T2 and PD in the scanner.

  Its centre, the mean place of the voxels that have T1 and PD, lies where that
  of the MNI152 brain does, at (0, −18, 8) mm, and its axes are those of the
  scanner, as the affine of the maps says. Slices at `grid.centre_z_mm` are so
  high above it as in a simulated MNI152 head, wherever the maps place it.

  Args:
    rng: random numbers of the subject; only fields need them.
    grid: the slices of the scan.
    maps: the maps; a B1 map takes the place of the simulated field.
    b1_deviation: see `make_fields`, as the other arguments.
    b0: likewise.
    phase_deg: likewise.
    field_strength_t: likewise; it changes no T1 or T2 of the maps.
    poses: likewise.
    mask: its voxels; None are those that are at least half head.

  Raises:
    UserError: no voxel of the slices is at least half head.
  """
  *_, field_rng = rng.spawn(3)
  share, rows = _samples(maps, grid, poses)
  if mask is None:
    mask = share >= 0.5
  if not mask.any():
    raise _no_overlap(maps, grid)
  # Row 0 is outside: no protons, and times that can be simulated.
  tables = {
    name: np.concatenate([[first], getattr(maps.maps, name)]).astype(np.float32)
    for name, first in zip(
      MAP_NAMES,
      (0.0, np.median(maps.maps.t1_ms), np.median(maps.maps.t2_ms)),
      strict=True,
    )
  }
  of_voxels = np.stack([sample[mask] for sample in rows])
  inside = of_voxels > 0
  fractions = (inside / np.float32(len(rows))).astype(np.float32)
  tissues = {
    str(k): Maps(*(tables[name][own] for name in MAP_NAMES))
    for k, own in enumerate(of_voxels)
  }
  is_fluid = tables["t1_ms"][of_voxels] > _FLUID_T1_MS
  n_inside = np.maximum(inside.sum(0), 1)
  fluid = ((inside & is_fluid).sum(0) / n_inside).astype(np.float32)
  points = grid.points_mm()
  middle = points.reshape(-1, 3).mean(0)
  b1, rates, phases = make_fields(
    field_rng,
    moved(points, poses)[mask],
    middle,
    fluid,
    b1_deviation=b1_deviation,
    b0=b0,
    phase_deg=phase_deg,
    field_strength_t=field_strength_t,
  )
  if maps.b1 is not None:
    table = np.concatenate([[0.0], maps.b1]).astype(np.float32)
    total = table[of_voxels].sum(0)
    # A voxel that the head has left is dropped later.
    b1 = np.where(total > 0, total / n_inside, 1.0)
    b1 = b1.astype(np.float32)
  return Phantom(
    # There is no atlas. Heads are aligned by their centres.
    Head(share[None], mask, None),
    grid,
    points - middle,
    fractions,
    tissues,
    b1,
    rates,
    phases,
    origin=maps.origin,
    field_strength_t=field_strength_t,
    is_sampled=True,
  )


def sample_counts(maps: HeadMaps, grid: SliceGrid) -> tuple[int, int, int]:
  """Samples along x, y and z of a voxel, at least one each.

  They are about as far apart as the voxels of the map along that axis.
  """
  to_voxel = np.linalg.inv(maps.affine)[:3, :3]
  # Voxels of the map that a line along each axis of the scanner crosses.
  crossed = np.abs(to_voxel).max(0) * grid.voxel_mm
  x, y, z = np.clip(np.round(crossed), 1, _MOST_SAMPLES).astype(int).tolist()
  return x, y, z


def check_in_slices(maps: HeadMaps, grid: SliceGrid) -> list[str]:
  """Checks that a head lies in the slices of a scan.

  Returns:
    A sentence if it lies in some of them only.

  Raises:
    UserError: it lies in none.
  """
  share, _ = _samples(maps, grid, None)
  has_head = (share >= 0.5).any((1, 2))
  if not has_head.any():
    raise _no_overlap(maps, grid)
  if has_head.all():
    return []
  return [
    f"{maps.folder}: {np.count_nonzero(has_head)} of {grid.n_slices} slices "
    f"have voxels of the head; {_where(maps, grid)}"
  ]


def _samples(
  maps: HeadMaps,
  grid: SliceGrid,
  poses: Float64[np.ndarray, "slice 4 4"] | None,
) -> tuple[
  Float32[np.ndarray, "slice y x"], list[Int32[np.ndarray, "slice y x"]]
]:
  """Share of each voxel in the head, and where its samples lie in the maps.

  Returns:
    The share, and for each place within a voxel 1 + v for the nearest masked
    voxel v of the maps, 0 outside.
  """
  numbers = np.zeros(maps.mask.shape, np.int32)
  numbers[maps.mask] = np.arange(1, 1 + len(maps.maps.pd))
  to_voxel = np.linalg.inv(maps.affine)
  size = np.array(maps.mask.shape)
  counts = sample_counts(maps, grid)
  rows = []
  for offset in np.ndindex(*counts):
    parts = (np.array(offset) + 0.5) / counts - 0.5
    places = moved(grid.points_mm(parts), poses).reshape(-1, 3)
    places = places - BRAIN_CENTRE_MM + maps.centre_mm
    index = places @ to_voxel[:3, :3].T + (to_voxel[:3, 3] + 0.5)
    inside = np.all((index >= 0) & (index < size), 1)
    found = np.zeros(len(index), np.int32)
    found[inside] = numbers[tuple(index[inside].astype(np.int64).T)]
    rows.append(found.reshape(grid.n_slices, grid.matrix, grid.matrix))
  share = np.zeros(rows[0].shape, np.float32)
  for sample in rows:
    share += sample > 0
  return share / np.float32(len(rows)), rows


def _no_overlap(maps: HeadMaps, grid: SliceGrid) -> UserError:
  return UserError(
    f"{maps.folder}: no voxel of the slices is half head; {_where(maps, grid)}"
  )


def _where(maps: HeadMaps, grid: SliceGrid) -> str:
  """Where the head and the slices lie, in words."""
  centre = BRAIN_CENTRE_MM[2]
  heights = maps.places_mm[:, 2] - maps.centre_mm[2] + centre
  half = grid.n_slices * grid.slice_thickness_mm / 2
  return (
    f"it lies at z = {heights.min():.0f} to {heights.max():.0f} mm, the slices "
    f"at {grid.centre_z_mm - half:.0f} to {grid.centre_z_mm + half:.0f} mm "
    f"(data.grid.centre_z_mm={centre:g} is the centre of the head)"
  )
