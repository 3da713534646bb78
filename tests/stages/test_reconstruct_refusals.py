"""What does not fit is refused, and what is there is spared."""

import dataclasses
import shutil

import h5py
import nibabel
import numpy as np
import pytest

from mrf_jax import (
  UserError,
  load_model,
  load_subject,
  save_model,
  save_subject,
)
from mrf_jax.stages.reconstruct import reconstruct_files
from tests.inference.examples import changed_bundle
from tests.stages.conftest import flags


@pytest.fixture
def given(scan, bundle, tmp_path):
  """Flags that reconstruct the scan into the test's folder."""
  subject = str(scan[0] / "subject.h5")
  return {"model": bundle, "scan": subject, "output": str(tmp_path)}


def refused(words, given, **changes):
  """The line names what is wrong."""
  with pytest.raises(UserError, match=words):
    reconstruct_files(flags(**{**given, **changes}))


@pytest.mark.parametrize("name", ["t1.nii.gz", "errors.md"])
def test_files_of_another_hand_are_spared(name, given, tmp_path):
  path = tmp_path / name
  path.write_text("mine")
  refused(f"--output: {path} exists already", given)
  assert [path] == list(tmp_path.iterdir()) and path.read_text() == "mine"


@pytest.mark.parametrize(
  ("bids", "words"),
  [
    ("data", "--bids: .*data: is not the folder of a subject"),
    ("sub-01", "--bids: .*has files, such as notes.txt"),
    ("data/sub-01", "--output: .* is inside the data set of --bids"),
  ],
)
def test_data_sets_that_are_not_for_the_maps(bids, words, given, tmp_path):
  (tmp_path / "notes.txt").write_text("mine")
  output = str(tmp_path / "data" / "out")
  refused(words, given, bids=str(tmp_path / bids), output=output)
  assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_maps_of_a_data_set_are_not_their_own_reference(given, tmp_path):
  given = {**given, "output": str(tmp_path / "out")}
  bids = tmp_path / "data/sub-01"
  reconstruct_files(flags(**given, bids=str(bids)))
  path = bids / "anat/sub-01_T1map.nii.gz"
  before = path.read_bytes()
  words = "--bids: .*sub-01_T1map.nii.gz is --t1 itself"
  refused(words, given, bids=str(bids), t1=str(path))
  assert path.read_bytes() == before


def test_inputs_are_not_overwritten(given, tmp_path):
  reconstruct_files(flags(**given))
  path = tmp_path / "t1.nii.gz"
  before = path.read_bytes()
  refused("is --t1 itself", given, t1=str(path))
  assert path.read_bytes() == before


def test_phases_of_a_subject_file_are_aligned_by_import(given, scan, tmp_path):
  """For a network that has learned them."""
  turned = dataclasses.replace(scan[1], signals=-scan[1].signals)
  path, output = tmp_path / "turned.h5", tmp_path / "maps"
  save_subject(turned, path)
  model = load_model(given["model"])
  older = dataclasses.replace(model, statistics=None)
  save_model(older, tmp_path / "older")
  wanted = r"turned by 1[78]\d°: --align_phases in --mode=import"
  given |= {"scan": str(path), "output": str(output)}
  refused(wanted, given, model=str(tmp_path / "older"))
  # And for an ensemble with others, which take any phase.
  refused(wanted, given, model=[given["model"], str(tmp_path / "older")])
  assert not output.exists()


def test_a_scan_may_have_any_phase_and_gain(given, scan, tmp_path):
  reconstruct_files(flags(**given))
  expected = nibabel.load(tmp_path / "t1.nii.gz").get_fdata()
  signals = scan[1].signals * np.complex64(-300j)
  path, output = tmp_path / "turned.h5", tmp_path / "maps"
  save_subject(dataclasses.replace(scan[1], signals=signals), path)
  reconstruct_files(flags(**given | {"scan": str(path), "output": str(output)}))
  found = nibabel.load(output / "t1.nii.gz").get_fdata()
  np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_killed_move_can_be_repeated(given, tmp_path):
  (tmp_path / "t1.nii.gz").write_text("of the killed run")
  unfinished = tmp_path / ".new-999999999@elsewhere"
  unfinished.mkdir()
  (unfinished / "reconstruction.json").write_text("{}")
  reconstruct_files(flags(**given))
  nibabel.load(tmp_path / "t1.nii.gz")


@pytest.fixture(scope="module")
def bad(scan, bundle, tmp_path_factory):
  """Folder of damaged files, and of other files than they seem."""
  folder = tmp_path_factory.mktemp("bad")
  content = (scan[0] / "subject.h5").read_bytes()
  (folder / "cut.h5").write_bytes(content[:3000])
  with h5py.File(folder / "other.h5", "w") as file:
    file["something"] = 1
  (folder / "empty").mkdir()
  shutil.copytree(bundle, folder / "broken")
  description = folder / "broken/model.json"
  text = description.read_text()
  description.write_text(text[: len(text) // 2])
  shutil.copytree(bundle.replace("spatiotemporal", "cohen"), folder / "cohen")
  shutil.copy(scan[0] / "mask.nii.gz", folder)
  return folder


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model": None}, "--model is missing"),
    ({"scan": None}, "--scan is missing"),
    ({"scan": "gone.h5"}, "gone.h5: there is no such file"),
    ({"scan": "cut.h5"}, "cut.h5"),
    ({"scan": "other.h5"}, "other.h5"),
    ({"model": "gone"}, "no model bundle"),
    ({"model": "empty"}, "no model bundle"),
    ({"model": "broken"}, "damaged model bundle"),
    (
      {"model": "cohen", "uncertainty": True},
      "predicts no deviations and has no dropout",
    ),
    ({"uncertainty": True, "passes": 1}, "--passes is 1"),
    ({"model": "dictionary"}, "--config is missing"),
    ({"mask": "mask.nii.gz"}, "--mask: .* is a subject file"),
  ],
)
def test_wrong_input_writes_nothing(
  changes, words, given, bad, tmp_path, monkeypatch
):
  monkeypatch.chdir(bad)
  out = tmp_path / "out"
  refused(words, given, **changes, output=str(out))
  assert not out.exists()


def test_scan_of_another_window(scan, given, tmp_path):
  path = tmp_path / "other.h5"
  shutil.copy(given["scan"], path)
  with h5py.File(path, "r+") as file:
    # Windows of 41 with this stride are as many.
    file["sequence"].attrs["window"] = 41
  assert load_subject(path).n_windows == scan[1].n_windows
  refused("window is 41, the model needs 48", given, scan=str(path))


def test_ensemble_of_different_acquisitions(given, bundle, tmp_path):
  # As many windows as before.
  other = changed_bundle(bundle, tmp_path / "fold-9", window=47)
  words = r"fold-9: window is 47.*one ensemble"
  refused(words, given, model=[bundle, str(other)])
