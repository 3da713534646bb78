"""Maps and masks on another grid, default mask, and plausibility checks."""

import nibabel
import numpy as np
import pytest
import scipy.ndimage

from mrf_jax import Maps, UserError
from mrf_jax.dataset.mask import default_mask
from mrf_jax.importing.overlap import check_mask
from mrf_jax.importing.places import Grid
from mrf_jax.importing.plausible import check_times, check_voxels
from mrf_jax.importing.volumes import read_map, read_mask
from mrf_jax.units import to_ms

# Oblique, with a flipped axis.
TURN = np.deg2rad(20)
AFFINE = np.array(
  [
    [-2 * np.cos(TURN), -2 * np.sin(TURN), 0, 20.0],
    [-2 * np.sin(TURN), 2 * np.cos(TURN), 0, -30.0],
    [0, 0, 5.0, 10.0],
    [0, 0, 0, 1],
  ]
)
GRID = Grid((20, 24, 4), AFFINE)
_MS = {"t1_ms": "ms", "t2_ms": "ms"}


def ramp(affine, shape):
  """A linear function of the RAS position at every voxel."""
  index = np.indices(shape).reshape(3, -1).T
  positions = nibabel.affines.apply_affine(affine, index)
  return (positions @ [3.0, -2.0, 1.0] + 500).reshape(shape).astype(np.float32)


def save(path, values, affine):
  nibabel.save(nibabel.Nifti1Image(values, affine), path)
  return path


def test_same_grid_is_not_resampled(tmp_path):
  values = np.random.default_rng(0).random(GRID.shape, np.float32)
  path = save(tmp_path / "a.nii", values, AFFINE)
  said = []
  volume = read_map(path, GRID, said)
  assert not said
  np.testing.assert_array_equal(volume, values)


@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_other_grid_is_resampled(flips, tmp_path):
  """Linear interpolation is exact for a linear function."""
  shape = (80, 90, 30)
  affine = np.diag([1.5, 1.2, 2.0, 1.0])
  affine[:3, 3] = -60, -60, -10
  values = ramp(affine, shape)
  for axis in flips:
    values = np.flip(values, axis)
    mirror = np.eye(4)
    mirror[axis, axis], mirror[axis, 3] = -1, shape[axis] - 1
    affine = affine @ mirror
  path = save(tmp_path / "a.nii.gz", np.ascontiguousarray(values), affine)
  said = []
  volume = read_map(path, GRID, said)
  assert said == [f"{path}: resampled to the scan (linear)"]
  np.testing.assert_allclose(volume, ramp(AFFINE, GRID.shape), atol=1e-2)


def test_voxels_outside_are_nan(tmp_path):
  values = np.ones((20, 24, 2), np.float32)
  volume = read_map(save(tmp_path / "a.nii", values, AFFINE), GRID, [])
  assert np.isfinite(volume[:, :, :2]).all()
  assert np.isnan(volume[:, :, 2:]).all()


def test_volume_elsewhere_is_refused(tmp_path):
  affine = AFFINE.copy()
  affine[2, 3] += 500
  path = save(tmp_path / "a.nii", np.ones(GRID.shape, np.float32), affine)
  with pytest.raises(UserError, match=r"S 508…528 mm.*do not overlap"):
    read_map(path, GRID, [])


def test_masks(tmp_path):
  values = np.zeros(GRID.shape, np.uint8)
  values[5:15, 6:18, 1:3] = 7
  said = []
  mask = read_mask(save(tmp_path / "m.nii", values, AFFINE), GRID, said)
  assert len(said) == 1 and "7 is inside" in said[0]
  np.testing.assert_array_equal(mask, values.transpose(2, 1, 0) > 0)
  path = save(tmp_path / "n.nii", values * 0, AFFINE)
  with pytest.raises(UserError, match="no voxels"):
    read_mask(path, GRID, [])
  broken = np.where(values > 0, np.nan, 0).astype(np.float32)
  with pytest.raises(UserError, match="NaN"):
    read_mask(save(tmp_path / "o.nii", broken, AFFINE), GRID, [])
  path = save(tmp_path / "p.nii", np.ones((2, 3, 4, 5), "f4"), AFFINE)
  with pytest.raises(UserError, match=r"not \[x, y, slice\]"):
    read_map(path, GRID, [])


