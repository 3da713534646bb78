"""A radial MRF scan of a BrainWeb slice, simulated by KomaMRI.

Folder `MRF_VALIDATION_DATA/koma` has the raw data, whose acquisition headers
are padded; the schedule; and the labels of the phantom at 0.5 mm. The scan
tests the way from k-space to images; its signals say nothing on T1 and T2.
"""

import json

import nibabel
import numpy as np
import pytest
import scipy.io
import scipy.ndimage

from configs import smoke
from mrf_jax import load_raw_data
from mrf_jax.kspace.density import density_weights
from mrf_jax.stages.reconstruct import reconstruct_files
from tests.kspace.examples import window_images
from tests.stages.conftest import flags

# The header of this file has 0.23, in m; the standard unit is mm.
FOV_MM = 230.0
LABELS_MM = 0.5


@pytest.fixture(scope="module")
def raw(validation_data):
  return load_raw_data(validation_data / "koma/MRF_signal_dtheta23_NTRs500.mrd")


@pytest.fixture(scope="module")
def phases_deg(validation_data):
  """Phase of each RF pulse, which the file stores in eight bits."""
  schedule = scipy.io.loadmat(validation_data / "koma/MRFinput.mat")
  return schedule["PH"].ravel()[:500].astype(float)


def head_mask(validation_data, matrix):
  """Voxels at whose centre the phantom has a label, [y, x]."""
  labels = scipy.io.loadmat(validation_data / "koma/brain2D.mat")["axial"]
  offsets_mm = (np.arange(matrix) - matrix // 2) * FOV_MM / matrix
  y, x = ((size - 1) / 2 + offsets_mm / LABELS_MM for size in labels.shape)
  grid = np.meshgrid(y, x, indexing="ij")
  # The first axis of the labels is y of the trajectory.
  return scipy.ndimage.map_coordinates(
    (labels > 0).astype(float), grid, order=0
  )


def test_scan_with_padded_header(raw):
  assert raw.samples.shape == (500, 1, 100)
  assert raw.matrix == (100, 100, 1)
  assert raw.fov_mm == (0.23, 0.23, 1.0)
  assert raw.vendor == "KomaMRI.jl"
  assert raw.field_strength_t == 1.5
  # One spoke a TR, from edge to edge, turned by π / (golden ratio + 6).
  ends = raw.trajectory[:, -1] @ [1, 1j]
  np.testing.assert_allclose(np.abs(ends), 0.5, rtol=1e-5)
  np.testing.assert_allclose(raw.trajectory[:, 0] @ [1, 1j], -ends, atol=1e-5)
  turn = np.pi / ((1 + np.sqrt(5)) / 2 + 6)
  turns = np.angle(ends[1:] / ends[:-1])
  np.testing.assert_allclose(np.abs(turns), turn, atol=1e-4)


def mean_magnitude(raw, phases_deg, weights):
  """Mean magnitude of all windows of 100 spokes, [y, x]."""
  images = window_images(
    raw.samples,
    raw.trajectory,
    matrix=raw.matrix[0],
    window=100,
    phases_deg=phases_deg,
    weights=weights,
  )
  assert images.shape == (401, 1, *raw.matrix[:2])
  return np.abs(images[:, 0]).mean(0)


def correlation(image, mask):
  return np.corrcoef(image.ravel(), mask.ravel())[0, 1]


def test_windows_show_the_head(raw, phases_deg, validation_data):
  mask = head_mask(validation_data, raw.matrix[0])
  weights = density_weights(raw.trajectory, matrix=raw.matrix[0])
  # 157 spokes would sample the rim of k-space fully. With 100 it is damped,
  # or there are streaks.
  radius = np.linalg.norm(raw.trajectory, axis=-1)
  hann = np.cos(np.pi * radius) ** 2
  image = mean_magnitude(raw, phases_deg, weights * hann)
  damped = correlation(image, mask)
  sharp = correlation(mean_magnitude(raw, phases_deg, weights), mask)
  print(f"correlation with the head mask: {damped:.4f}, undamped {sharp:.4f}")
  assert damped >= 0.8
  assert sharp >= 0.75
  # The head is not transposed, mirrored or shifted by three voxels.
  wrong = [mask.T, mask[::-1]]
  wrong += [
    np.roll(mask, 3 * step, axis) for step in (-1, 1) for axis in (0, 1)
  ]
  assert max(correlation(image, other) for other in wrong) < damped - 0.01


def test_no_head_without_pulse_phases(raw, validation_data):
  mask = head_mask(validation_data, raw.matrix[0])
  assert correlation(mean_magnitude(raw, None, None), mask) < 0.5


def test_reconstruction_with_documented_flags(validation_data, tmp_path):
  folder = validation_data / "koma"
  given = flags(
    model="dictionary_svd",
    config=smoke.get_config(),
    scan=str(folder / "MRF_signal_dtheta23_NTRs500.mrd"),
    schedule=str(folder / "MRFinput.mat"),
    n_frames=500,
    window=100,
    demodulate=True,
    output=str(tmp_path / "maps"),
  )
  reconstruct_files(given)
  record = json.loads((tmp_path / "maps/reconstruction.json").read_text())
  assert record["provenance"].startswith("simulated by KomaMRI.jl")
  assert "the trajectory is in cycles_per_voxel" in record["assumed"]
  t1 = nibabel.load(tmp_path / "maps/t1.nii.gz")
  inside = np.asarray(t1.dataobj)[:, :, 0].T > 0
  head = head_mask(validation_data, 100) > 0.5
  # The first axis of the phantom is mirrored.
  overlaps = [
    (mirrored & head).sum() / (mirrored | head).sum()
    for mirrored in (inside, inside[::-1], inside[:, ::-1], inside[::-1, ::-1])
  ]
  assert max(overlaps) > 0.85
  assert (tmp_path / "maps/overview.png").stat().st_size > 10_000
