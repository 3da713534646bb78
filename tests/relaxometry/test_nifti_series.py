"""Maps of NIfTI series against the truth, and files that are not valid."""

import nibabel
import numpy as np
import pytest

from mrf_jax import t2_maps, vfa_t1_maps
from mrf_jax.errors import UserError
from mrf_jax.relaxometry.fits import fit_t2, fit_vfa_t1
from tests.relaxometry.examples import spgr

SHAPE = (6, 7, 5)
FLIPS_DEG = (2.0, 5.0, 12.0, 20.0)
VFA = {"flip_angles_deg": FLIPS_DEG, "tr_ms": 6.0}
TE_MS = (20.0, 40.0, 60.0, 90.0, 140.0)
# Voxels of 1 x 2 x 3 mm with an origin, turned by 30 degrees about x.
_C, _S = np.cos(np.pi / 6), np.sin(np.pi / 6)
AFFINE = np.array(
  [
    [-1, 0, 0, 40],
    [0, 2 * _C, -3 * _S, -90],
    [0, 2 * _S, 3 * _C, -40],
    [0, 0, 0, 1],
  ]
)
_RNG = np.random.default_rng(0)
OBJECT = np.zeros(SHAPE, bool)
OBJECT[1:-1, 1:-1, 1:-1] = True
T1_MS = _RNG.uniform(400, 2500, SHAPE)
T2_MS = _RNG.uniform(30, 200, SHAPE)
M0 = _RNG.uniform(800, 1200, SHAPE)
B1 = _RNG.uniform(0.8, 1.2, SHAPE)


def _vfa(b1=1.0):
  """Spoiled gradient echoes of the object, zero around it."""
  flips_deg = np.multiply.outer(b1 * OBJECT, FLIPS_DEG)
  return spgr(M0, T1_MS, flips_deg, tr_ms=6.0)


def _echoes():
  """Spin echoes of the object, zero around it."""
  decay = np.exp(-np.array(TE_MS) / T2_MS[..., None])
  return (M0 * OBJECT)[..., None] * decay


