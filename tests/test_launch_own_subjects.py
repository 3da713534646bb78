"""Cross-validation on subject files of one's own, and its report."""

import json
import shutil

import h5py
import pytest
from test_launch import SMOKE, fails_in_one_line, table

from mrf_jax import load_model, load_subject, save_subject
from mrf_jax.dataset.subject_file import TRUE_FIELDS


@pytest.fixture(scope="module")
def files(smoke, tmp_path_factory):
  """Both heads as if a scanner had made them."""
  folder = tmp_path_factory.mktemp("own")
  paths = []
  for k in range(2):
    subject = load_subject(smoke / f"data/subject-{k:02d}.h5")
    known = dict.fromkeys(("truth", *TRUE_FIELDS))
    fields = {**vars(subject), **known, "provenance": "imported from a scanner"}
    paths.append(folder / f"head-{k}.h5")
    save_subject(type(subject)(**fields), paths[-1])
  return paths


def flags(files, workdir):
  named = ",".join(f"'{path}'" for path in files)
  return [SMOKE, f"--config.data.files=({named})", f"--workdir={workdir}"]


def test_cross_validation_on_own_files(launch, files, tmp_path):
  """Methods learn from subject files and are compared with them."""
  run = tmp_path / "run"
  methods = "--config.methods=('spatiotemporal_plus','gomez','dictionary_svd')"
  launch.succeed(*flags(files, run), methods)
  assert not (run / "data").is_dir() or not list((run / "data").iterdir())
  assert {row["method"] for row in table(run)} == {
    "spatiotemporal_plus",
    "gomez",
    "dictionary_svd",
    "training_mean",
  }
  assert not (run / "truth_table.csv").exists()
  for name in ("table1.md", "differences.md", "calibration.md"):
    assert "simulated" not in (run / name).read_text().lower()
  model = load_model(run / "models/spatiotemporal_plus/fold-1")
  assert model.window == 48
  launch.succeed("--mode=report", f"--workdir={run}")
  page = (run / "results.md").read_text()
  assert "head-0.h5" in page
  assert "simulated" not in page.lower()
  assert 'id="viewer"' in (run / "report.html").read_text()
  config = json.loads((run / "config.json").read_text())
  assert config["data"]["n_subjects"] == 2


def test_files_that_are_not_valid(launch, files, tmp_path):
  run = tmp_path / "run"
  gone = tmp_path / "gone.h5"
  fails_in_one_line(launch(*flags([files[0], gone], run)), gone)
  fails_in_one_line(launch(*flags([gone, files[0]], run)), gone)
  fails_in_one_line(launch(*flags(files[:1], run)), "at least two")
  done = launch(*flags(files, run), "--mode=simulate")
  fails_in_one_line(done, "not simulated")
  other = tmp_path / "other.h5"
  shutil.copy(files[1], other)
  with h5py.File(other, "r+") as file:
    # Windows of 41 with this stride are as many.
    file["sequence"].attrs["window"] = 41
  done = launch(*flags([files[0], other], tmp_path / "other"))
  fails_in_one_line(done, other, "window is 41", "48")
