"""Import of a scan from files, and files that do not fit."""

import nibabel
import numpy as np
import pytest

from mrf_jax import UserError, load_subject, make_sequence, save_subject
from mrf_jax.importing.scan import align_phases, import_scan
from mrf_jax.importing.series import open_series
from mrf_jax.sequence.acquisition import Acquisition

SHAPE = (16, 18, 3)
N_FRAMES = 10
AFFINE = np.array(
  [[0, 2.0, 0, -15], [-2.0, 0, 0.5, 17], [0, 0.1, 5.0, -9], [0, 0, 0, 1]]
)
SEQUENCE = make_sequence(np.full(N_FRAMES, 30.0), 12.0, 2.0)
OPTIONS = {"name": "A", "field_strength_t": 1.5}
UNITS = {"t1_ms": "s", "t2_ms": "ms"}
X, Y, Z = np.indices(SHAPE)
INSIDE = (X - 6) ** 2 + (Y - 8) ** 2 + 3 * (Z - 1) ** 2 < 30
MASK = INSIDE.swapaxes(0, 2)  # [slice, y, x]


@pytest.fixture
def files(tmp_path):
  """A series, a mask and maps, T1 in seconds."""
  rng = np.random.default_rng(0)
  noise = rng.standard_normal((*SHAPE, N_FRAMES, 2)).view(complex)[..., 0]
  curve = (1 - 1.8 * np.exp(-np.arange(N_FRAMES) / 3)) * np.exp(0.4j)
  images = INSIDE[..., None] * curve + 0.02 * noise
  volumes = {
    "scan": images.astype(np.complex64),
    "mask": INSIDE.astype(np.uint8),
    "pd": rng.uniform(0.5, 1, SHAPE).astype(np.float32),
    "t1_ms": rng.uniform(0.6, 1.2, SHAPE).astype(np.float32),
    "t2_ms": rng.uniform(50, 120, SHAPE).astype(np.float32),
  }
  paths = {name: tmp_path / f"{name}.nii.gz" for name in volumes}
  for name, values in volumes.items():
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), paths[name])
  return paths, volumes


def run(paths, **options):
  series = open_series(paths["scan"])
  maps = {name: paths[name] for name in ("pd", "t1_ms", "t2_ms")}
  given = {"mask_path": paths["mask"], "map_paths": maps, "units": UNITS}
  options = given | options
  acquisition = Acquisition(SEQUENCE)
  return import_scan(series, series.place, acquisition, **OPTIONS, **options)


def test_subject_file_has_the_inputs(files, tmp_path):
  paths, volumes = files
  imported = run(paths)
  assert imported.assumptions == (
    "the mask and the bright voxels overlap by 1.00 (Dice)",
  )
  save_subject(imported.subject, tmp_path / "a.h5")
  subject = load_subject(tmp_path / "a.h5")
  expected = {
    name: values.swapaxes(0, 2)[MASK] for name, values in volumes.items()
  }
  np.testing.assert_array_equal(subject.mask, MASK)
  np.testing.assert_array_equal(subject.signals, expected["scan"])
  t1_ms = 1000 * expected["t1_ms"]
  np.testing.assert_allclose(subject.maps.t1_ms, t1_ms, rtol=1e-6)
  np.testing.assert_allclose(subject.maps.t2_ms, expected["t2_ms"], rtol=1e-6)
  np.testing.assert_allclose(subject.affine, AFFINE, atol=1e-5)
  assert subject.provenance.startswith(f"imported from {paths['scan']}")


def test_without_mask_and_maps(files):
  paths, _ = files
  imported = run(paths, mask_path=None, map_paths=None)
  assert imported.subject.maps is None
  (sentence,) = imported.assumptions
  assert "no mask" in sentence and sentence in imported.subject.provenance
  wrong = imported.subject.mask ^ MASK
  assert np.count_nonzero(wrong) < 0.15 * np.count_nonzero(MASK)


def test_maps_and_mask_of_another_grid(files):
  paths, volumes = files
  finer = AFFINE @ np.diag([0.5, 0.5, 1, 1])
  finer[:3, 3] = AFFINE[:3, 3] - 0.25 * (AFFINE[:3, 0] + AFFINE[:3, 1])
  for name in ("mask", "t1_ms"):
    doubled = volumes[name].repeat(2, 0).repeat(2, 1)
    nibabel.save(nibabel.Nifti1Image(doubled, finer), paths[name])
  imported = run(paths)
  np.testing.assert_array_equal(imported.subject.mask, MASK)
  t1_ms = 1000 * volumes["t1_ms"].swapaxes(0, 2)[MASK]
  np.testing.assert_allclose(imported.subject.maps.t1_ms, t1_ms, rtol=1e-4)
  assert sum("resampled" in s for s in imported.assumptions) == 2


def test_voxels_without_a_valid_map(files):
  paths, volumes = files
  volumes["t1_ms"][6, 8, 1] = np.nan
  volumes["t1_ms"][7, 8, 1] = 0
  nibabel.save(nibabel.Nifti1Image(volumes["t1_ms"], AFFINE), paths["t1_ms"])
  with pytest.raises(UserError, match=r"2 of .*no valid t1_ms.*\[6, 8, 1\]"):
    run(paths)
  imported = run(paths, leave_out_invalid=True)
  assert imported.subject.n_voxels == np.count_nonzero(MASK) - 2
  assert any("2 of" in sentence for sentence in imported.assumptions)


def test_wrong_unit_is_named(files):
  with pytest.raises(UserError, match=r"--t1_unit=s"):
    run(files[0], units={})


def test_mirrored_mask_is_named(files):
  paths, volumes = files
  mirrored = volumes["mask"][::-1].copy()
  nibabel.save(nibabel.Nifti1Image(mirrored, AFFINE), paths["mask"])
  with pytest.raises(UserError, match="mirrored along x"):
    run(paths)


def test_images_must_fit_the_windows(files):
  series = open_series(files[0]["scan"])
  for window, stride in ((3, 1), (1, 2)):
    acquisition = Acquisition(SEQUENCE, window, stride)
    with pytest.raises(UserError, match="10 images, but 10 frames"):
      import_scan(series, series.place, acquisition, **OPTIONS)


def test_some_maps_are_missing(files):
  paths, _ = files
  with pytest.raises(UserError, match="t2_ms missing"):
    run(paths, map_paths={"pd": paths["pd"], "t1_ms": paths["t1_ms"]})


def test_phases_are_aligned():
  rng = np.random.default_rng(0)
  real = np.sort(rng.normal(size=(50, 40)), 1) + 0.5
  turned = real * np.exp(2j * np.pi * rng.random((50, 1)))
  aligned = align_phases(turned.astype(np.complex64))
  np.testing.assert_allclose(aligned, real, atol=1e-5)