@pytest.fixture
def write(tmp_path):
  """Writes values as an image of a name; its path."""

  def to_file(name, values, affine=AFFINE):
    values = np.asarray(values)
    if values.dtype == float:
      values = values.astype(np.float32)
    path = tmp_path / (name if "." in name else f"{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path

  return to_file


@pytest.fixture
def write_list(write):
  """Writes each volume of a series as a file of its own; their paths."""
  return lambda values: [
    write(f"volume-{k}", volume)
    for k, volume in enumerate(np.moveaxis(values, -1, 0))
  ]


@pytest.fixture
def series(write):
  return write("vfa", _vfa())


@pytest.fixture
def mask(write):
  return write("mask", OBJECT.astype(np.uint8))


def _assert_is(image, truth, rtol=1e-5):
  """The image holds the truth in the object, zero elsewhere."""
  assert image.get_data_dtype() == np.float32
  assert image.shape == SHAPE
  values = image.get_fdata()
  np.testing.assert_allclose(values[OBJECT], truth[OBJECT], rtol=rtol)
  assert not values[~OBJECT].any()


@pytest.mark.parametrize("method", ["nonlinear", "linear"])
@pytest.mark.parametrize("form", ["file", "list", "iterator", "str"])
def test_t1_maps_are_the_truth(series, write_list, form, method):
  given = {
    "file": series,
    "str": str(series),
    "list": write_list(_vfa()),
    "iterator": iter(write_list(_vfa())),
  }[form]
  maps = vfa_t1_maps(given, method=method, **VFA)
  # The line is more sensitive to the float32 digits of the files.
  rtol = 1e-5 if method == "nonlinear" else 1e-4
  _assert_is(maps.t1_ms, T1_MS, rtol)
  _assert_is(maps.m0, M0, rtol)


@pytest.mark.parametrize("as_list", [False, True])
def test_t2_maps_are_the_truth(write, write_list, as_list):
  series = write_list(_echoes()) if as_list else write("echoes", _echoes())
  maps = t2_maps(series, te_ms=TE_MS)
  _assert_is(maps.t2_ms, T2_MS)
  _assert_is(maps.s0, M0)


def test_maps_equal_the_fits(write, mask):
  noise = np.random.default_rng(1).normal(0, 3, (*SHAPE, 4))
  signals = _vfa() + noise
  signals = signals.astype(np.float32)
  series = write("vfa", signals)
  for method in ("nonlinear", "linear"):
    options = {"method": method, "bounds_ms": (600.0, 2000.0)}
    maps = vfa_t1_maps(series, mask=mask, **VFA, **options)
    m0, t1_ms = fit_vfa_t1(signals[OBJECT], **VFA, **options)
    np.testing.assert_array_equal(maps.t1_ms.get_fdata()[OBJECT], t1_ms)
    np.testing.assert_array_equal(maps.m0.get_fdata()[OBJECT], m0)
    assert t1_ms.min() == 600 and t1_ms.max() == 2000
  echoes = _echoes()[..., :4].astype(np.float32)
  series = write("echoes", echoes)
  options = {"te_ms": TE_MS[:4], "bounds_ms": (50.0, 100.0)}
  maps = t2_maps(series, mask=mask, **options)
  s0, t2_ms = fit_t2(echoes[OBJECT], **options)
  np.testing.assert_array_equal(maps.t2_ms.get_fdata()[OBJECT], t2_ms)
  np.testing.assert_array_equal(maps.s0.get_fdata()[OBJECT], s0)


def test_stored_integers_are_scaled(tmp_path):
  image = nibabel.Nifti1Image(_vfa(), AFFINE)
  image.set_data_dtype(np.int16)  # nibabel finds slope and intercept
  nibabel.save(image, tmp_path / "vfa.nii")
  stored = nibabel.load(tmp_path / "vfa.nii")
  assert stored.dataobj.slope != 1
  maps = vfa_t1_maps(tmp_path / "vfa.nii", **VFA)
  _assert_is(maps.t1_ms, T1_MS, rtol=0.02)
  _assert_is(maps.m0, M0, rtol=0.02)


def test_b1_removes_the_bias_of_t1(write):
  series = write("vfa", _vfa(B1))
  b1 = write("b1", B1)
  _assert_is(vfa_t1_maps(series, b1=b1, **VFA).t1_ms, T1_MS)
  blind = vfa_t1_maps(series, **VFA).t1_ms.get_fdata()
  bias = blind[OBJECT] / T1_MS[OBJECT]
  np.testing.assert_allclose(bias, B1[OBJECT] ** 2, rtol=0.05)


def test_b1_outside_mask_has_any_value(write, series, mask):
  b1 = np.ones(SHAPE)
  b1[~OBJECT] = np.resize([0.0, np.nan, 500.0, -1.0], (~OBJECT).sum())
  b1 = write("b1", b1)
  _assert_is(vfa_t1_maps(series, mask=mask, b1=b1, **VFA).t1_ms, T1_MS)


def test_only_the_mask_is_fitted(write):
  signals = _vfa()
  signals[~OBJECT] = np.nan
  series = write("vfa", signals)
  inside = OBJECT.copy()
  inside[2] = False
  labels = write("mask", np.where(inside, 7, 0).astype("i2"))
  t1_ms = vfa_t1_maps(series, mask=labels, **VFA).t1_ms.get_fdata()
  np.testing.assert_allclose(t1_ms[inside], T1_MS[inside], rtol=1e-5)
  assert not t1_ms[~inside].any()


def test_otsu_mask_is_the_object(write):
  noise = np.random.default_rng(2).rayleigh(20, (*SHAPE, len(TE_MS)))
  series = write("echoes", np.hypot(_echoes(), noise))
  t2_ms = t2_maps(series, te_ms=TE_MS).t2_ms.get_fdata()
  np.testing.assert_array_equal(t2_ms > 0, OBJECT)


@pytest.mark.parametrize("sform", [0, 1, 4])
@pytest.mark.parametrize("qform", [0, 1])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_maps_have_the_series_affine(tmp_path, kind, sform, qform):
  image = kind(_vfa().astype(np.float32), AFFINE)
  image.set_sform(AFFINE if sform else None, sform)
  image.set_qform(AFFINE if qform else None, qform)
  image.header.set_zooms((1.0, 2.0, 3.0, 6.0))
  image.header.set_xyzt_units("mm", "msec")
  image.header["cal_max"] = 5  # would hide the map in a viewer
  nibabel.save(image, tmp_path / "vfa.nii.gz")
  vfa_t1_maps(tmp_path / "vfa.nii.gz", **VFA).save(tmp_path)
  stored = nibabel.load(tmp_path / "t1.nii.gz")
  np.testing.assert_allclose(stored.affine, image.affine, atol=1e-5)
  assert stored.get_sform(coded=True)[1] == sform
  assert stored.get_qform(coded=True)[1] == qform
  assert stored.header.get_zooms() == (1, 2, 3)
  assert stored.header.get_xyzt_units()[0] == "mm"
  assert stored.header["cal_max"] == 0


def test_saved_maps_come_back(tmp_path, write, series):
  folder = tmp_path / "new" / "maps"
  t1 = vfa_t1_maps(series, **VFA)
  t2 = t2_maps(write("e", _echoes()), te_ms=TE_MS)
  t1.save(folder)
  t2.save(str(folder))
  images = {"t1": t1.t1_ms, "m0": t1.m0, "t2": t2.t2_ms, "s0": t2.s0}
  names = sorted(path.name for path in folder.iterdir())
  assert names == sorted(f"{name}.nii.gz" for name in images)
  for name, image in images.items():
    stored = nibabel.load(folder / f"{name}.nii.gz")
    np.testing.assert_array_equal(stored.get_fdata(), image.get_fdata())
    np.testing.assert_allclose(stored.affine, AFFINE, atol=1e-5)


def test_unwritable_folder_is_named(series):
  with pytest.raises(UserError, match=r"vfa\.nii\.gz: cannot be written"):
    vfa_t1_maps(series, **VFA).save(series)


def _assert_error(match, series, **arguments):
  """`vfa_t1_maps` raises a `UserError` of one line."""
  with pytest.raises(UserError, match=match) as caught:
    vfa_t1_maps(series, **{**VFA, **arguments})
  assert "\n" not in str(caught.value)


def test_series_of_another_number_of_volumes(write_list, series):
  _assert_error(
    r"vfa\.nii\.gz: 4 volumes for 3 flip angles",
    series,
    flip_angles_deg=FLIPS_DEG[:3],
  )
  paths = write_list(_vfa())
  _assert_error("series: 3 files for 4 flip angles", paths[:3])
  _assert_error("series: 0 files for 0 flip angles", [], flip_angles_deg=())
  with pytest.raises(UserError, match="4 volumes for 5 echo times"):
    t2_maps(series, te_ms=TE_MS)


def test_series_of_other_dimensions(series, mask):
  _assert_error(r"mask\.nii\.gz: the series has shape \(6, 7, 5\)", mask)
  _assert_error(r"vfa\.nii\.gz: shape \(6, 7, 5, 4\), not", [series] * 4)
  _assert_error(
    r"vfa\.nii\.gz: shape \(6, 7, 5, 4\), but .*mask\.nii\.gz has \(6, 7, 5\)",
    [mask, mask, series, mask],
  )


@pytest.mark.parametrize("role", ["series", "mask", "b1"])
def test_another_grid_names_both_files(write, write_list, series, role):
  def arguments(path):
    if role == "series":
      paths = write_list(_vfa())
      return {"series": [*paths[:2], path, paths[3]]}
    return {"series": series, role: path}

  smaller = write("other", np.ones((6, 7, 4)))
  first = "volume-0" if role == "series" else "vfa"
  _assert_error(
    rf"other\.nii\.gz: shape \(6, 7, 4\), but .*{first}\.nii\.gz has "
    r"\(6, 7, 5\)",
    **arguments(smaller),
  )
  moved = AFFINE.copy()
  moved[0, 3] += 0.5  # mm, half a voxel
  shifted = write("other", np.ones(SHAPE), moved)
  _assert_error(
    rf"other\.nii\.gz: affine .* 40\.5\].*{first}\.nii\.gz has .* 40\.0\]",
    **arguments(shifted),
  )
  moved[0, 3] = AFFINE[0, 3] + 1e-4  # the rounding of another program
  same = write("other", np.ones(SHAPE), moved)
  vfa_t1_maps(**arguments(same), **VFA)


@pytest.mark.parametrize("role", ["series", "mask", "b1"])
@pytest.mark.parametrize("damage", ["missing", "cut", "text", "folder"])
def test_missing_and_damaged_files_are_named(
  tmp_path, write, series, role, damage
):
  path = tmp_path / "bad.nii"
  if damage == "cut":
    write(path.name, np.ones(SHAPE))
    path.write_bytes(path.read_bytes()[:-100])
  elif damage == "text":
    path.write_text("no volume\n" * 100)
  elif damage == "folder":
    path.mkdir()
  match = "no such file" if damage == "missing" else "damaged"
  _assert_error(rf"bad\.nii: {match}", **{"series": series, role: path})


def _b1(value):
  """One, but for two voxels."""
  b1 = np.ones(SHAPE)
  b1[2, 3, 1] = b1[3, 3, 3] = value
  return b1


COLOUR = np.dtype([(c, "u1") for c in "RGB"])
N_OUTSIDE = np.count_nonzero(~OBJECT)


@pytest.mark.parametrize(
  ("role", "values", "message"),
  [
    ("series", np.ones((*SHAPE, 4), np.complex64), "the values are complex"),
    ("mask", np.ones(SHAPE, np.complex64), "the values are complex"),
    ("b1", np.ones(SHAPE, np.complex64), "the values are complex"),
    ("series", np.zeros((*SHAPE, 4), COLOUR), "the values are of type .*R"),
    ("series", np.full((*SHAPE, 4), 3.0), "the mean image spans 3 to 3"),
    ("series", 0 - _vfa(), "the mean image spans .* to 0,"),
    ("mask", np.zeros(SHAPE), "the mask has no voxels"),
    (
      "mask",
      np.where(OBJECT, 1, np.nan),
      rf"the mask: {N_OUTSIDE} values are NaN",
    ),
    (
      "b1",
      np.where(OBJECT, 97.5, 0),
      r"the median B1 in the mask is 97\.5; a factor .*not per cent",
    ),
    ("b1", _b1(0.0), r"2 values .* first 0 at \[2, 3, 1\]"),
    ("b1", _b1(-0.5), r"2 values .* first -0.5 at \[2, 3, 1\]"),
    ("b1", _b1(np.nan), r"2 values .* first nan at \[2, 3, 1\]"),
  ],
)
def test_values_that_are_not_valid(write, series, role, values, message):
  path = write("bad", values)
  _assert_error(rf"bad\.nii\.gz: {message}", **{"series": series, role: path})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_signals_must_be_finite(write, write_list, mask, value):
  """The error has the position of the first that is not."""
  signals = _vfa()
  signals[0, 0, 0, 1] = value  # outside the mask
  signals[3, 2, 1, 2] = signals[4, 4, 2, 2] = value
  series = write("vfa", signals)
  place = r".*: 2 values are NaN or infinite, the first at \[3, 2, 1\]"
  _assert_error(rf"vfa\.nii\.gz, volume 2: {place}", series, mask=mask)
  _assert_error(r"volume 1: .*: 1 values .*\[0, 0, 0\]", series)
  paths = write_list(signals)
  _assert_error(rf"volume-2\.nii\.gz: {place}", paths, mask=mask)


def test_arguments_of_the_fit(series):
  _assert_error("method: 'loglinear' is not one of", series, method="loglinear")
  _assert_error("tr_ms must be positive", series, tr_ms=-6.0)
