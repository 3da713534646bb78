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


def test_a_fault_is_one_line_without_flags(tmp_path):
  """Faults are cases of tests/wrong_inputs; a folder has no flags of units."""
  volumes = head_volumes()
  volumes["t1"] /= 1000
  save_head(tmp_path, volumes=volumes)
  with pytest.raises(UserError, match=r"t1\.nii\.gz.*seconds") as caught:
    read_head_maps(tmp_path)
  assert "\n" not in str(caught.value)
  assert "--" not in str(caught.value)


def test_a_series_of_one_volume_is_one(tmp_path):
  volumes = head_volumes()
  volumes["t2"] = volumes["t2"][..., None]
  read_head_maps(save_head(tmp_path, volumes=volumes))


def test_folders_that_are_none(tmp_path):
  with pytest.raises(UserError, match="gone: there is no such folder"):
    read_head_maps(tmp_path / "gone")
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="file: is not a folder"):
    read_head_maps(tmp_path / "file")


def test_one_head_in_two_folders(tmp_path):
  digests = {
    name: read_head_maps(save_head(tmp_path / name, seed=seed)).digest
    for name, seed in (("a", 0), ("b", 1), ("c", 0))
  }
  with pytest.raises(UserError, match="c: has the maps of a"):
    check_different_heads(digests)
  del digests["c"]
  check_different_heads(digests)
