import numpy as np
import pytest

from mrf_jax.dataset.patches import make_grid


def numbered_heads():
  """Masks of two heads, and their voxels numbered from one."""
  rng = np.random.default_rng(0)
  masks = [rng.random((2, 7, 9)) < 0.6, rng.random((3, 8, 5)) < 0.6]
  numbers = np.cumsum(np.concatenate([mask.ravel() for mask in masks]))
  split = np.split(numbers, [masks[0].size])
  volumes = [
    np.where(mask, own.reshape(mask.shape), 0)
    for mask, own in zip(masks, split, strict=True)
  ]
  return masks, volumes, np.arange(1, numbers[-1] + 1)


@pytest.mark.parametrize(("before", "after"), [(2, 2), (0, 0), (1, 2)])
def test_neighbours_equal_a_padded_volume(before, after):
  masks, volumes, centres = numbered_heads()
  grid = make_grid(masks, padding=3)
  assert len(grid.positions) == 1 + len(centres)
  found = np.asarray(grid.neighbours(centres, before=before, after=after))
  padded = [
    np.pad(v, ((0, 0), (before, after), (before, after))) for v in volumes
  ]
  size = before + after + 1
  expected = [
    wide[z, y : y + size, x : x + size]
    for wide, mask in zip(padded, masks, strict=True)
    for z, y, x in np.argwhere(mask)
  ]
  np.testing.assert_array_equal(found, expected)


def test_slices_stay_within_a_subject():
  masks, volumes, centres = numbered_heads()
  grid = make_grid(masks, padding=1)
  found = grid.neighbours(centres, before=1, after=1, slices=3)
  expected = [
    np.pad(volume, 1)[z : z + 3, y : y + 3, x : x + 3]
    for volume in volumes
    for z, y, x in np.argwhere(volume)
  ]
  np.testing.assert_array_equal(found, expected)


def test_row_zero_is_no_voxel():
  grid = make_grid([np.ones((1, 4, 4), bool)], padding=2)
  assert grid.rows[0] == 0
  assert grid.positions[0] == 0
