"""B1 maps: of the scan's voxels or resampled, and files that are none."""

import dataclasses

import nibabel
import numpy as np
import pytest

from mrf_jax import UserError, load_subject, save_subject
from mrf_jax.dataset.identity import identify
from mrf_jax.importing.b1 import with_b1
from mrf_jax.importing.places import Grid
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from tests.dataset.examples import make_subject

SHAPE = (12, 10, 4)  # x, y, slice
AFFINE = np.array(
  [[2.0, 0, 0, -9], [0, 2.0, 0.3, 4], [0, 0, 5.0, 1], [0, 0, 0, 1]]
)
FAR = AFFINE + np.array([[0, 0, 0, 500], *np.zeros((3, 4))])
GRID = Grid(SHAPE, AFFINE, path="scan.h5")
# Smooth, without any symmetry.
X, Y, Z = np.indices(SHAPE)
B1 = (0.8 + 0.02 * X + 0.01 * Y + 0.03 * Z).astype(np.float32)


def make_scan():
  mask = np.zeros(SHAPE[::-1], bool)
  mask[1:3, 2:8, 3:9] = True
  return make_subject(mask, Acquisition(tailored(20), window=4), affine=AFFINE)


def written(path, values, affine=AFFINE):
  nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), affine), path)
  return path


def test_a_map_of_the_scans_voxels(tmp_path):
  scan = make_scan()
  path = written(tmp_path / "b1.nii.gz", B1)
  found, said = with_b1(scan, path, GRID)
  np.testing.assert_array_equal(found.b1, B1.T[scan.mask])
  low, high = found.b1.min(), found.b1.max()
  middle = np.median(found.b1)
  assert said == [f"B1 by {path}: {low:.3g} to {high:.3g}, median {middle:.3g}"]
  assert found.provenance.endswith(said[-1])
  save_subject(found, tmp_path / "scan.h5")
  again = load_subject(tmp_path / "scan.h5")
  np.testing.assert_array_equal(again.b1, found.b1)
  # Results may depend on it.
  assert identify(again).differences(identify(scan)) == ["b1"]


def test_a_coarser_map_is_resampled(tmp_path):
  scan = make_scan()
  coarse = AFFINE @ np.diag([2.0, 2.0, 1.0, 1.0])
  path = written(tmp_path / "b1.nii.gz", B1[::2, ::2], coarse)
  found, said = with_b1(scan, path, GRID)
  # Linear in the voxels' numbers.
  np.testing.assert_allclose(found.b1, B1.T[scan.mask], atol=1e-5)
  assert "resampled to the scan (linear)" in said[0]


def with_hole(values):
  values = values.copy()
  values[5, 4, 1] = np.nan
  return values


@pytest.mark.parametrize(
  ("change", "affine", "words"),
  [
    (lambda v: 100 * v, AFFINE, "median B1 in the mask is 100.* not per cent"),
    (
      with_hole,
      AFFINE,
      r"1 of 72 masked voxels .* voxel \[5, 4, 1\]",
    ),
    (lambda v: v - 1, AFFINE, "masked voxels have no B1 above 0"),
    (lambda v: v[:6], AFFINE, "masked voxels have no B1 above 0"),
    (lambda v: v, FAR, "they do not overlap"),
    (lambda v: v[..., None, None].repeat(2, 4), AFFINE, "not .x, y, slice."),
  ],
)
def test_files_that_are_no_such_maps(change, affine, words, tmp_path):
  path = written(tmp_path / "b1.nii.gz", change(B1), affine)
  with pytest.raises(UserError, match=words):
    with_b1(make_scan(), path, GRID)


def test_a_scan_that_has_one(tmp_path):
  path = written(tmp_path / "b1.nii.gz", B1)
  scan, _ = with_b1(make_scan(), path, GRID)
  with pytest.raises(UserError, match=r"scan\.h5 .* has its own B1 map"):
    with_b1(scan, path, GRID)


@pytest.mark.parametrize(
  ("b1", "words"),
  [
    (np.ones(3), "b1 has shape"),
    (np.full(72, np.nan), "b1"),
    (np.zeros(72), "b1 is not above 0"),
  ],
)
def test_subjects_with_another_b1_are_not_written(b1, words, tmp_path):
  scan = dataclasses.replace(make_scan(), b1=b1.astype(np.float32))
  with pytest.raises(UserError, match=words):
    save_subject(scan, tmp_path / "scan.h5")