def head(shape=(40, 48, 3)):
  """A bright ball with dark fluid in it, above noise, and a bright dot."""
  rng = np.random.default_rng(3)
  x, y, _ = np.indices(shape)
  ball = (x - 16) ** 2 + (y - 26) ** 2 < 12**2
  hole = (x - 16) ** 2 + (y - 26) ** 2 < 3**2
  image = rng.rayleigh(0.02, shape) + ball - 0.97 * hole
  image[37, 5] = 1.0
  return image.astype(np.float32), ball.transpose(2, 1, 0)


def test_corners_of_zeros_are_no_background():
  """Beside them noise would be the object."""
  x, y = np.indices((40, 40)) - 19.5
  disc = np.hypot(x, y) < 10
  rng = np.random.default_rng(0)
  image = 0.05 + 0.02 * rng.random((40, 40, 2)) + disc[..., None]
  image[np.hypot(x, y) > 19] = 0
  mask = default_mask(image.astype(np.float32))
  np.testing.assert_array_equal(mask, np.broadcast_to(disc.T, mask.shape))
  # An object on nothing at all is all that is not zero.
  alone = (disc * (0.4 + 0.6 * rng.random((40, 40))))[..., None]
  np.testing.assert_array_equal(
    default_mask(alone.astype(np.float32))[0], disc.T
  )


def test_default_mask_is_the_object():
  image, ball = head()
  mask = default_mask(image)
  assert np.count_nonzero(mask ^ ball) < 0.02 * np.count_nonzero(ball)
  assert not mask[:, 5, 37].any()
  with pytest.raises(UserError, match="shows no object"):
    default_mask(np.zeros((4, 4, 1), np.float32))


@pytest.mark.parametrize(
  ("size", "words"),
  [(0.002, "metres"), (2000.0, "micrometres"), (1e7, "1e\\+07")],
)
def test_implausible_voxel_sizes(size, words):
  check_voxels(np.diag([2.0, 2, 5, 1]))
  with pytest.raises(UserError, match=words):
    check_voxels(np.diag([size, size, size, 1]))


def test_masks_that_do_not_fit():
  image, ball = head()
  bright = default_mask(image)
  check_mask(ball, image, bright)
  with pytest.raises(UserError, match="darker"):
    check_mask(~ball, image, bright)
  with pytest.raises(UserError, match=r"mirrored along x|x and y|y and x"):
    check_mask(np.flip(ball, 2), image, bright)
  dot = np.zeros_like(ball)
  dot[0, 26, 20] = True
  for mask in (dot, np.ones_like(ball)):
    with pytest.raises(UserError, match="of the volume"):
      check_mask(mask, image, bright)


@pytest.mark.parametrize(
  ("t1", "t2", "units", "words"),
  [
    (0.8, 80.0, ("ms", "ms"), r"t1.*0\.8 ms.*800 ms.*--t1_unit=s"),
    (800.0, 0.08, ("ms", "ms"), r"t2.*80 ms.*--t2_unit=s"),
    (800.0, 80.0, ("s", "ms"), r"t1.*800 ms.*--t1_unit=ms"),
    (8e5, 80.0, ("ms", "ms"), r"t1.*800 ms.*--t1_unit=us"),
    (1e9, 80.0, ("ms", "ms"), r"t1.*1e\+09 ms"),
    (80.0, 800.0, ("ms", "ms"), "exchanged"),
    # A map of rates passes for one of times: both are proposed.
    (1.2, 80.0, ("ms", "ms"), r"833\.333 ms if it is 1/s \(a map of R1\)"),
    (0.0012, 80.0, ("ms", "ms"), r"--t1_unit=1/ms\?"),
    (0.8, 12.5, ("s", "s"), r"t2.*12500 ms.*--t2_unit=ms or --t2_unit=1/s\?"),
    (0.8, 12.5, ("s", "ms"), r"only 0\.016 of T1.*--t2_unit=1/s.*If not: "),
    (1.0, 1.2, ("s", "s"), "exchanged. Or are both rates, R1 and R2"),
  ],
)
def test_implausible_times(t1, t2, units, words):
  ones = np.ones(9, np.float32)
  maps = Maps(pd=ones, t1_ms=ones * t1, t2_ms=ones * t2)
  names = ("t1_ms", "t2_ms")
  maps = Maps(ones, to_ms(ones * t1, units[0]), to_ms(ones * t2, units[1]))
  with pytest.raises(UserError, match=words):
    check_times(maps, dict(zip(names, units, strict=True)))
  maps = Maps(pd=ones, t1_ms=ones * 800, t2_ms=ones * 80)
  assert not check_times(maps, _MS)


