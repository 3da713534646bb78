"""Which run wrote which file of a workdir, and what happened to it since."""

import os
import shutil
import zlib

import pytest

from mrf_jax import UserError
from mrf_jax.io import atomic
from mrf_jax.io.atomic import replacing, replacing_folder
from mrf_jax.workdir.manifest import (
  NAME,
  Manifest,
  check_borrowed,
  check_reused,
  record_files,
)
from tests.faults.edits import flip, to_folder, to_nowhere

ENVIRONMENT = {"versions": {"jax": "0.9"}, "devices": ["cpu"], "seed": 5}
# States of the files of the fixture below.
WHOLE = dict.fromkeys(
  ("a.csv", "maps/b.nii", "model/x", "model/deep/y"), ("whole", 1)
)
# As commit cd40de9 wrote it: its second run trained a model again.
OF_CD40DE9 = """
{"run": 1, "began": "2026-11-28T10:41:34+00:00", "versions": {}, "devices": ["cpu"], "git_commit": "cd40de9", "crc32": "ffcb3357"}
{"folder": "models/cohen/fold-0", "run": 1, "crc32": "7b1fab38"}
{"path": "models/cohen/fold-0/arrays", "sha256": "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3", "run": 1, "bytes": 3, "crc32": "6242ce3f"}

{"run": 2, "began": "2026-11-28T10:41:34+00:00", "versions": {}, "devices": ["cpu"], "git_commit": "cd40de9", "crc32": "b7e7a557"}
{"gone": "calibration.csv", "run": 2, "crc32": "c25c82aa"}
{"folder": "models/cohen/fold-0", "run": 2, "crc32": "5032f8fb"}
{"path": "models/cohen/fold-0/model.json", "sha256": "8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f", "run": 2, "bytes": 5, "crc32": "7f5b9766"}
"""  # noqa: E501


@pytest.fixture
def workdir(tmp_path):
  """A folder with a file, a folder, and one file that is written twice."""
  root = tmp_path / "run"
  (root / "maps").mkdir(parents=True)
  record_files(root, ENVIRONMENT)
  write(root / "a.csv", "one")
  write(root / "a.csv", "two")
  write(root / "maps/b.nii", "three")
  write_folder(root / "model", {"x": "four", "deep/y": "five"})
  return root


def write(path, text):
  with replacing(path) as temporary:
    temporary.write_text(text)


def write_folder(path, texts):
  with replacing_folder(path) as temporary:
    for name, text in texts.items():
      (temporary / name).parent.mkdir(exist_ok=True)
      (temporary / name).write_text(text)


def states(root):
  manifest = Manifest(root)
  return {name: manifest.state(name) for name in manifest.files}


def to_nothing(path):
  path.unlink()


def test_written_files_are_whole(workdir):
  assert states(workdir) == WHOLE
  (run,) = Manifest(workdir).runs.values()
  assert run.items() >= ENVIRONMENT.items()


def test_later_run_writes_a_file(workdir):
  record_files(workdir, {**ENVIRONMENT, "seed": 6})
  write(workdir / "a.csv", "six")
  # Another process of the same run.
  record_files(workdir, None)
  write(workdir / "c.csv", "seven")
  run_2 = dict.fromkeys(("a.csv", "c.csv"), ("whole", 2))
  assert states(workdir) == WHOLE | run_2
  assert Manifest(workdir).runs[2]["seed"] == 6


def test_replaced_folder_loses_its_files(workdir):
  write_folder(workdir / "model", {"x": "other", "z": "six"})
  assert states(workdir) == dict.fromkeys(
    ("a.csv", "maps/b.nii", "model/x", "model/z"), ("whole", 1)
  )


def test_removed_file_is_not_missing(workdir):
  atomic.remove(workdir / "a.csv")
  atomic.remove(workdir / "never.csv")
  assert not (workdir / "a.csv").exists()
  assert states(workdir).keys() == WHOLE.keys() - {"a.csv"}
  write(workdir / "a.csv", "again")
  assert states(workdir) == WHOLE


def test_failed_write_is_not_recorded(workdir):
  with pytest.raises(ZeroDivisionError), replacing(workdir / "a.csv") as path:
    path.write_text("half")
    _ = 1 / 0
  assert states(workdir) == WHOLE


