"""NIfTI files: values, affines, and damaged files."""

import gzip

import nibabel
import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.io.nifti import load_map, read_place, read_volume, save_map
from mrf_jax.runtime.memory import PeakMemory
from tests.faults.edits import cut, flip, patched

# Voxels of 2 x 2 x 5 mm with an origin, turned by 30 degrees about x.
_C, _S = np.cos(np.pi / 6), np.sin(np.pi / 6)
AFFINE = np.array(
  [
    [2, 0, 0, -70],
    [0, 2 * _C, -5 * _S, -90],
    [0, 2 * _S, 5 * _C, -40],
    [0, 0, 0, 1],
  ],
  np.float64,
)
SHAPE = (3, 5, 4)  # [slice, y, x]


@pytest.fixture
def mask():
  return np.random.default_rng(0).random(SHAPE) < 0.5


def test_voxels_come_back_in_order(tmp_path, mask):
  values = np.arange(mask.sum(), dtype=np.float32) + 0.1
  save_map(tmp_path / "t1.nii.gz", values, mask, AFFINE)
  loaded = load_map(tmp_path / "t1.nii.gz", mask)
  assert loaded.dtype == np.float32
  np.testing.assert_array_equal(loaded, values)
  assert [p.name for p in tmp_path.iterdir()] == ["t1.nii.gz"]


def test_voxel_has_its_position(tmp_path):
  s, y, x = 2, 4, 1
  mask = np.zeros(SHAPE, bool)
  mask[s, y, x] = True
  save_map(tmp_path / "t1.nii.gz", np.array([800.0]), mask, AFFINE)
  image = nibabel.load(tmp_path / "t1.nii.gz")
  assert image.shape == SHAPE[::-1]
  (index,) = np.argwhere(image.get_fdata() == 800)
  place_mm = nibabel.affines.apply_affine(image.affine, index)
  expected = (-70 + 2 * x, -90 + 2 * _C * y - 5 * _S * s)
  np.testing.assert_allclose(place_mm[:2], expected, atol=1e-4)
  np.testing.assert_allclose(place_mm[2], -40 + 2 * _S * y + 5 * _C * s)


def test_header_and_background(tmp_path, mask):
  save_map(tmp_path / "t1.nii.gz", np.ones(mask.sum()), mask, AFFINE)
  image = nibabel.load(tmp_path / "t1.nii.gz")
  for get_form in (image.get_qform, image.get_sform):
    affine, code = get_form(coded=True)
    assert code == 1
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)
  assert image.header.get_xyzt_units()[0] == "mm"
  assert image.get_data_dtype() == np.float32
  assert not image.get_fdata()[~mask.transpose(2, 1, 0)].any()


def test_equal_maps_make_equal_files(tmp_path, mask):
  for name in ("a.nii.gz", "b.nii.gz"):
    save_map(tmp_path / name, np.ones(mask.sum()), mask, AFFINE)
  first, second = (p.read_bytes() for p in sorted(tmp_path.iterdir()))
  assert first == second


def test_wrong_number_of_values(tmp_path, mask):
  # A single value would fill the mask silently.
  with pytest.raises(ValueError, match="masked voxels"):
    save_map(tmp_path / "t1.nii.gz", np.ones(1), mask, AFFINE)
  assert not list(tmp_path.iterdir())


def test_missing_file(tmp_path, mask):
  with pytest.raises(UserError, match=r"t1\.nii\.gz: no such file"):
    load_map(tmp_path / "t1.nii.gz", mask)


def to_text(path):
  path.write_text("not a volume")


def to_nothing(path):
  path.write_text("")


@pytest.mark.parametrize("damage", [cut, flip, to_text, to_nothing])
def test_damaged_file(tmp_path, damage):
  path = tmp_path / "t1.nii.gz"
  mask = np.ones((8, 16, 16), bool)
  values = np.random.default_rng(0).random(mask.sum())
  save_map(path, values, mask, AFFINE)
  damage(path)
  with pytest.raises(UserError, match=r"t1\.nii\.gz: damaged"):
    load_map(path, mask)


