"""What does not fit is refused, and what is there is spared."""

import json
import shutil

import h5py
import nibabel
import pytest

from mrf_jax import UserError, load_subject
from mrf_jax.inference.bundle import description_checksum
from mrf_jax.stages.reconstruct import reconstruct_files
from tests.stages.conftest import flags


@pytest.mark.parametrize("name", ["t1.nii.gz", "errors.md"])
def test_files_of_another_hand_are_spared(name, scan, bundle, tmp_path):
  given = {"scan": str(scan[0] / "subject.h5"), "output": str(tmp_path)}
  path = tmp_path / name
  path.write_text("mine")
  with pytest.raises(UserError, match=f"--output: {path} exists already"):
    reconstruct_files(flags(model=bundle, **given))
  assert [path] == list(tmp_path.iterdir()) and path.read_text() == "mine"


def test_inputs_are_not_overwritten(scan, bundle, tmp_path):
  given = {"scan": str(scan[0] / "subject.h5"), "output": str(tmp_path)}
  reconstruct_files(flags(model=bundle, **given))
  before = (tmp_path / "t1.nii.gz").read_bytes()
  given["t1"] = str(tmp_path / "t1.nii.gz")
  with pytest.raises(UserError, match="is --t1 itself"):
    reconstruct_files(flags(model=bundle, **given))
  assert (tmp_path / "t1.nii.gz").read_bytes() == before


def test_killed_move_can_be_repeated(scan, bundle, tmp_path):
  """A run that is killed while its files move can be repeated."""
  given = {"scan": str(scan[0] / "subject.h5"), "output": str(tmp_path)}
  (tmp_path / "t1.nii.gz").write_text("of the killed run")
  unfinished = tmp_path / ".new-999999999@elsewhere"
  unfinished.mkdir()
  (unfinished / "reconstruction.json").write_text("{}")
  reconstruct_files(flags(model=bundle, **given))
  nibabel.load(tmp_path / "t1.nii.gz")


def damaged(folder, bundle, tmp_path):
  """Name of a mistake to its flags and the words that name it."""
  subject = str(folder / "subject.h5")
  cut = tmp_path / "cut.h5"
  cut.write_bytes((folder / "subject.h5").read_bytes()[:3000])
  empty = tmp_path / "empty"
  empty.mkdir()
  broken = tmp_path / "broken"
  shutil.copytree(bundle, broken)
  text = (broken / "model.json").read_text()
  (broken / "model.json").write_text(text[: len(text) // 2])
  with h5py.File(tmp_path / "other.h5", "w") as file:
    file["something"] = 1
  cohen = bundle.replace("spatiotemporal", "cohen")
  return {
    "no model": ({"scan": subject}, "--model is missing"),
    "no scan": ({"model": bundle}, "--scan is missing"),
    "scan is not there": (
      {"model": bundle, "scan": str(tmp_path / "gone.h5")},
      "gone.h5: there is no such file",
    ),
    "scan is cut short": ({"model": bundle, "scan": str(cut)}, "cut.h5"),
    "scan is another file": (
      {"model": bundle, "scan": str(tmp_path / "other.h5")},
      "other.h5",
    ),
    "model is not there": (
      {"model": str(tmp_path / "gone"), "scan": subject},
      "no model bundle",
    ),
    "model is an empty folder": (
      {"model": str(empty), "scan": subject},
      "no model bundle",
    ),
    "model is damaged": (
      {"model": str(broken), "scan": subject},
      "damaged model bundle",
    ),
    "no deviations": (
      {"model": cohen, "scan": subject, "uncertainty": True},
      "predicts no deviations and has no dropout",
    ),
    "one pass": (
      {"model": bundle, "scan": subject, "uncertainty": True, "passes": 1},
      "--passes is 1",
    ),
    "dictionary without a configuration": (
      {"model": "dictionary", "scan": subject},
      "--config is missing",
    ),
    "mask of a subject file": (
      {"model": bundle, "scan": subject, "mask": str(folder / "mask.nii.gz")},
      "--mask: .* is a subject file",
    ),
  }


MISTAKES = (
  "no model",
  "no scan",
  "scan is not there",
  "scan is cut short",
  "scan is another file",
  "model is not there",
  "model is an empty folder",
  "model is damaged",
  "no deviations",
  "one pass",
  "dictionary without a configuration",
  "mask of a subject file",
)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_input_writes_nothing(mistake, scan, bundle, tmp_path):
  """The line names what is wrong."""
  given, words = damaged(scan[0], bundle, tmp_path)[mistake]
  out = tmp_path / "out"
  with pytest.raises(UserError, match=words):
    reconstruct_files(flags(**given, output=str(out)))
  assert not out.exists()


def test_scan_of_another_window(scan, bundle, tmp_path):
  folder, subject, _ = scan
  path = tmp_path / "other.h5"
  shutil.copy(folder / "subject.h5", path)
  with h5py.File(path, "r+") as file:
    # Windows of 41 with this stride are as many.
    file["sequence"].attrs["window"] = 41
  assert load_subject(path).n_windows == subject.n_windows
  with pytest.raises(UserError, match="window is 41, the model needs 48"):
    reconstruct_files(
      flags(model=bundle, scan=str(path), output=str(tmp_path / "out"))
    )


def test_ensemble_of_different_acquisitions(scan, bundle, tmp_path):
  other = tmp_path / "fold-9"
  shutil.copytree(bundle, other)
  text = json.loads((other / "model.json").read_text())
  # As many windows as before.
  text["window"] = 47
  text["sha256"]["description"] = description_checksum(text)
  (other / "model.json").write_text(json.dumps(text))
  with pytest.raises(UserError, match=r"fold-9: window is 47.*one ensemble"):
    reconstruct_files(
      flags(
        model=[bundle, str(other)],
        scan=str(scan[0] / "subject.h5"),
        output=str(tmp_path / "out"),
      )
    )