def test_checkpoints_are_not_recorded(workdir):
  """The manifest must not grow with files that come and go."""
  before = (workdir / NAME).read_text()
  for step in ("step-1", "step-2"):
    write_folder(workdir / "checkpoints/cohen" / step, {"arrays": "many"})
  atomic.remove(workdir / "checkpoints/cohen/step-1/arrays")
  assert (workdir / NAME).read_text() == before


@pytest.mark.parametrize("damage", [flip, to_folder, to_nowhere, to_nothing])
def test_damaged_files_are_not_reused(workdir, damage):
  bundle = workdir / "models/cohen/fold-0"
  write_folder(bundle, {"model.json": "six", "arrays": "seven"})
  check_reused(workdir)
  # Written again by each run, or not recorded at all.
  damage(workdir / "a.csv")
  (workdir / "maps/own.txt").write_text("a user's")
  check_reused(workdir)
  damage(bundle / "model.json")
  state = "missing" if damage is to_nothing else "changed"
  assert states(workdir)["models/cohen/fold-0/model.json"] == (state, 1)
  with pytest.raises(UserError, match=f"as run 1 wrote it; remove {bundle}, "):
    check_reused(workdir)
  shutil.rmtree(bundle)
  check_reused(workdir)
  damage(workdir / "maps/b.nii")
  if damage is to_nothing:
    # It will be made again.
    check_reused(workdir)
    return
  with pytest.raises(UserError, match=r"remove .*maps/b.nii, "):
    check_reused(workdir)


def test_only_what_is_borrowed_counts(workdir):
  write(workdir / "maps/c.nii", "eight")
  (workdir / "data").mkdir()
  write(workdir / "data/subject-00.h5", "nine")
  flip(workdir / "maps/c.nii")
  check_borrowed(workdir, "data")
  other = workdir.parent / "other"
  shutil.copytree(workdir, other)
  flip(other / "data/subject-00.h5")
  for _ in range(2):
    with pytest.raises(
      UserError, match=r"the command that made .*other makes it"
    ):
      check_borrowed(other, "data")
  # Once a process, if all is well.
  flip(workdir / "data/subject-00.h5")
  check_borrowed(workdir, "data")