def test_other_shape(tmp_path, mask):
  path = tmp_path / "t1.nii.gz"
  save_map(path, np.ones(mask.sum()), mask, AFFINE)
  with pytest.raises(UserError, match=r"t1\.nii\.gz.*\(4, 5, 3\)"):
    load_map(path, np.ones((3, 4, 5), bool))


def test_header_that_claims_too_much(tmp_path):
  path = tmp_path / "a.nii"
  image = nibabel.Nifti1Image(np.zeros((4, 4, 2), np.float32), np.eye(4))
  nibabel.save(image, path)
  # dim[1] and dim[2] of the header.
  patched(42, np.array([30_000, 30_000], "<i2").tobytes())(path)
  with pytest.raises(UserError, match=r"claims the shape \(30000, 30000, 2\)"):
    read_volume(path)


def volume(path, offset=None):
  """Writes scaled numbers of 16 bits, with another offset if one is given."""
  values = np.random.default_rng(0).normal(size=SHAPE[::-1])
  image = nibabel.Nifti1Image(values, AFFINE)
  image.set_data_dtype(np.int16)
  nibabel.save(image, path)
  if offset is not None:
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[108:112] = np.float32(offset).tobytes()
    path.write_bytes(gzip.compress(data))
  return path


@pytest.mark.parametrize("offset", [0, 100, 348, 351])
def test_values_begin_after_the_header(offset, tmp_path):
  sound = nibabel.load(volume(tmp_path / "a.nii.gz"))
  values, image = read_volume(volume(tmp_path / "b.nii.gz", offset))
  np.testing.assert_array_equal(values, sound.get_fdata(dtype=np.float32))
  np.testing.assert_array_equal(image.affine, sound.affine)
  assert image.get_data_dtype() == np.int16


@pytest.mark.parametrize("offset", [-1, np.nan, np.inf, 1e9])
def test_offsets_that_are_not_valid(offset, tmp_path):
  path = volume(tmp_path / "a.nii.gz", offset)
  for reader in (read_volume, read_place):
    with pytest.raises(UserError, match=r"a\.nii\.gz"):
      reader(path)


def refused_unread(path, words):
  """Asserts that a volume is an error before its values take memory."""
  with PeakMemory() as memory, pytest.raises(UserError, match=words):
    read_volume(path)
  assert memory.peak_bytes < 1 << 26


def test_bytes_after_the_values(tmp_path):
  path = volume(tmp_path / "a.nii.gz")
  expected, _ = read_volume(path)
  data = path.read_bytes()
  path.write_bytes(data + gzip.compress(bytes(1000)))
  np.testing.assert_array_equal(read_volume(path)[0], expected)
  # 512 MiB in half a megabyte.
  path.write_bytes(data + 8 * gzip.compress(bytes(1 << 26)))
  refused_unread(path, "more than 1,048,576 bytes follow")


def test_endless_volume_is_an_error(tmp_path):
  """1.5 GiB of zeros in 1.6 MB, which is also what the header claims."""
  path = tmp_path / "a.nii.gz"
  header = nibabel.Nifti1Header()
  header.set_data_dtype(np.uint8)
  header.set_data_shape((1024, 1024, 1536))
  header.set_sform(AFFINE, 1)
  header.set_data_offset(352)
  packed = gzip.compress(header.binaryblock + bytes(4))
  path.write_bytes(packed + 24 * gzip.compress(bytes(1 << 26)))
  refused_unread(path, "at most 134,217,728 values are read")
  assert read_place(path)[0] == (1024, 1024, 1536)


def test_affine_without_the_values(tmp_path):
  path = volume(tmp_path / "a.nii.gz")
  path.write_bytes(path.read_bytes()[:-20])
  shape, place = read_place(path)
  assert shape == SHAPE[::-1]
  np.testing.assert_allclose(place.affine, AFFINE, atol=1e-5)
  with pytest.raises(UserError, match="damaged"):
    read_volume(path)