def test_file_of_an_implausible_map_is_named():
  ones = np.ones(9, np.float32)
  paths = {"pd": "m0.nii", "t1_ms": "r1.nii", "t2_ms": "t2.nii"}
  with pytest.raises(UserError, match=r"^r1\.nii: t1: the median"):
    check_times(Maps(ones, ones, 80 * ones), _MS, paths=paths)


def test_one_rate_beside_one_time():
  """Opposite contrasts, and T2 longer than T1 in fluid."""
  t1_ms = np.repeat(np.float32([700, 1100, 4000]), (50, 45, 5))
  t2_ms = np.repeat(np.float32([70, 90, 2000]), (50, 45, 5))
  pd = np.repeat(np.float32([0.7, 0.8, 1.0]), (50, 45, 5))
  assert not check_times(Maps(pd, t1_ms, t2_ms), _MS)
  for wrong in (
    Maps(pd, 1e6 / t1_ms, t2_ms),
    Maps(pd, t1_ms, 1e3 / t2_ms),
    Maps(pd, 1e6 / t1_ms, 1e3 / t2_ms),
  ):
    with pytest.raises(UserError, match="are one or both maps of rates"):
      check_times(wrong, _MS, stated=("t1_ms", "t2_ms"))


def test_fat_beside_muscle_is_sound():
  """Fat has the shorter T1 and the longer T2."""
  rng = np.random.default_rng(0)
  fat = rng.random(2000) < 0.3
  t1_ms = np.where(fat, 350, 1300) * rng.normal(1, 0.05, 2000)
  t2_ms = np.where(fat, 100, 36) * rng.normal(1, 0.08, 2000)
  (note,) = check_times(Maps(np.ones(2000), t1_ms, t2_ms), _MS)
  assert "t1 falls where t2 rises" in note


@pytest.mark.parametrize(
  ("pd", "words"),
  [
    (72.0, "is 72 (per cent?); errors of PD"),
    (1200.0, "is 1200; errors of PD"),
  ],
)
def test_pd_of_another_scale_is_named(pd, words):
  ones = np.ones(9, np.float32)
  (note,) = check_times(Maps(pd * ones, 800 * ones, 80 * ones), _MS)
  assert words in note


def test_mask_with_exchanged_axes():
  image = np.zeros((24, 24, 4), np.float32)
  image[6:18, 2:20] = 1.0  # x, y, slice
  bright = image.transpose(2, 1, 0) > 0
  assert "overlap by 1.00" in check_mask(bright, image, bright)
  with pytest.raises(UserError, match="x and y are exchanged"):
    check_mask(bright.transpose(0, 2, 1), image, bright)


def layered_head(shape=(64, 64, 12)):
  """Skin, skull and brain; the image and the volumes inside their borders."""
  rng = np.random.default_rng(0)
  x, y, z = np.indices(shape)

  def inside(radius):
    return (
      ((x - 30) / (radius - 4)) ** 2 + ((y - 33) / radius) ** 2 + (z / 16) ** 2
    ) < 1

  skin, skull, brain = inside(27), inside(25), inside(22)
  image = np.where(skin, 1.0, 0.0)
  image[skull], image[brain] = 0.03, 0.6
  image += 0.02 * np.abs(rng.normal(size=shape))
  return image.astype(np.float32), skin, brain, (x, y, z)


def test_masks_that_fit_need_not_be_the_bright_voxels():
  image, skin, brain, (x, y, z) = layered_head()
  bright = default_mask(image)
  wider = scipy.ndimage.binary_dilation(brain, np.ones((3, 3, 1)))
  lesion = brain & (np.hypot(x - 36, y - 40) < 3) & (z > 3) & (z < 6)
  masks = [skin, brain, wider, lesion, brain & (z == 4), brain & (x > 30)]
  for mask in masks:
    said = check_mask(mask.transpose(2, 1, 0), image, bright)
    assert "moved" not in said and "mirrored" not in said


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("steps", [6, -6, 12])
def test_masks_that_are_moved(axis, steps):
  image, skin, brain, _ = layered_head()
  bright = default_mask(image)
  for mask in (skin, brain):
    moved = np.roll(mask, steps, axis).transpose(2, 1, 0)
    with pytest.raises(UserError, match="bright voxels"):
      check_mask(moved, image, bright)