def test_kill_before_the_new_name(workdir, monkeypatch):
  """The manifest has the new file already, and the old one is whole."""
  bundle = workdir / "models/cohen/fold-0"
  write_folder(bundle, {"model.json": "six"})
  with monkeypatch.context() as patch:
    patch.setattr(atomic.os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      write(workdir / "maps/b.nii", "other")
    with pytest.raises(ZeroDivisionError):
      write_folder(bundle, {"model.json": "seven"})
  check_reused(workdir)
  assert set(states(workdir).values()) == {("whole", 1)}
  flip(bundle / "model.json")
  with pytest.raises(UserError, match="as run 1 wrote it"):
    check_reused(workdir)


def test_manifest_of_cd40de9(tmp_path):
  """It is read, resumed and checked."""
  bundle = tmp_path / "models/cohen/fold-0"
  bundle.mkdir(parents=True)
  (bundle / "model.json").write_text("three")
  (tmp_path / NAME).write_text(OF_CD40DE9)
  check_reused(tmp_path)
  record_files(tmp_path, ENVIRONMENT)
  write(tmp_path / "table1.csv", "four")
  assert not Manifest(tmp_path).damaged
  assert states(tmp_path) == {
    "models/cohen/fold-0/model.json": ("whole", 2),
    "table1.csv": ("whole", 3),
  }
  flip(bundle / "model.json")
  with pytest.raises(UserError, match=f"as run 2 wrote it; remove {bundle}, "):
    check_reused(tmp_path)


@pytest.mark.parametrize(
  "place",
  [
    # A hexadecimal digit of a checksum; a letter of a name; that of a run.
    '"path": "maps/b.nii", "sha256": "',
    '"path": "maps/',
    '"folder": "',
    '"gone": "',
    '"began": "',
  ],
)
def test_changed_line_accuses_no_file(workdir, place):
  write_folder(workdir / "models/cohen/fold-0", {"old": "six"})
  record_files(workdir, ENVIRONMENT)
  write_folder(workdir / "models/cohen/fold-0", {"new": "seven"})
  write(workdir / "maps/c.nii", "removed")
  atomic.remove(workdir / "maps/c.nii")
  # Its older line is about what was there then.
  write(workdir / "maps/b.nii", "written again")
  before, _, after = (workdir / NAME).read_text().rpartition(place)
  other = "0" if after[0] != "0" else "1"
  (workdir / NAME).write_text(before + place + other + after[1:])
  assert list(Manifest(workdir).damaged) == [before.count("\n") + 1]
  check_reused(workdir)
  found = states(workdir)
  assert {state for state, _ in found.values()} <= {"whole", "unknown"}
  assert found["models/cohen/fold-0/new"] == ("whole", 2)
  # It excuses no other file, unless it may say that the file was removed.
  flip(workdir / "a.csv")
  (workdir / "model/x").unlink()
  found = states(workdir)
  assert found["a.csv"] == ("changed", 1)
  lost = "missing" if "path" in place else "unknown"
  assert found["model/x"] == (lost, 1)
  # The number of its run is not given again.
  record_files(workdir, ENVIRONMENT)
  write(workdir / "a.csv", "eight")
  write(workdir / "model/x", "nine")
  assert states(workdir)["a.csv"] == ("whole", 3)
  # That line was later than the damaged one.
  (workdir / "model/x").unlink()
  assert states(workdir)["model/x"] == ("missing", 3)


def test_half_a_line(workdir):
  """A full disk cuts the last line short: its file is not recorded."""
  (workdir / NAME).write_bytes((workdir / NAME).read_bytes()[:-20])
  record_files(workdir, ENVIRONMENT)
  write(workdir / "c.csv", "seven")
  (lost,) = WHOLE.keys() - states(workdir).keys()
  assert states(workdir) == {
    **{name: state for name, state in WHOLE.items() if name != lost},
    "c.csv": ("whole", 2),
  }
  assert Manifest(workdir).runs.keys() == {1, 2}


ODD = (
  '{"path": 5, "sha256": "0", "bytes": 1, "run": 1}',
  '{"path": "maps/x", "sha256": 0, "bytes": "1", "run": 1}',
  '{"path": "maps/x", "run": 1, "began": "x", "versions": {}, "devices": []}',
  '{"folder": 7, "run": 1}',
  '{"run": [1], "began": "x"}',
  '{"run": 1, "began": "x", "versions": 3, "devices": []}',
  '{"run": 1, "began": "x", "versions": {}, "devices": 3}',
  '{"run": 1}',
)


@pytest.mark.parametrize(
  "line",
  [
    *ODD,
    # The same with their checksums.
    *(
      line[:-1] + f', "crc32": "{zlib.crc32(line.encode()):08x}"}}'
      for line in ODD
    ),
    # Without a checksum; a list; too deep to be read; no JSON.
    '{"path": "a.csv", "sha256": "0", "bytes": 1, "run": 1}',
    '["run"]',
    "[" * 100_000,
    "\0\ufffd",
  ],
)
def test_odd_lines_are_damaged(workdir, line):
  with open(workdir / NAME, "a") as file:
    file.write(line + "\n")
  check_reused(workdir)
  record_files(workdir, None)
  assert states(workdir) == WHOLE
  assert list(Manifest(workdir).damaged.values()) == [line]


@pytest.mark.parametrize("damage", [to_folder, to_nowhere])
def test_manifest_that_is_not_a_file(workdir, damage):
  path = workdir / NAME
  damage(path)
  with pytest.raises(UserError, match=f"is not a file; remove {path}, and the"):
    record_files(workdir, ENVIRONMENT)


def test_folder_on_another_disk(tmp_path, monkeypatch):
  root, scratch = tmp_path / "run", tmp_path / "scratch"
  root.mkdir()
  scratch.mkdir()
  (root / "data").symlink_to(scratch)
  # So may the workdir itself.
  (tmp_path / "link").symlink_to(root)
  monkeypatch.chdir(tmp_path)
  record_files("link", ENVIRONMENT)
  write(root / "data/subject-00.h5", "one")
  write(root.relative_to(tmp_path) / "data/subject-01.h5", "two")
  write(tmp_path / "link/a.csv", "three")
  names = ("data/subject-00.h5", "data/subject-01.h5", "a.csv")
  assert states(root) == dict.fromkeys(names, ("whole", 1))
  flip(scratch / "subject-00.h5")
  with pytest.raises(UserError, match=r"00\.h5: is not as run 1"):
    check_reused(root)


def test_umask_decides_who_may_write(tmp_path):
  before = os.umask(0o002)
  try:
    record_files(tmp_path, ENVIRONMENT)
  finally:
    os.umask(before)
  assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o664
