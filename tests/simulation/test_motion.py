"""A head that moves between scans and slices."""

import copy
import dataclasses

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.simulation.anatomy import (
  SliceGrid,
  make_head,
  moved,
  random_poses,
)
from mrf_jax.simulation.phantom import make_phantom
from mrf_jax.simulation.subject import _in_both_scans
from tests.simulation.examples import HEAD, PHANTOM

GRID = SliceGrid(
  n_slices=3, matrix=32, fov_mm=256, slice_thickness_mm=8, centre_z_mm=15
)
STILL = {
  "between_scans_mm": 0.0,
  "between_scans_deg": 0.0,
  "between_slices_mm": 0.0,
  "between_slices_deg": 0.0,
}
# No displacement, which has a place of its own for each head.
RIGID = {**HEAD, "warp_mm": 0.0}


def head(poses=None, options=RIGID):
  return make_head(np.random.default_rng(0), GRID, **options, poses=poses)


def pose(matrix=None, shift_mm=(0.0, 0.0, 0.0)):
  """A pose about the middle of the grid, the same in all slices."""
  matrix = np.eye(3) if matrix is None else np.asarray(matrix, float)
  middle = GRID.points_mm().reshape(-1, 3).mean(0)
  one = np.eye(4)
  one[:3, :3] = matrix
  one[:3, 3] = middle - matrix @ middle + shift_mm
  return np.tile(one, (GRID.n_slices, 1, 1))


def test_a_shift_of_whole_voxels_moves_the_head_by_them():
  dx, dy, dz = GRID.voxel_mm
  there = head(pose(shift_mm=(2 * dx, -dy, dz)))
  expected = np.roll(head().fractions, (1, -1, 2), (1, 2, 3))
  np.testing.assert_allclose(there.fractions[:, 1:], expected[:, 1:], atol=1e-3)


def test_a_quarter_turn_turns_the_head():
  """From x to y, which is from the last axis of an array to the one before."""
  there = head(pose([[0, -1, 0], [1, 0, 0], [0, 0, 1]]))
  expected = head().fractions.transpose(0, 1, 3, 2)[..., ::-1]
  np.testing.assert_allclose(there.fractions, expected, atol=1e-3)


def test_lesions_move_with_the_head():
  """By whole voxels; what enters and leaves at a side has none."""
  grid = dataclasses.replace(GRID, matrix=64)
  dx = grid.voxel_mm[0]
  lesions = {"count": 4, "radius_mm": 9.0, "t1_ms": 1200.0, "t2_ms": 200.0}
  options = {**PHANTOM, "head": RIGID, "lesions": lesions}
  poses = np.tile(np.eye(4), (grid.n_slices, 1, 1))
  poses[:, 0, 3] = dx
  at_rest = make_phantom(np.random.default_rng(0), grid, **options)
  lesions = {**lesions, "centres_mm": at_rest.lesions.centres_mm}
  there = make_phantom(
    np.random.default_rng(0),
    grid,
    **{**options, "lesions": lesions},
    poses=poses,
  )
  before, after = (np.zeros(at_rest.anatomy.mask.shape) for _ in range(2))
  before[at_rest.anatomy.mask] = at_rest.lesions.share
  after[there.anatomy.mask] = there.lesions.share
  assert before.sum() > 20
  np.testing.assert_allclose(after, np.roll(before, 1, 2), atol=0.02)


def test_a_moving_head_keeps_its_lesions():
  motion = {**STILL, "between_scans_mm": 1.0}
  lesions = {"count": 3, "radius_mm": 12.0, "t1_ms": 1200.0, "t2_ms": 200.0}
  phantom = {**PHANTOM, "lesions": lesions}
  there, at_rest = _in_both_scans(
    np.random.default_rng(3), GRID, phantom, motion
  )
  assert there.lesions.share.shape == at_rest.lesions.share.shape
  np.testing.assert_array_equal(
    there.lesions.centres_mm, at_rest.lesions.centres_mm
  )
  both = np.minimum(there.lesions.share, at_rest.lesions.share).sum()
  assert both > 0.5 * at_rest.lesions.share.sum() > 0


