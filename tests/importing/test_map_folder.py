"""Maps of a head from a folder: names, units, scales, and what is refused."""

import nibabel
import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.importing.map_folder import check_different_heads, read_head_maps
from mrf_jax.io.bids import write_bids
from mrf_jax.io.bids_folder import BidsFolder
from mrf_jax.io.nifti import save_map
from mrf_jax.maps import Maps
from tests.importing.head_maps import (
  AFFINE,
  SHAPE,
  head_volumes,
  save_head,
  save_volume,
)

INSIDE = (14, 18, 15)


def test_values_and_places(tmp_path):
  volumes = head_volumes()
  head = read_head_maps(save_head(tmp_path / "one"))
  np.testing.assert_array_equal(head.mask, volumes["t1"] > 0)
  for name in ("t1", "t2"):
    np.testing.assert_array_equal(
      getattr(head.maps, f"{name}_ms"), volumes[name][head.mask]
    )
  index = np.argwhere(head.mask).mean(0)
  expected = nibabel.affines.apply_affine(AFFINE, index)
  np.testing.assert_allclose(head.centre_mm, expected, atol=1e-3)
  assert head.name == "one"
  assert not head.notes


@pytest.mark.parametrize("scale", [1e-3, 1.0, 4000.0])
def test_proton_density_of_any_scale(scale, tmp_path):
  volumes = head_volumes()
  volumes["pd"] *= scale
  head = read_head_maps(save_head(tmp_path, volumes=volumes))
  assert np.median(head.maps.pd) == pytest.approx(0.8)
  own = volumes["pd"][head.mask]
  np.testing.assert_allclose(
    head.maps.pd / own, 0.8 / np.median(own), rtol=1e-5
  )


def test_names_of_bids_have_seconds(tmp_path):
  volumes = head_volumes()
  save_head(tmp_path / "ours")
  names = {"t1": "T1map", "t2": "T2map", "pd": "M0map"}
  for name, values in volumes.items():
    if name != "pd":
      values = values / 1000
    path = tmp_path / "sub-01/anat" / f"sub-01_{names[name]}.nii"
    save_volume(path, values.astype(np.float32))
  # As macOS writes them beside files on other disks.
  (tmp_path / "sub-01/anat/._sub-01_T1map.nii").write_bytes(b"\0\5\x16\7")
  ours, bids = (read_head_maps(tmp_path / name) for name in ("ours", "sub-01"))
  np.testing.assert_allclose(bids.maps.stack(), ours.maps.stack(), rtol=1e-6)


def test_what_this_program_writes_is_read(tmp_path):
  """Maps of `reconstruct` in ms, and as BIDS derivatives in s."""
  volumes = {k: v.transpose(2, 1, 0) for k, v in head_volumes().items()}
  mask = volumes["t1"] > 0
  names = {"t1": "t1_ms", "t2": "t2_ms", "pd": "pd"}
  maps = Maps(**{names[k]: v[mask] for k, v in volumes.items()})
  (tmp_path / "maps").mkdir()
  for name, field in names.items():
    values = getattr(maps, field)
    save_map(tmp_path / f"maps/{name}.nii.gz", values, mask, AFFINE)
  bids = tmp_path / "data/sub-01"
  write_bids(BidsFolder.from_path(bids), maps, mask, AFFINE, metadata={})
  for folder in (tmp_path / "maps", bids, bids / "anat"):
    found = read_head_maps(folder)
    np.testing.assert_array_equal(found.mask, mask.transpose(2, 1, 0))
    own = head_volumes()["t2"][found.mask]
    np.testing.assert_allclose(found.maps.t2_ms, own, rtol=1e-6)


def test_outside_is_0_or_nan(tmp_path):
  volumes = head_volumes()
  expected = read_head_maps(save_head(tmp_path / "0"))
  outside = volumes["t1"] == 0
  volumes["t1"][outside] = np.nan
  volumes["t2"][outside] = np.nan
  # Proton density of skin, and what interpolation leaves of 0.
  volumes["pd"][outside] = 0.3
  volumes["t2"][0, 0, 0] = -1e-3
  volumes["t1"][1, 0, 0] = 1e-3
  found = read_head_maps(save_head(tmp_path / "nan", volumes=volumes))
  assert found.digest == expected.digest


def test_rounding_may_make_t2_longer(tmp_path):
  volumes = head_volumes()
  volumes["t2"][INSIDE] = 1.001 * volumes["t1"][INSIDE]
  head = read_head_maps(save_head(tmp_path, volumes=volumes))
  assert np.all(head.maps.t2_ms <= head.maps.t1_ms)


def test_a_map_of_b1(tmp_path):
  save_head(tmp_path)
  b1 = np.linspace(0.8, 1.1, np.prod(SHAPE)).reshape(SHAPE)
  save_volume(tmp_path / "b1.nii.gz", b1.astype(np.float32))
  head = read_head_maps(tmp_path)
  np.testing.assert_allclose(head.b1, b1[head.mask], rtol=1e-6)
  save_volume(tmp_path / "b1.nii.gz", (100 * b1).astype(np.float32))
  with pytest.raises(UserError, match=r"b1\.nii\.gz: .*not per cent"):
    read_head_maps(tmp_path)
  save_volume(tmp_path / "b1.nii.gz", np.zeros(SHAPE, np.float32))
  with pytest.raises(UserError, match=r"b1\.nii\.gz: .* have no B1 above 0"):
    read_head_maps(tmp_path)


