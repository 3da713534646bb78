import numpy as np

from mrf_jax.dataset.patches import make_grid


def test_neighbours_equal_a_padded_volume():
  rng = np.random.default_rng(0)
  masks = [rng.random((2, 7, 9)) < 0.6, rng.random((3, 8, 5)) < 0.6]
  values = [np.zeros(mask.shape, int) for mask in masks]
  row = 1
  for mask, value in zip(masks, values, strict=True):
    value[mask] = np.arange(row, row + mask.sum())
    row += mask.sum()
  grid = make_grid(masks, padding=3)
  assert len(grid.positions) == row
  centres = np.arange(1, row, dtype=np.int32)
  for before, after in ((2, 2), (0, 0), (1, 2)):
    found = np.asarray(grid.neighbours(centres, before=before, after=after))
    expected = np.concatenate(
      [
        np.pad(v, ((0, 0), (3, 3), (3, 3)))[
          z, y + 3 - before : y + 4 + after, x + 3 - before : x + 4 + after
        ][None]
        for v in values
        for z, y, x in np.argwhere(v)
      ]
    )
    np.testing.assert_array_equal(found, expected)


def test_slices_stay_within_a_subject():
  rng = np.random.default_rng(0)
  masks = [rng.random((2, 7, 9)) < 0.6, rng.random((3, 8, 5)) < 0.6]
  grid = make_grid(masks, padding=1)
  row = 1
  for mask in masks:
    volume = np.zeros(mask.shape, int)
    volume[mask] = np.arange(row, row + mask.sum())
    padded = np.pad(volume, 1)
    centres = np.arange(row, row + mask.sum(), dtype=np.int32)
    found = grid.neighbours(centres, before=1, after=1, slices=3)
    expected = [
      padded[z : z + 3, y : y + 3, x : x + 3] for z, y, x in np.argwhere(mask)
    ]
    np.testing.assert_array_equal(found, expected)
    row += mask.sum()


def test_row_zero_is_no_voxel():
  grid = make_grid([np.ones((1, 4, 4), bool)], padding=2)
  assert grid.rows[0] == 0
  assert grid.positions[0] == 0