def test_tissue_and_fields_move_with_the_head():
  """Of a warped head, too; at the edges of tissue, interpolation smooths."""
  dx = GRID.voxel_mm[0]

  def values(poses):
    phantom = make_phantom(
      np.random.default_rng(0), GRID, **PHANTOM, poses=poses
    )
    volumes = np.zeros((3, *phantom.anatomy.mask.shape), np.float32)
    volumes[:, phantom.anatomy.mask] = [
      phantom.tissues["wm"].t1_ms,
      phantom.tissues["csf"].pd,
      phantom.b1,
    ]
    return volumes

  there, expected = (
    values(pose(shift_mm=(dx, 0, 0))),
    np.roll(values(None), 1, 3),
  )
  both = (there != 0) & (expected != 0)
  assert both.mean() > 0.9 * (expected != 0).mean()
  np.testing.assert_allclose(there[both], expected[both], rtol=1e-4)


def test_poses_scatter_as_asked_for():
  options = {**STILL, "between_scans_mm": 2.0, "between_slices_deg": 3.0}
  poses = np.concatenate(
    [
      random_poses(np.random.default_rng(seed), GRID, **options)
      for seed in range(300)
    ]
  ).reshape(300, 3, 4, 4)
  np.testing.assert_allclose(
    poses[..., :3, :3] @ poses[..., :3, :3].swapaxes(-1, -2),
    np.broadcast_to(np.eye(3), (300, 3, 3, 3)),
    atol=1e-12,
  )
  turn = np.rad2deg(np.arccos((np.trace(poses, axis1=2, axis2=3) - 2) / 2))
  # Of three normal angles: the root of the mean square is √3 times each.
  assert np.sqrt(np.mean(turn**2)) == pytest.approx(3 * 3**0.5, rel=0.1)
  centre = np.array([0.0, -18.0, 8.0])
  shift = poses[..., :3, :3] @ centre + poses[..., :3, 3] - centre
  assert shift.std() == pytest.approx(2.0, rel=0.1)
  # The shift between scans is one for all slices.
  np.testing.assert_allclose(shift, shift[:, :1].repeat(3, 1), atol=1e-9)


def test_no_motion_is_a_head_at_rest():
  poses = random_poses(np.random.default_rng(0), GRID, **STILL)
  np.testing.assert_array_equal(poses, np.tile(np.eye(4), (3, 1, 1)))
  points = GRID.points_mm()
  assert moved(points, None) is points
  np.testing.assert_allclose(moved(points, poses), points, atol=1e-4)


def test_both_scans_have_the_same_voxels_and_later_streams():
  phantom = {**PHANTOM, "head": HEAD}
  rng, other = (np.random.default_rng(3) for _ in range(2))
  still, same = _in_both_scans(rng, GRID, phantom, None)
  assert still is same
  there, at_rest = _in_both_scans(
    other, GRID, phantom, {**STILL, "between_scans_mm": 4.0}
  )
  np.testing.assert_array_equal(there.anatomy.mask, at_rest.anatomy.mask)
  kept = at_rest.anatomy.mask[still.anatomy.mask]
  assert 0.5 < kept.mean() < 1
  np.testing.assert_array_equal(at_rest.fractions, still.fractions[:, kept])
  assert np.abs(there.fractions - at_rest.fractions).mean() > 0.01
  for one, two in zip(rng.spawn(2), other.spawn(2), strict=True):
    assert one.random() == two.random()


def test_motion_beyond_the_field_of_view_is_refused():
  with pytest.raises(UserError, match="beyond the field of view of 256 mm"):
    random_poses(
      np.random.default_rng(0), GRID, **{**STILL, "between_scans_mm": 200.0}
    )


def test_a_copy_of_a_generator_spawns_the_same_streams():
  """What `_in_both_scans` relies on."""
  rng = np.random.default_rng([5, 1])
  rng.spawn(2)
  again = copy.deepcopy(rng)
  assert rng.spawn(1)[0].random() == again.spawn(1)[0].random()
