"""Heads of one's own maps, from the command to the tables."""

import json
import shutil

import h5py
import numpy as np
import pytest
from test_launch import SMOKE, fails_in_one_line, table

from mrf_jax import load_subject
from tests.importing.head_maps import head_volumes, save_head


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """Maps of two heads."""
  root = tmp_path_factory.mktemp("private")
  return [save_head(root / f"head-{k}", seed=k) for k in range(2)]


def named(folders):
  return f"--config.data.maps=({','.join(repr(str(f)) for f in folders)},)"


def test_cross_validation_on_heads_of_maps(launch, folders, tmp_path):
  run = tmp_path / "run"
  flags = [SMOKE, named(folders), f"--workdir={run}"]
  methods = "--config.methods=('gomez','dictionary_svd')"
  launch.succeed(*flags, methods, "--config.data.keep_raw=True")
  for k, folder in enumerate(folders):
    subject = load_subject(run / f"data/subject-0{k}.h5")
    assert subject.provenance.startswith(
      f"simulated by mrf_jax from the T1, T2 and PD maps in head-{k} (content "
    )
    assert str(folder.parent) not in subject.provenance
    assert subject.is_simulated
    # White matter, as in the map.
    own = head_volumes(k)["t1"]
    low = np.percentile(own[own > 0], 5)
    assert np.percentile(subject.truth.t1_ms, 5) == pytest.approx(low, rel=0.05)
    # The reference does not know B1.
    error = np.median(subject.maps.t1_ms / subject.truth.t1_ms)
    assert error == pytest.approx(1, abs=0.35)
    with h5py.File(run / f"raw/subject-0{k}.mrd") as file:
      assert "dataset" in file
  methods = {row["method"] for row in table(run)}
  assert methods == {"gomez", "dictionary_svd", "training_mean", "truth"}
  config = json.loads((run / "config.json").read_text())["data"]
  assert config["maps"] == [str(folder) for folder in folders]
  assert config["n_subjects"] == 2
  # The same command finds everything done, without the maps, too.
  before = (run / "data/subject-00.h5").stat().st_mtime_ns
  other = tmp_path / "gone"
  shutil.move(folders[0], other)
  try:
    launch.succeed("--mode=simulate", *flags)
  finally:
    shutil.move(other, folders[0])
  assert (run / "data/subject-00.h5").stat().st_mtime_ns == before
  # Other maps in the same folder are not those of the results.
  kept = tmp_path / "kept"
  shutil.copytree(folders[1], kept)
  save_head(folders[1], seed=7)
  try:
    done = launch("--mode=simulate", *flags)
    fails_in_one_line(done, folders[1], "are not the maps that")
  finally:
    shutil.rmtree(folders[1])
    shutil.move(kept, folders[1])
  done = launch("--mode=simulate", SMOKE, named(folders[::-1]), flags[-1])
  fails_in_one_line(done, folders[1], "are not the maps that")
  # Where they lie does not matter.
  moved = [shutil.copytree(f, tmp_path / f"{f.name} moved") for f in folders]
  launch.succeed("--mode=simulate", SMOKE, named(moved), flags[-1])
  config = json.loads((run / "config.json").read_text())["data"]
  assert config["maps"] == [str(folder) for folder in moved]
  done = launch("--mode=simulate", SMOKE, flags[-1])
  fails_in_one_line(done, "has results of another configuration", "data.maps")


def test_maps_that_are_not_valid(launch, folders, tmp_path):
  """Named before anything is written."""
  run = tmp_path / "run"
  seconds = head_volumes(2)
  seconds["t1"] /= 1000
  save_head(tmp_path / "seconds", volumes=seconds)
  flags = ("--mode=simulate", SMOKE, f"--workdir={run}")
  for maps, options, words in (
    ([folders[0], tmp_path / "seconds"], [], ["t1.nii.gz", "like seconds"]),
    ([folders[0], tmp_path / "gone"], [], ["there is no such folder"]),
    ([folders[0]] * 2, [], ["is named twice"]),
    (folders, ["--config.data.lesions.count=2"], ["data.lesions"]),
    (folders, ["--config.data.grid.centre_z_mm=85"], ["no voxel of the sli"]),
  ):
    fails_in_one_line(launch(*flags, named(maps), *options), *words)
    assert not run.exists()
  both = f"--config.data.files=('{folders[0]}/t1.nii.gz',)"
  done = launch(SMOKE, f"--workdir={run}", named(folders), both)
  fails_in_one_line(done, "data.files, data.maps")
  assert not run.exists()
