"""Slice numbers and affine of ISMRMRD headers."""

import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.io.ismrmrd_geometry import (
  affine_of_slices,
  find_slices,
  image_grid,
)
from mrf_jax.io.ismrmrd_header import Encoding

FIELDS = [
  ("position", "<f4", (3,)),
  ("read_dir", "<f4", (3,)),
  ("phase_dir", "<f4", (3,)),
  ("slice_dir", "<f4", (3,)),
  ("idx", [("slice", "<u2")]),
]
SIZE = {"fov_mm": (220.0, 200.0, 5.0), "matrix": (110, 80, 1)}


def affine_of(headers, **size):
  grid = image_grid(Encoding(**(size or SIZE)))
  return affine_of_slices(headers, find_slices(headers), grid)


def numbers_of(headers):
  return find_slices(headers).numbers


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
  affine = affine_of(headers)
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
  backwards = affine_of(heads(spacing=-6.0))
  forwards = affine_of(headers)
  np.testing.assert_allclose(backwards[:3, 2], -forwards[:3, 2], rtol=1e-5)


def test_single_slice_fills_the_fov():
  affine = affine_of(heads(n_slices=1))
  assert np.linalg.norm(affine[:3, 2]) == pytest.approx(5.0)


def test_headers_without_positions():
  headers = heads()
  assert affine_of(headers, matrix=SIZE["matrix"]) is None
  fields = [name for name in headers.dtype.names if name != "read_dir"]
  assert affine_of(headers[fields]) is None
  for name in ("read_dir", "phase_dir", "slice_dir"):
    headers[name] = 0
  assert affine_of(headers) is None
  np.testing.assert_array_equal(
    numbers_of(headers[["position"]]), np.tile(np.arange(3), 4)
  )
  assert not numbers_of(headers[["read_dir"]]).any()


def test_repetitions_counted_as_slices():
  headers = heads(n_slices=5, per_slice=1, spacing=0.0)
  assert not numbers_of(headers).any()
  apart = numbers_of(heads(n_slices=5, per_slice=1))
  np.testing.assert_array_equal(apart, np.arange(5))


def test_positions_that_make_no_volume():
  headers = heads()
  headers["position"][headers["idx"]["slice"] == 2] += 3
  with pytest.raises(UserError, match="not equally spaced"):
    affine_of(headers)
  headers = heads()
  headers["phase_dir"] = 1, 0, 0
  with pytest.raises(UserError, match="right angles"):
    affine_of(headers)
  headers["phase_dir"] = np.nan
  with pytest.raises(UserError, match="right angles"):
    affine_of(headers)
  headers = heads()
  headers["read_dir"][3:] = 0, 0, 1
  with pytest.raises(UserError, match="several directions"):
    affine_of(headers)


def test_slices_numbered_in_the_order_of_time():
  headers = heads(n_slices=5)
  # Odd positions first: 0, 2, 4, 1, 3.
  in_time = np.array([0, 3, 1, 4, 2])
  numbers = headers["idx"]["slice"].copy()
  headers["idx"]["slice"] = in_time[numbers]
  slices = find_slices(headers)
  np.testing.assert_array_equal(slices.numbers, numbers)
  assert "of their positions, not of their numbers" in slices.notes[0]
  np.testing.assert_allclose(affine_of(headers), affine_of(heads(5)))


def test_slices_without_numbers():
  headers = heads(n_slices=3)
  numbers = headers["idx"]["slice"].copy()
  headers["idx"]["slice"] = 0
  np.testing.assert_array_equal(numbers_of(headers), numbers)
  # Numbers that count something else, such as frames.
  headers["idx"]["slice"] = np.arange(len(headers)) // 3
  np.testing.assert_array_equal(numbers_of(headers), numbers)


def test_slices_without_positions():
  headers = heads(n_slices=3, spacing=0.0)
  headers["idx"]["slice"] *= 2
  slices = find_slices(headers)
  assert not slices.placed
  np.testing.assert_array_equal(np.unique(slices.numbers), [0, 1, 2])
  assert affine_of(headers) is None


def test_slice_at_several_positions():
  headers = heads(n_slices=2)
  headers["position"][0, 0] += 3
  with pytest.raises(UserError, match="slice 0 has acquisitions at several"):
    affine_of(headers)


@pytest.mark.parametrize(
  ("encoded", "recon", "matrix", "voxel_mm"),
  [
    # Oversampling by two along the readout: voxels of the same size.
    ((256, 128, 512, 256), (128, 128, 256, 256), (128, 128), 2.0),
    # Zero filling: the images keep the encoded voxels.
    ((128, 128, 256, 256), (256, 256, 256, 256), (128, 128), 2.0),
    # Both.
    ((256, 256, 512, 512), (256, 256, 256, 256), (128, 128), 2.0),
    # KomaMRI rounds to an even number.
    ((99, 99, 230, 230), (100, 100, 230, 230), (100, 100), 2.3),
    ((96, 96, 256, 256), (96, 96, 256, 256), (96, 96), 256 / 96),
  ],
)
def test_images_of_encoded_and_reconstruction_space(
  encoded, recon, matrix, voxel_mm
):
  grid = image_grid(
    Encoding(
      encoded_matrix=(*encoded[:2], 1),
      encoded_fov_mm=(*encoded[2:], 5.0),
      matrix=(*recon[:2], 1),
      fov_mm=(*recon[2:], 5.0),
    )
  )
  assert grid.matrix == (*matrix, 1)
  np.testing.assert_allclose(grid.voxel_mm, [voxel_mm, voxel_mm, 5])
  assert grid.encoded_matrix == encoded[:2]
  same = matrix == recon[:2]
  assert same or "the scan encodes 128 × 128" in grid.notes[0]


def test_spaces_that_cannot_be_told_apart():
  sizes = {"encoded_matrix": (256, 256, 1), "matrix": (128, 128, 1)}
  with pytest.raises(UserError, match="one of them no field of view"):
    image_grid(Encoding(**sizes, fov_mm=(220.0, 220.0, 5.0)))
  assert image_grid(Encoding(encoded_matrix=(64, 64, 1))).matrix == (64, 64, 1)
  assert image_grid(Encoding()) is None
