"""Maps as BIDS derivatives: names, units, sidecars, and the validators."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.io.bids import write_bids
from mrf_jax.io.bids_folder import BidsFolder, check_dataset
from mrf_jax.maps import Maps

MASK = np.random.default_rng(0).random((3, 12, 10)) < 0.7
AFFINE = np.diag([-2.0, 2.0, 4.0, 1.0])
METADATA = {"EstimationAlgorithm": "cohen", "MagneticFieldStrength": 3.0}


def make_maps(seed=1):
  n_voxels = np.count_nonzero(MASK)
  values = np.random.default_rng(seed).uniform(0.5, 1, (3, n_voxels))
  return Maps(*(values * [[1], [1500], [90]]).astype(np.float32))


def write(path, maps=None, **metadata):
  folder = BidsFolder.from_path(path)
  write_bids(
    folder, maps or make_maps(), MASK, AFFINE, metadata={**METADATA, **metadata}
  )
  return folder


def all_files(dataset):
  return {
    str(path.relative_to(dataset))
    for path in dataset.rglob("*")
    if path.is_file()
  }


def test_names_values_and_units(tmp_path):
  maps = make_maps()
  write(tmp_path / "maps/sub-01", maps)
  anat = tmp_path / "maps/sub-01/anat"
  assert all_files(tmp_path / "maps") == {
    "dataset_description.json",
    "README.md",
    *(
      f"sub-01/anat/sub-01_{name}map.{ending}"
      for name in ("PD", "T1", "T2")
      for ending in ("nii.gz", "json")
    ),
  }
  for name, values, unit in (
    ("PD", maps.pd, "arbitrary"),
    ("T1", maps.t1_ms / 1000, "s"),
    ("T2", maps.t2_ms / 1000, "s"),
  ):
    image = nibabel.load(anat / f"sub-01_{name}map.nii.gz")
    volume = image.get_fdata().T
    np.testing.assert_allclose(volume[MASK], values, rtol=1e-6)
    assert not volume[~MASK].any()
    np.testing.assert_allclose(image.affine, AFFINE)
    sidecar = json.loads((anat / f"sub-01_{name}map.json").read_text())
    assert sidecar["Units"] == unit
    assert sidecar["EstimationAlgorithm"] == "cohen"
    assert sidecar["SkullStripped"] is True


def test_data_set_grows_and_keeps_its_description(tmp_path):
  write(tmp_path / "sub-01")
  path = tmp_path / "dataset_description.json"
  description = json.loads(path.read_text())
  path.write_text(json.dumps({**description, "Authors": ["A", "B"]}))
  (tmp_path / "README.md").unlink()
  (tmp_path / "README").write_text("of the group")
  write(tmp_path / "sub-02" / "ses-a")
  write(tmp_path / "sub-02" / "ses-b")
  assert json.loads(path.read_text())["Authors"] == ["A", "B"]
  assert not (tmp_path / "README.md").exists()
  assert "sub-02/ses-b/anat/sub-02_ses-b_T1map.json" in all_files(tmp_path)
  # The same subject again: its maps are replaced.
  write(tmp_path / "sub-01", make_maps(2), EstimationAlgorithm="hoppe")
  sidecar = tmp_path / "sub-01/anat/sub-01_T2map.json"
  assert json.loads(sidecar.read_text())["EstimationAlgorithm"] == "hoppe"


@pytest.mark.parametrize("name", ["bids-validator", "bids-validator-deno"])
def test_validator_finds_no_error(name, tmp_path):
  """The one of npm, and its successor, which pip installs too."""
  here = str(pathlib.Path(sys.executable).parent)
  program = shutil.which(name, path=here + os.pathsep + os.environ["PATH"])
  if program is None:
    pytest.skip(f"{name} is not installed")
  write(tmp_path / "sub-01")
  write(tmp_path / "sub-02/ses-1", Simulated=True, BasedOn=["scan.mrd"])
  found = validate(program, tmp_path)
  assert found.returncode == 0, found.stdout
  # It is no mere formality: a damaged sidecar is an error.
  (tmp_path / "sub-01/anat/sub-01_T1map.json").write_text("{")
  assert validate(program, tmp_path).returncode != 0


def validate(program, dataset):
  return subprocess.run(
    [program, str(dataset)],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "NO_COLOR": "1"},
  )


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("maps", "is not the folder of a subject"),
    ("maps/01", "is not the folder of a subject"),
    ("maps/ses-1", "is not the folder of a subject"),
    (".", "is not the folder of a subject"),
    ("maps/sub-", "'' is not a label"),
    ("maps/sub-a_b", "'a_b' is not a label"),
    ("maps/sub-1/ses-ü", "'ü' is not a label"),
  ],
)
def test_folder_of_no_subject(path, message):
  with pytest.raises(UserError, match=message):
    BidsFolder.from_path(path)


@pytest.mark.parametrize(
  ("files", "message"),
  [
    ({"notes.txt": "mine"}, "has files, such as notes.txt, but no dataset"),
    ({"dataset_description.json": "{"}, "is not a description"),
    ({"dataset_description.json": "[]"}, "is not a description"),
    ({"dataset_description.json": "{}"}, "is a data set of type raw"),
    (
      {
        "dataset_description.json": json.dumps(
          {"DatasetType": "derivative", "GeneratedBy": [{"Name": "fMRIPrep"}]}
        )
      },
      "is a data set made by fMRIPrep",
    ),
  ],
)
def test_data_sets_of_others_are_spared(files, message, tmp_path):
  for name, text in files.items():
    (tmp_path / name).write_text(text)
  folder = BidsFolder.from_path(tmp_path / "sub-01")
  with pytest.raises(UserError, match=message):
    check_dataset(folder)
  with pytest.raises(UserError, match=message):
    write_bids(folder, make_maps(), MASK, AFFINE, metadata=METADATA)
  assert all_files(tmp_path) == set(files)


def test_data_set_that_is_a_file(tmp_path):
  (tmp_path / "maps").write_text("")
  with pytest.raises(UserError, match="is not a folder"):
    check_dataset(BidsFolder.from_path(tmp_path / "maps/sub-01"))


def test_leftovers_of_a_killed_run_do_not_matter(tmp_path):
  (tmp_path / ".tmp-1@elsewhere-dataset_description.json").write_text("{")
  write(tmp_path / "sub-01")
  assert (tmp_path / "dataset_description.json").exists()
