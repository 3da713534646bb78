"""What a person gets wrong ends with one line, and nothing is half written."""

import shutil

import h5py
import numpy as np
import pytest
from test_launch import SMOKE, fails_in_one_line

from tests.faults.edits import cut


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--config.training.epoch=3"], ["epoch"]),
    (["--config.nothing=3"], ["--config has no value nothing"]),
    (["--config.nothing.at_all=3"], ["--config has no value nothing"]),
    (["--config.seed=one"], ["seed"]),
    (["--mode=dance"], ["dance", "crossval", "reconstruct"]),
    (["--no_such_flag=1"], ["no_such_flag"]),
    (["stray"], ["stray"]),
    (["design"], ["the mode comes first: python launch.py design"]),
    (["--epochs=5"], ["--epochs is for --mode=finetune, not crossval"]),
    (["--window=24"], ["--window", "import|reconstruct"]),
    (["--config.methods=('spatiotemporal','magic')"], ["magic", "dictionary"]),
    (["--config.scan.window=97"], ["window 97"]),
    (
      ["--config.hoppe.network.strides=(1,9,1,1)"],
      ["hoppe", "7 windows", "convolution 3", "(1, 9)"],
    ),
    (["--config.cohen.network.output=cubic"], ["cubic", "sigmoid"]),
    (["--config.training.sampling=lines"], ["lines", "patches, tiles"]),
    (["--config.precision=int8"], ["int8", "bfloat16"]),
    (["--config.training.storage=int8"], ["int8", "float16"]),
    (
      ["--config.training.rank=99"],
      ["--config.training.rank is 99", "1 and 7"],
    ),
    (
      ["--config.spatiotemporal_plus.training.rank=99"],
      ["--config.spatiotemporal_plus.training.rank is 99", "1 and 7"],
    ),
    (["--config.training.batch=0"], ["training.batch", "0", "1"]),
    (["--config.training.checkpoint_epochs=0"], ["checkpoint_epochs"]),
    (["--config.preprocessing.normalise_signals_per=map"], ["map", "frame"]),
    (["--config.preprocessing.normalise_signals_by=map"], ["map", "training"]),
    (["--config.data.n_subjects=1"], ["n_subjects is 1", "at least two"]),
    (["--config.gomez.window=(4,5,3)"], ["window", "odd"]),
    (["--config.gomez.rank=99"], ["--config.gomez.rank is 99", "1 and 7"]),
    (
      ["--config.dictionary.svd_rank=0"],
      ["--config.dictionary.svd_rank is 0", "1 and 7"],
    ),
    (["--config.data.n_subjects=0"], ["n_subjects is 0"]),
    (["--config.data.grid.centre_z_mm=300.0"], ["no brain"]),
  ],
)
def test_bad_flags_end_with_one_line(launch, tmp_path, flags, words):
  done = launch(SMOKE, f"--workdir={tmp_path / 'run'}", *flags)
  fails_in_one_line(done, *words)


@pytest.mark.parametrize(
  ("mode", "flags", "words"),
  [
    ("reconstruct", ["--profile"], "--profile is for --mode=crossval|sweep|"),
    ("verify", ["--profile"], "--profile is for"),
    ("import", ["--workdir=a"], "--workdir is for"),
    ("reconstruct", ["--workdir=a"], "not reconstruct"),
    ("finetune", ["--workdir=a"], "not finetune"),
    ("export", ["--workdir=a"], "not export"),
    ("report", ["--coordinator=a:1"], "--coordinator is for"),
    (
      "finetune",
      ["--num_processes=2"],
      "crossval|sweep|simulate, not finetune",
    ),
    ("verify", ["--process_id=0"], "--process_id is for"),
    ("export", ["--coordinator_timeout_s=3"], "--coordinator_timeout_s is for"),
    ("benchmark", ["--process_id=0"], "--process_id is for"),
    ("design", ["--coordinator=a:1"], "--coordinator is for"),
    ("import", [SMOKE], "--config is for"),
    ("report", [SMOKE], "--config is for"),
    ("reconstruct", ["--passes=4"], "--passes is for --uncertainty"),
    ("reconstruct", ["--passes_seed=4"], "--passes_seed is for --uncertainty"),
    ("report", ["--compare=a", "--output=b"], "--output is not for --compare"),
  ],
)
def test_flags_of_other_modes(launch, mode, flags, words):
  fails_in_one_line(launch(f"--mode={mode}", *flags), words)


def test_missing_config_and_workdir_are_named(launch, tmp_path):
  done = launch(f"--workdir={tmp_path}")
  fails_in_one_line(
    done, "--config is missing", "ablation, demo, paper, smoke, study"
  )
  fails_in_one_line(launch(SMOKE), "--workdir is missing")
  gone = tmp_path / "gone.py"
  done = launch(f"--config={gone}", f"--workdir={tmp_path}")
  fails_in_one_line(done, gone, "ablation, demo, paper, smoke, study")


def test_unwritable_workdir_is_named(launch, tmp_path):
  blocked = tmp_path / "file"
  blocked.write_text("in the way")
  done = launch(SMOKE, f"--workdir={blocked / 'run'}")
  fails_in_one_line(done, blocked / "run", "cannot be written")


def with_nan(path):
  with h5py.File(path, "r+") as file:
    file["signals"][3, 2] = np.nan


@pytest.mark.parametrize("damage", [cut, with_nan])
def test_damaged_subject_is_named(smoke, launch, tmp_path, damage):
  """Nothing is written."""
  workdir = tmp_path / "run"
  shutil.copytree(smoke, workdir)
  for name in ("maps", "models"):
    shutil.rmtree(workdir / name)
  for name in ("table1.csv", "table1.md", "figure3.png", "timing.csv"):
    (workdir / name).unlink()
  path = workdir / "data/subject-01.h5"
  damage(path)
  done = launch(SMOKE, f"--workdir={workdir}")
  fails_in_one_line(done, path, "remove")
  assert not [p for p in (workdir / "maps").rglob("*") if p.is_file()]
  assert not (workdir / "table1.csv").exists()
