"""Full disks, lost rights and broken files: one line, or the same results."""

import random
import shutil

import disks
import pytest
import stages as stages_
from stages import make_stages


@pytest.fixture(scope="module")
def stages(smoke, sources):
  return make_stages(smoke, sources)


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
    for name, path in stages_.results(finished).items()
    if name.startswith(("run/data/", "run/figures/subject-"))
    or path.name in ("config.json", "environment.json")
  }
  return {name: stages_.read(path) for name, path in names.items()}


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


def test_limit_of_file_size(stages, finished, tmp_path):
  expected = simulated(finished)
  disks.with_small_files(stages["simulate"], tmp_path, expected, size=30_000)


def test_a_workdir_that_becomes_read_only(stages, finished, tmp_path):
  if disks.without_privileges() is None:
    pytest.skip("root is refused nothing here, and cannot give that up")
  expected = simulated(finished)
  disks.where_writing_ends(
    stages["simulate"], tmp_path, expected, after_files=2
  )


def broken(stages, finished, tmp_path, launch, share=None):
  expected = stages["crossval"].content(finished)
  cases = [
    (name, damage)
    for name in disks.kinds_of_files(finished)
    for damage in disks.DAMAGES
  ]
  if share is not None:
    cases = random.Random(0).sample(cases, share)
  for number, (name, damage) in enumerate(cases):
    folder = tmp_path / str(number)
    shutil.copytree(finished, folder)
    disks.broken(
      stages["crossval"],
      folder,
      expected,
      name=name,
      damage=damage,
      launch=launch,
    )
    shutil.rmtree(folder)


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


def test_broken_map_is_made_again(stages, finished, tmp_path, launch):
  """A map of standard deviations, which no other map replaces."""
  expected = stages["crossval"].content(finished)
  shutil.copytree(finished / "run", tmp_path / "run")
  how = disks.broken(
    stages["crossval"],
    tmp_path,
    expected,
    name="run/maps/spatiotemporal_plus/subject-00_t1_sd.nii.gz",
    damage=disks.flip,
    launch=launch,
  )
  assert how == "removed as told"


def test_some_broken_files(stages, finished, tmp_path, launch):
  broken(stages, finished, tmp_path, launch, share=2)


@pytest.mark.long
def test_every_broken_file(stages, finished, tmp_path, launch):
  broken(stages, finished, tmp_path, launch)
