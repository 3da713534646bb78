"""Maps of a scan as NIfTI files."""

import dataclasses

import nibabel
import numpy as np
import pytest

from mrf_jax import Acquisition, UserError, save_maps, tailored
from tests.dataset.examples import make_subject, random_maps

MASK = np.arange(24).reshape(2, 3, 4) % 3 > 0
SUBJECT = make_subject(MASK, Acquisition(tailored(18)))


def test_maps_lie_where_the_scan_does(tmp_path):
  maps = random_maps(16, seed=1)
  save_maps(maps, SUBJECT, tmp_path / "new" / "maps")
  names = ("pd", "t1", "t2")
  files = sorted(path.name for path in (tmp_path / "new/maps").iterdir())
  assert files == [f"{name}.nii.gz" for name in names]
  for name, values in zip(
    names, (maps.pd, maps.t1_ms, maps.t2_ms), strict=True
  ):
    image = nibabel.load(tmp_path / f"new/maps/{name}.nii.gz")
    np.testing.assert_array_equal(image.affine, SUBJECT.affine)
    volume = np.asarray(image.dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(volume[MASK], values)
    assert not volume[~MASK].any()


def test_wrong_maps_are_refused(tmp_path):
  maps = random_maps(16)
  t1_ms = maps.t1_ms.copy()
  t1_ms[3] = np.nan
  for bad, message in (
    (random_maps(24), r"save_maps: pd has shape \(24,\), not \(16,\)"),
    (dataclasses.replace(maps, t1_ms=t1_ms), "save_maps: t1_ms: 1 values are"),
  ):
    with pytest.raises(UserError, match=message):
      save_maps(bad, SUBJECT, tmp_path / "maps")
  assert not (tmp_path / "maps").exists()
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot be written"):
    save_maps(maps, SUBJECT, tmp_path / "file")
