"""Masks of training tiles that are altered at random."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax.dataset.patches import make_grid
from mrf_jax.errors import UserError
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus
from mrf_jax.training import step as step_module
from mrf_jax.training.masks import alter_masks
from mrf_jax.training.state import VoxelTable
from tests.training.examples import OPTIONS, make_fold, make_step

N_TILES, SHAPE = 400, (3, 12, 12)
MIDDLE = 1, 5, 5
SIDE = 24
N_VOXELS = 3 * SIDE**2


@pytest.fixture(scope="module")
def tiles():
  """Rows of tiles with empty voxels, and T1 of the rows, ms."""
  rng = np.random.default_rng(0)
  n_voxels = N_TILES * int(np.prod(SHAPE))
  rows = np.arange(1, 1 + n_voxels, dtype=np.int32).reshape(N_TILES, *SHAPE)
  rows *= rng.random(rows.shape) < 0.8
  rows[(slice(None), *MIDDLE)] = 1 + np.arange(N_TILES)
  t1_ms = np.exp(rng.uniform(5, 8, 1 + n_voxels)).astype(np.float32)
  return rows, t1_ms


def altered(tiles, share, seed=0):
  return map(np.asarray, alter_masks(*tiles, jax.random.key(seed), share=share))


def ways(tiles, seen):
  """Numbers of tiles that were altered in each way, by what became of them."""
  rows, t1_ms = tiles
  one_slice = ~seen[:, [0, 2]].any((1, 2, 3))
  filled = ((rows == 0) & (seen > 0)).any((1, 2, 3))
  same = (seen == rows).all((1, 2, 3))
  ratio = np.abs(
    np.log(t1_ms[seen] / t1_ms[rows[:, *MIDDLE]][:, None, None, None])
  )
  is_like = (np.where(seen > 0, ratio, 0) <= 0.6).all((1, 2, 3)) & ~one_slice
  rest = ~(one_slice | filled | same | is_like)
  return same, one_slice, filled, is_like, rest


def test_all_ways_are_equally_frequent(tiles):
  seen, _ = altered(tiles, 0.8)
  same, *others = (int(x.sum()) for x in ways(tiles, seen))
  assert sum(others) + same == N_TILES
  np.testing.assert_allclose(same, 0.2 * N_TILES, atol=25)
  np.testing.assert_allclose(others, 0.2 * N_TILES, atol=30)


def test_nothing_is_altered_at_a_share_of_zero(tiles):
  for rows in altered(tiles, 0.0):
    np.testing.assert_array_equal(rows, tiles[0])


def test_centres_stay_and_voxels_of_other_tiles_do_not_count(tiles):
  seen, counted = altered(tiles, 1.0)
  rows, _ = tiles
  np.testing.assert_array_equal(counted[:, *MIDDLE], rows[:, *MIDDLE])
  assert ((counted == 0) | (counted == rows)).all()
  foreign = seen != counted
  assert foreign.any()
  np.testing.assert_array_equal(counted[foreign], 0)
  np.testing.assert_array_equal(seen[foreign], np.roll(rows, 1, 0)[foreign])


def test_lines_cut_along_all_directions(tiles):
  seen, _ = altered(tiles, 1.0)
  *_, cut = ways(tiles, seen)
  kept = np.where(tiles[0][cut] > 0, seen[cut] > 0, np.nan)
  y, x = np.indices(SHAPE[1:]) - 5
  means = [
    np.nanmean(np.where(kept > 0, axis, np.nan), (1, 2, 3)) for axis in (y, x)
  ]
  angles = np.arctan2(*means)
  counts, _ = np.histogram(angles, bins=4, range=(-np.pi, np.pi))
  assert counts.min() > 0.1 * cut.sum()


@pytest.fixture(scope="module")
def study():
  """A table of three full slices, and a fold of all of its voxels."""
  rng = np.random.default_rng(0)
  signals = rng.standard_normal((1 + N_VOXELS, 8), np.float32)
  signals[0] = 0
  maps = np.exp(rng.normal(size=(1 + N_VOXELS, 3))).astype(np.float32)
  grid = make_grid([np.ones((3, SIDE, SIDE), bool)], padding=6)
  fold = make_fold(np.arange(1, 1 + N_VOXELS))
  return VoxelTable(signals, maps, grid), fold


def network_of(slices):
  return SpatiotemporalPlus(widths=(16, 8), depth=1, n_outputs=3, slices=slices)


@pytest.mark.parametrize("slices", [1, 3])
def test_voxels_that_do_not_count_teach_nothing(study, slices, monkeypatch):
  """Whatever their maps are; their signals are seen all the same."""
  table, fold = study
  (last,) = np.random.default_rng(1).integers(N_VOXELS // 3, N_VOXELS // 2, 1)

  def alter(patches, t1_ms, key, *, share):
    return patches, jnp.where(patches <= last, patches, 0)

  monkeypatch.setattr(step_module, "alter_masks", alter)
  # Not those of another test: compiled functions are shared.
  options = dataclasses.replace(
    OPTIONS, tile=4, altered_masks=0.123, flips=True
  )
  state, step = make_step(network_of(slices), fold, options, n_channels=8)
  # The last layer begins with zeros.
  params = jax.tree.map(lambda x: x + 0.1, state.params)
  state = dataclasses.replace(state, params=params)
  centres = np.arange(1, N_VOXELS, N_VOXELS // 8, dtype=np.int32)[:8]
  loss = step(state, fold, table, centres)[1]
  far = np.arange(1 + N_VOXELS) > last

  def changed(field, rows, factor):
    values = np.array(getattr(table, field))
    values[rows] *= factor
    other = dataclasses.replace(table, **{field: values})
    return step(state, fold, other, centres)[1]

  assert changed("maps", far, 3.0) == loss
  assert changed("maps", ~far, 3.0) != loss
  assert changed("signals", far, 3.0) != loss


@pytest.mark.parametrize("tile", [1, 4, 5])
def test_centres_of_mirrored_tiles_stay(study, tile):
  """Those of the voxels that are estimated, which mirrors move."""
  table, _ = study
  network = network_of(3)
  options = dataclasses.replace(
    OPTIONS, tile=tile, altered_masks=1.0, flips=True
  )
  centres = np.arange(1, N_VOXELS, 7, dtype=np.int32)
  seen, counted = step_module._patch_rows(
    table, centres, jax.random.key(0), network=network, options=options
  )
  own = np.asarray(counted)[:, 1]
  inner = own[:, 1 : 1 + tile, 1 : 1 + tile]
  assert (inner == centres[:, None, None]).any((1, 2)).all()
  assert (np.asarray(seen) != np.asarray(counted)).any()


@pytest.mark.parametrize("tile", [2, 4])
def test_folds_side_by_side_have_the_same_masks(study, tile):
  table, fold = study
  options = dataclasses.replace(OPTIONS, tile=tile, altered_masks=0.7)
  state, step = make_step(network_of(3), fold, options, n_channels=8)
  params = jax.tree.map(lambda x: x + 0.1, state.params)
  state = dataclasses.replace(state, params=params)
  centres = np.arange(1, N_VOXELS, N_VOXELS // 8, dtype=np.int32)[:8]
  folds = [
    dataclasses.replace(fold, key=key)
    for key in jax.random.split(jax.random.key(3), 2)
  ]
  losses = [step(state, own, table, centres)[1] for own in folds]
  both = jax.tree.map(lambda *x: jnp.stack(x), *folds)
  _, together = jax.vmap(step, in_axes=(None, 0, None, None))(
    state, both, table, centres
  )
  np.testing.assert_allclose(together, losses, rtol=1e-5)
  assert losses[0] != losses[1]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_beyond_one_are_refused(share):
  with pytest.raises(UserError, match=r"training.altered_masks: .* from 0 to"):
    dataclasses.replace(OPTIONS, altered_masks=share)
