"""Full disks, lost rights and broken files: one line, or the same results."""

import itertools
import random
import shutil

import disks
import pytest
from stages import read, results


@pytest.fixture(scope="module")
def finished(smoke, tmp_path_factory):
  """A folder with a finished cross-validation, to be copied."""
  folder = tmp_path_factory.mktemp("finished")
  shutil.copytree(smoke, folder / "run")
  return folder


def simulated(finished):
  """What the first of its stages has made."""
  names = {
    name: path
    for name, path in results(finished).items()
    if name.startswith(("run/data/", "run/figures/subject-"))
    or path.name in ("config.json", "environment.json")
  }
  return {name: read(path) for name, path in names.items()}


@pytest.fixture
def may_mount():
  if not disks.may_mount():
    pytest.skip("this user may not mount a disk of his own (unshare -rm)")


@pytest.mark.usefixtures("may_mount")
def test_a_disk_that_fills_up(stages, finished, tmp_path):
  expected = simulated(finished)
  disks.on_a_full_disk(stages["simulate"], tmp_path, expected, size=110_000)


@pytest.mark.long
@pytest.mark.usefixtures("may_mount")
def test_a_disk_full_during_training(stages, finished, tmp_path):
  expected = stages["crossval"].content(finished)
  disks.on_a_full_disk(stages["crossval"], tmp_path, expected, size=300_000)


@pytest.mark.long
def test_limit_of_file_size(stages, finished, tmp_path):
  expected = simulated(finished)
  disks.with_small_files(stages["simulate"], tmp_path, expected, size=30_000)


@pytest.mark.long
def test_a_workdir_that_becomes_read_only(stages, finished, tmp_path):
  if disks.without_privileges() is None:
    pytest.skip("root is refused nothing here, and cannot give that up")
  expected = simulated(finished)
  disks.where_writing_ends(
    stages["simulate"], tmp_path, expected, after_files=2
  )


@pytest.fixture
def broken(stages, finished, tmp_path, launch):
  """Function that damages files of copies, and starts again."""
  stage = stages["crossval"]
  expected = stage.content(finished)

  def broken(name, damage):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    options = {"name": name, "damage": damage, "launch": launch}
    how = disks.broken(stage, folder, expected, **options)
    shutil.rmtree(folder)
    return how

  return broken


def test_each_kind_of_file_is_broken(finished):
  names = disks.kinds_of_files(finished)
  for end in (
    "run/config.json",
    "run/files.jsonl",
    "run/table1.md",
    "run/calibration.csv",
    "subject-00.h5",
    "subject-00_t1.nii.gz",
    "subject-00_t2.nii.gz",
    "subject-00_t2_sd.nii.gz",
    "timing.json",
    "arrays.npz",
    "metrics.jsonl",
  ):
    assert sum(name.endswith(end) for name in names) == 1, end
  # Whatever the methods, folds and subjects.
  assert len(names) < 50


def test_broken_map_is_made_again(broken):
  """A map of standard deviations, which no other map replaces."""
  name = "run/maps/spatiotemporal_plus/subject-00_t1_sd.nii.gz"
  assert broken(name, disks.flip) == "removed as told"


def test_some_broken_files(broken, finished):
  cases = [*itertools.product(disks.kinds_of_files(finished), disks.DAMAGES)]
  for name, damage in random.Random(0).sample(cases, 2):
    broken(name, damage)


@pytest.mark.long
def test_every_broken_file(broken, finished):
  for name in disks.kinds_of_files(finished):
    for damage in disks.DAMAGES:
      broken(name, damage)
