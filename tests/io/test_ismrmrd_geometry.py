"""Slice numbers and affine of ISMRMRD headers."""

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
  """Headers of oblique slices, acquired one after another."""
  headers = np.zeros(n_slices * per_slice, FIELDS)
  turn = np.deg2rad(30)
  headers["read_dir"] = 1, 0, 0
  headers["phase_dir"] = 0, np.cos(turn), np.sin(turn)
  headers["slice_dir"] = 0, -np.sin(turn), np.cos(turn)
  numbers = np.tile(np.arange(n_slices), per_slice)
  headers["idx"]["slice"] = numbers
  along = headers["slice_dir"] * (spacing * numbers[:, None])
  headers["position"] = np.array([5.0, -7.0, 11.0]) + along
  return headers


def test_position_is_the_slice_centre():
  headers = heads()
  affine = affine_of_slices(headers, **SIZE)
  for number in range(3):
    place = affine @ [55, 40, number, 1]
    position = headers["position"][headers["idx"]["slice"] == number][0]
    # Left and posterior are positive there.
    np.testing.assert_allclose(place[:3], position * [-1, -1, 1], atol=1e-4)
  steps = np.linalg.norm(affine[:3, :3], axis=0)
  np.testing.assert_allclose(steps, [2, 2.5, 6], rtol=1e-5)
  np.testing.assert_allclose(affine[:3, 0], [-2, 0, 0], atol=1e-6)


def test_slice_numbers_order_the_slices():
  headers = heads()
  backwards = affine_of_slices(heads(spacing=-6.0), **SIZE)
  forwards = affine_of_slices(headers, **SIZE)
  np.testing.assert_allclose(backwards[:3, 2], -forwards[:3, 2], rtol=1e-5)


def test_single_slice_fills_the_fov():
  affine = affine_of_slices(heads(n_slices=1), **SIZE)
  assert np.linalg.norm(affine[:3, 2]) == pytest.approx(5.0)


def test_headers_without_positions():
  headers = heads()
  assert affine_of_slices(headers, fov_mm=None, matrix=SIZE["matrix"]) is None
  fields = [name for name in headers.dtype.names if name != "read_dir"]
  assert affine_of_slices(headers[fields], **SIZE) is None
  for name in ("read_dir", "phase_dir", "slice_dir"):
    headers[name] = 0
  assert affine_of_slices(headers, **SIZE) is None
  assert not slice_numbers(headers[["position"]]).any()


def test_repetitions_counted_as_slices():
  headers = heads(n_slices=5, per_slice=1, spacing=0.0)
  assert not slice_numbers(headers).any()
  apart = slice_numbers(heads(n_slices=5, per_slice=1))
  np.testing.assert_array_equal(apart, np.arange(5))


def test_positions_that_make_no_volume():
  headers = heads()
  headers["position"][headers["idx"]["slice"] == 2] += 3
  with pytest.raises(UserError, match="not equally spaced"):
    affine_of_slices(headers, **SIZE)
  headers = heads()
  headers["phase_dir"] = 1, 0, 0
  with pytest.raises(UserError, match="right angles"):
    affine_of_slices(headers, **SIZE)
  headers = heads()
  headers["read_dir"][3:] = 0, 0, 1
  with pytest.raises(UserError, match="several directions"):
    affine_of_slices(headers, **SIZE)
