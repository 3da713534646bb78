"""Slices of ISMRMRD headers, and where their voxels lie."""

import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.io.ismrmrd_geometry import affine_of_slices, slice_numbers

FIELDS = [
  ("position", "<f4", (3,)),
  ("read_dir", "<f4", (3,)),
  ("phase_dir", "<f4", (3,)),
  ("slice_dir", "<f4", (3,)),
  ("idx", [("slice", "<u2")]),
]
SIZE = {"fov_mm": (220.0, 200.0, 5.0), "matrix": (110, 80, 1)}


def heads(n_slices=3, per_slice=4, spacing=6.0):
  """Oblique slices, acquired one after another."""
  found = np.zeros(n_slices * per_slice, FIELDS)
  turn = np.deg2rad(30)
  found["read_dir"] = 1, 0, 0
  found["phase_dir"] = 0, np.cos(turn), np.sin(turn)
  found["slice_dir"] = 0, -np.sin(turn), np.cos(turn)
  numbers = np.tile(np.arange(n_slices), per_slice)
  found["idx"]["slice"] = numbers
  along = found["slice_dir"] * (spacing * numbers[:, None])
  found["position"] = np.array([5.0, -7.0, 11.0]) + along
  return found


def test_the_position_is_the_middle_of_a_slice():
  found = heads()
  affine = affine_of_slices(found, **SIZE)
  for number in range(3):
    place = affine @ [55, 40, number, 1]
    position = found["position"][found["idx"]["slice"] == number][0]
    # Left and posterior are positive there.
    np.testing.assert_allclose(place[:3], position * [-1, -1, 1], atol=1e-4)
  steps = np.linalg.norm(affine[:3, :3], axis=0)
  np.testing.assert_allclose(steps, [2, 2.5, 6], rtol=1e-5)
  np.testing.assert_allclose(affine[:3, 0], [-2, 0, 0], atol=1e-6)


def test_the_order_of_the_numbers_is_that_of_the_slices():
  found = heads()
  backwards = affine_of_slices(heads(spacing=-6.0), **SIZE)
  forwards = affine_of_slices(found, **SIZE)
  np.testing.assert_allclose(backwards[:3, 2], -forwards[:3, 2], rtol=1e-5)


def test_a_single_slice_is_as_thick_as_the_field_of_view():
  affine = affine_of_slices(heads(n_slices=1), **SIZE)
  assert np.linalg.norm(affine[:3, 2]) == pytest.approx(5.0)


def test_headers_without_places():
  found = heads()
  assert affine_of_slices(found, fov_mm=None, matrix=SIZE["matrix"]) is None
  fields = [name for name in found.dtype.names if name != "read_dir"]
  assert affine_of_slices(found[fields], **SIZE) is None
  for name in ("read_dir", "phase_dir", "slice_dir"):
    found[name] = 0
  assert affine_of_slices(found, **SIZE) is None
  assert not slice_numbers(found[["position"]]).any()


def test_repetitions_that_are_counted_as_slices():
  found = heads(n_slices=5, per_slice=1, spacing=0.0)
  assert not slice_numbers(found).any()
  apart = slice_numbers(heads(n_slices=5, per_slice=1))
  np.testing.assert_array_equal(apart, np.arange(5))


def test_places_that_make_no_volume():
  found = heads()
  found["position"][found["idx"]["slice"] == 2] += 3
  with pytest.raises(UserError, match="not equally spaced"):
    affine_of_slices(found, **SIZE)
  found = heads()
  found["phase_dir"] = 1, 0, 0
  with pytest.raises(UserError, match="right angles"):
    affine_of_slices(found, **SIZE)
  found = heads()
  found["read_dir"][3:] = 0, 0, 1
  with pytest.raises(UserError, match="several directions"):
    affine_of_slices(found, **SIZE)