def at(values, value):
  values[INSIDE] = value
  return values


@pytest.mark.parametrize(
  ("name", "change", "words"),
  [
    ("t1", lambda v: v / 1000, r"which looks like seconds: .*if it is s"),
    ("t2", lambda v: v / 1000, r"which looks like seconds: .*if it is s"),
    ("t2", lambda v: 1000 * v, r"if it is us"),
    ("t1", lambda v: np.where(v > 0, 1000 / v.clip(1), 0), r"a map of R1"),
    ("t2", lambda v: np.where(v > 0, 1000 / v.clip(1), 0), r"R1 or R2\?"),
    ("t2", lambda v: at(v, 900), r"T2 is longer than T1 in 1 of .* 900 and"),
    ("t2", lambda v: at(v, np.nan), r"1 of .* no T2 above 0, the first is nan"),
    ("t2", lambda v: at(v, 0), r"first is 0 at voxel \[14, 18, 15\]"),
    ("t1", lambda v: at(v, -50), r"1 values are negative, the first is -50 at"),
    ("pd", lambda v: at(v, np.inf), r"1 values are infinite, the first is inf"),
    ("t1", np.zeros_like, r"no head: T1 and PD are above 0 in no voxel"),
    ("pd", lambda v: v * np.nan, r"no head"),
    ("t1", lambda v: 1e3 * (v > 0), r"the same value, 1000 ms, in all"),
    ("t2", lambda v: 70 * (v > 0), r"the same value, 70 ms, in all"),
    ("t2", lambda v: head_volumes()["t1"], r"has the values of t1_ms"),
    # Seconds, rounded to whole ones.
    ("t1", lambda v: np.round(v / 1000), r"looks like seconds"),
    ("t2", lambda v: np.round(v / 1000), r"no T2 above 0"),
    ("t1", lambda v: v + 0j, r"the values are complex"),
    ("t1", lambda v: np.stack([v, v], -1), r"\(30, 36, 30, 2\), not \[x, y"),
    ("t2", lambda v: v[1:], r"shape \(29, 36, 30\), but .*t1\.nii\.gz has"),
  ],
)
def test_wrong_maps_are_named(name, change, words, tmp_path):
  volumes = head_volumes()
  values = change(volumes[name])
  kind = np.complex64 if np.iscomplexobj(values) else np.float32
  volumes[name] = values.astype(kind)
  save_head(tmp_path, volumes=volumes)
  with pytest.raises(UserError, match=words) as caught:
    read_head_maps(tmp_path)
  assert "\n" not in str(caught.value)
  assert ".nii.gz" in str(caught.value)
  assert "--" not in str(caught.value)


def test_exchanged_maps(tmp_path):
  volumes = head_volumes()
  volumes["t1"], volumes["t2"] = volumes["t2"], volumes["t1"]
  save_head(tmp_path, volumes=volumes)
  with pytest.raises(UserError, match="are they exchanged"):
    read_head_maps(tmp_path)


def test_a_series_of_one_volume_is_one(tmp_path):
  volumes = head_volumes()
  volumes["t2"] = volumes["t2"][..., None]
  read_head_maps(save_head(tmp_path, volumes=volumes))


def test_missing_and_superfluous_files(tmp_path):
  with pytest.raises(UserError, match="gone: there is no such folder"):
    read_head_maps(tmp_path / "gone")
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="file: is not a folder"):
    read_head_maps(tmp_path / "file")
  folder = save_head(tmp_path / "head")
  (folder / "t2.nii.gz").rename(folder / "t2_old.nii.gz")
  words = r"no map of t2, t2\.nii\.gz or \*_T2map\.nii\.gz; it has pd\.nii\.gz,"
  with pytest.raises(UserError, match=words):
    read_head_maps(folder)
  save_head(folder)
  save_volume(folder / "x_T1map.nii", head_volumes()["t1"] / 1000)
  with pytest.raises(UserError, match=r"t1\.nii\.gz, x_T1map\.nii are several"):
    read_head_maps(folder)


def test_maps_on_different_grids(tmp_path):
  folder = save_head(tmp_path)
  moved = AFFINE.copy()
  moved[0, 3] += 2
  save_volume(folder / "pd.nii.gz", head_volumes()["pd"], moved)
  with pytest.raises(UserError, match=r"pd\.nii\.gz: its voxels lie elsewhere"):
    read_head_maps(folder)


def test_axes_without_directions(tmp_path):
  image = nibabel.Nifti1Image(head_volumes()["t1"], None)
  save_head(tmp_path)
  nibabel.save(image, tmp_path / "t1.nii.gz")
  with pytest.raises(UserError, match="its axes have no directions"):
    read_head_maps(tmp_path)


def test_voxels_of_metres(tmp_path):
  save_head(tmp_path, affine=AFFINE / [[1000], [1000], [1000], [1]])
  with pytest.raises(UserError, match="are these metres"):
    read_head_maps(tmp_path)


def test_one_head_in_two_folders(tmp_path):
  digests = {
    name: read_head_maps(save_head(tmp_path / name, seed=seed)).digest
    for name, seed in (("a", 0), ("b", 1), ("c", 0))
  }
  with pytest.raises(UserError, match="c: has the maps of a"):
    check_different_heads(digests)
  del digests["c"]
  check_different_heads(digests)
