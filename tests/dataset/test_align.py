import dataclasses

import numpy as np
import pytest

from mrf_jax.dataset.align import nearest_rows, voxel_map
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.sequence import tailored

SHAPE = (4, 9, 8)


def subject(**change):
  rng = np.random.default_rng(0)
  return dataclasses.replace(
    Subject(
      subject="one",
      mask=rng.random(SHAPE) < 0.6,
      signals=None,
      affine=np.diag([2.0, 2.0, 5.0, 1.0]),
      sequence=tailored(20),
      window=4,
      stride=4,
      field_strength_t=1.5,
      provenance="simulated",
      head_to_atlas=np.eye(4),
    ),
    **change,
  )


def turned(degrees=8.0, shift=(3.0, -2.0, 4.0)):
  angle = np.deg2rad(degrees)
  matrix = np.eye(4)
  matrix[:2, :2] = [
    [np.cos(angle), -np.sin(angle)],
    [np.sin(angle), np.cos(angle)],
  ]
  matrix[:3, 3] = shift
  return matrix


def test_a_scan_lies_on_itself():
  one = subject(head_to_atlas=turned())
  voxels = voxel_map(one, one)
  np.testing.assert_allclose(voxels, np.eye(4), atol=1e-12)
  rows = nearest_rows(one.mask, voxels, shape=SHAPE)
  np.testing.assert_array_equal(rows[one.mask], np.arange(one.mask.sum()) + 1)
  assert not rows[~one.mask].any()


def test_a_shift_in_mm_moves_by_voxels():
  one = subject()
  voxels = voxel_map(one, one, shift_mm=(2.0, -4.0, 5.0))
  rows = nearest_rows(one.mask, voxels, shape=SHAPE)
  own = nearest_rows(one.mask, np.eye(4), shape=SHAPE)
  # Voxel (x, y, slice) reads (x + 1, y − 2, slice + 1).
  np.testing.assert_array_equal(rows[:-1, 2:, :-1], own[1:, :-2, 1:])
  assert not rows[-1].any()
  assert not rows[:, :2].any()


def test_known_heads_meet_in_the_atlas():
  one, two = subject(), subject(head_to_atlas=turned(), subject="two")
  there, back = voxel_map(one, two), voxel_map(two, one)
  np.testing.assert_allclose(there @ back, np.eye(4), atol=1e-9)
  point = np.array([3.0, 5.0, 2.0, 1.0])
  in_atlas = [
    head.head_to_atlas @ head.affine @ voxel
    for head, voxel in ((one, point), (two, there @ point))
  ]
  np.testing.assert_allclose(*in_atlas, atol=1e-9)
  np.testing.assert_allclose(voxel_map(one, two, known=False), np.eye(4))


def test_scans_without_an_atlas_keep_their_scanner_positions():
  moved = np.diag([2.0, 2.0, 5.0, 1.0])
  moved[0, 3] = 4.0
  one = subject(head_to_atlas=None)
  two = subject(head_to_atlas=None, affine=moved)
  np.testing.assert_allclose(voxel_map(one, two)[:3, 3], [-2, 0, 0])


def test_a_head_without_its_position_is_named():
  with pytest.raises(UserError, match="two: its position"):
    voxel_map(subject(), subject(subject="two", head_to_atlas=None))
  with pytest.raises(UserError, match="two: its affine cannot"):
    voxel_map(subject(), subject(subject="two", affine=np.zeros((4, 4))))
