import dataclasses

import numpy as np
import pytest

from mrf_jax.dataset.align import nearest_rows, voxel_map
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import make_sequence
from tests.dataset.examples import make_subject

SHAPE = (6, 20, 24)


def turn(angles_deg, shift_mm, scale=1.0) -> np.ndarray:
  """Rotations about x, y, z, then a shift, [4, 4]."""
  affine = np.eye(4)
  for axis, angle in enumerate(np.deg2rad(angles_deg)):
    i, j = [k for k in range(3) if k != axis]
    step = np.eye(4)
    step[i, i] = step[j, j] = np.cos(angle)
    step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
    affine = step @ affine
  affine[:3, :3] *= scale
  affine[:3, 3] = shift_mm
  return affine


def subject(**changes) -> Subject:
  """A scan without signals, turned and shifted against the atlas."""
  affine = np.diag([2.0, 2.0, 5.0, 1.0])
  affine[:3, 3] = -23, -19, -12
  sequence = make_sequence(np.linspace(5, 70, 20), 14.0, 2.0)
  fields = {
    "mask": np.random.default_rng(0).random(SHAPE) < 0.7,
    "acquisition": Acquisition(sequence, window=6, stride=2),
    "signals": None,
    "affine": affine,
    "head_to_atlas": turn((5, -3, 4), (2, -1, 3), 1.05),
  }
  return make_subject(**{**fields, **changes})


def test_scan_is_aligned_with_itself():
  scan = subject()
  voxels = voxel_map(scan, scan)
  np.testing.assert_allclose(voxels, np.eye(4), atol=1e-12)
  rows = nearest_rows(scan.mask, voxels, shape=SHAPE)
  assert rows.dtype == np.int32
  np.testing.assert_array_equal(rows > 0, scan.mask)
  np.testing.assert_array_equal(rows[scan.mask], np.arange(scan.n_voxels) + 1)


def test_shift_by_whole_voxels():
  scan = subject(head_to_atlas=None)
  # The fixed grid finds voxels further along x and slice, and back along y.
  voxels = voxel_map(scan, scan, shift_mm=(4.0, -6.0, 5.0))
  np.testing.assert_allclose(voxels[:3, 3], (2, -3, 1), atol=1e-12)
  rows = nearest_rows(scan.mask, voxels, shape=SHAPE)
  table = nearest_rows(scan.mask, np.eye(4), shape=SHAPE)
  expected = np.zeros(SHAPE, np.int32)
  expected[:-1, 3:, :-2] = table[1:, :-3, 2:]
  np.testing.assert_array_equal(rows, expected)


def test_grids_of_different_size_and_voxels():
  fixed = subject(head_to_atlas=None)
  fine = fixed.affine @ np.diag([0.5, 0.5, 1.0, 1.0])
  mask = np.ones((6, 40, 48), bool)
  moving = subject(head_to_atlas=None, affine=fine, mask=mask)
  rows = nearest_rows(mask, voxel_map(fixed, moving), shape=SHAPE)
  table = np.arange(1, mask.size + 1).reshape(mask.shape)
  np.testing.assert_array_equal(rows, table[:, ::2, ::2])


def test_turned_heads_meet_in_atlas():
  fixed = subject()
  moving = subject(head_to_atlas=turn((-4, 6, -8), (-5, 4, 1), 0.97))
  voxels, inverse = voxel_map(fixed, moving), voxel_map(moving, fixed)
  np.testing.assert_allclose(inverse @ voxels, np.eye(4), atol=1e-12)
  mask = np.ones(SHAPE, bool)
  rows = nearest_rows(mask, voxels, shape=SHAPE)
  assert 0.5 < (rows > 0).mean() < 1
  z, y, x = np.nonzero(rows)
  nearest = np.unravel_index(rows[rows > 0] - 1, SHAPE)[::-1]
  ones = np.ones(len(x))
  fixed_mm = fixed.head_to_atlas @ fixed.affine @ np.stack([x, y, z, ones])
  to_atlas = moving.head_to_atlas @ moving.affine
  nearest_mm = to_atlas @ np.stack([*nearest, ones])
  distance = (np.linalg.inv(to_atlas) @ (fixed_mm - nearest_mm))[:3]
  assert np.abs(distance).max() <= 0.5 + 1e-9


def test_scanner_positions_without_atlas():
  fixed = subject()
  moving = subject(head_to_atlas=turn((-4, 6, -8), (-5, 4, 1)))
  voxels = voxel_map(fixed, moving, known=False)
  np.testing.assert_allclose(voxels, np.eye(4), atol=1e-12)
  heads = (dataclasses.replace(s, head_to_atlas=None) for s in (fixed, moving))
  np.testing.assert_array_equal(voxel_map(*heads), voxels)


@pytest.mark.parametrize("name", ["affine", "head_to_atlas"])
@pytest.mark.parametrize("role", [0, 1])
@pytest.mark.parametrize(
  ("matrix", "message"),
  [
    (np.eye(3), r"not \(4, 4\)"),
    (np.diag([1.0, 0, 1, 1]), "not an invertible affine"),
    (np.diag([1.0, np.nan, 1, 1]), "1 values are NaN"),
  ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_affines_are_refused(name, role, matrix, message):
  scans = [subject(), subject()]
  scans[role] = subject(**{"subject": "the-bad-one", name: matrix})
  with pytest.raises(UserError, match=f"the-bad-one: {name}.*{message}"):
    voxel_map(*scans)


@pytest.mark.parametrize("role", [0, 1])
def test_one_known_position_is_not_enough(role):
  scans = [subject(), subject()]
  scans[role] = subject(subject="the-lost-one", head_to_atlas=None)
  with pytest.raises(UserError, match=r"the-lost-one: .* not known"):
    voxel_map(*scans)
  assert voxel_map(*scans, known=False).shape == (4, 4)
