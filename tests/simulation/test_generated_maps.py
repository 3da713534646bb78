"""Heads of random regions."""

import dataclasses

import numpy as np
import pytest

from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.generated_maps import generate_head_maps
from mrf_jax.simulation.map_phantom import make_map_phantom, sample_counts

GRID = SliceGrid(
  n_slices=3, matrix=48, fov_mm=256.0, slice_thickness_mm=5.0, centre_z_mm=15.0
)
OPTIONS = dict(
  t1_ms=(100.0, 5000.0),
  t2_ms=(10.0, 2000.0),
  pd=(0.2, 1.1),
  region_mm=(5.0, 25.0),
)


def generate(seed=0, grid=GRID, *, within_region=0.0, **options):
  return generate_head_maps(
    np.random.default_rng(seed),
    grid,
    within_region=within_region,
    **{**OPTIONS, **options},
  )


def test_values_are_drawn_apart():
  """Over the regions, each of which has one of each."""
  maps = generate().maps
  assert maps.t1_ms.min() >= 100 and maps.t1_ms.max() <= 5000
  assert maps.t2_ms.min() >= 10 and maps.t2_ms.max() <= 2000
  assert maps.pd.min() >= 0.2 and maps.pd.max() <= 1.1
  assert (maps.t2_ms <= maps.t1_ms).all()
  regions = np.unique(maps.stack(), axis=0)
  assert len(regions) > 200
  assert len(np.unique(regions[:, 1])) == len(regions)
  pd, log_t1 = regions[:, 0], np.log(regions[:, 1])
  assert abs(np.corrcoef(pd, log_t1)[0, 1]) < 0.2
  # Log-uniform between the limits, where T1 leaves it free.
  middle = np.log([100.0, 5000.0]).mean()
  assert 0.4 < np.mean(log_t1 < middle) < 0.6
  free = regions[regions[:, 1] > 2000, 2]
  assert 0.35 < np.mean(free < np.sqrt(10 * 2000)) < 0.65


def test_values_vary_inside_a_region():
  plain, varied = generate().maps, generate(within_region=0.05).maps
  # The regions are the same.
  ratio = varied.pd / plain.pd
  assert ratio.std() == pytest.approx(0.05, rel=0.02)
  assert (varied.t2_ms <= varied.t1_ms).all()


def test_same_random_numbers_make_the_same_head():
  assert generate().digest == generate().digest != generate(1).digest
  assert generate().origin.startswith("generated maps of random regions (con")


def test_small_regions_are_more():
  def count(*region_mm):
    return len(np.unique(generate(region_mm=region_mm).maps.pd))

  assert count(5.0, 25.0) > 2 * count(12.0, 25.0) > 4 * count(24.0, 25.0)


@pytest.mark.parametrize("centre_z_mm", [15.0, 50.0, -30.0])
def test_scanned_voxels_mix_regions(centre_z_mm):
  """All slices have some, and voxels of several regions."""
  grid = dataclasses.replace(GRID, centre_z_mm=centre_z_mm)
  maps = generate(grid=grid)
  head = make_map_phantom(
    np.random.default_rng(0), grid, maps=maps, b1_deviation=0.2
  )
  assert head.anatomy.mask.any((1, 2)).all()
  assert 200 < head.anatomy.mask[1].sum() < 1500
  assert head.origin == maps.origin
  x, y, _ = sample_counts(maps, grid)
  assert x == y == 2
  t1 = np.stack([tissue.t1_ms for tissue in head.tissues.values()])
  assert 0.2 < np.mean(t1.max(0) > 1.01 * t1.min(0)) < 0.99


@pytest.mark.parametrize("seed", range(4))
def test_outlines_differ_and_fit_the_field_of_view(seed):
  maps = generate(seed)
  share = maps.mask.mean()
  assert 0.25 < share < 0.75
  # No part of the outline ends at the border of the grid.
  assert not maps.mask[[0, -1]].any() and not maps.mask[:, [0, -1]].any()
