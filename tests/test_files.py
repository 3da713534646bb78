"""Files appear whole or not at all, and killed processes leave nothing."""

import os
import subprocess
import sys

import pytest

from mrf_jax import UserError, files
from mrf_jax.files import (
  check_room,
  replacing,
  replacing_files,
  replacing_folder,
)


@pytest.fixture(scope="module")
def dead() -> int:
  """Number of a process that is no more."""
  process = subprocess.Popen([sys.executable, "-c", ""])
  process.wait()
  return process.pid


def test_a_failed_block_leaves_the_old_file(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text("old")
  with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
    assert temporary.suffix == ".csv"
    temporary.write_text("half")
    _ = 1 / 0
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["a.csv"]


def test_what_dead_processes_left_goes_what_others_write_stays(tmp_path, dead):
  mine = tmp_path / f".tmp-{dead}-a.csv"
  theirs = tmp_path / f".tmp-{os.getppid()}-a.csv"
  other = tmp_path / f".tmp-{dead}-b.csv"
  for path in (mine, theirs, other, tmp_path / ".tmp-x-a.csv"):
    path.write_text("half")
  with replacing(tmp_path / "a.csv") as temporary:
    temporary.write_text("new")
  assert not mine.exists()
  assert theirs.exists() and other.exists()
  assert (tmp_path / "a.csv").read_text() == "new"


def test_a_folder_in_the_way_is_named(tmp_path):
  (tmp_path / "a.csv").mkdir()
  with (
    pytest.raises(UserError, match=r"remove .*a\.csv, and the same command"),
    replacing(tmp_path / "a.csv"),
  ):
    pass


def test_files_of_a_folder_change_together(tmp_path, dead):
  (tmp_path / f".new-{dead}").mkdir()
  for name in ("a", "b", "own"):
    (tmp_path / name).write_text("old")
  with replacing_files(tmp_path, instead_of=("b", "c")) as new:
    (new / "a").write_text("new")
    (new / "d").write_text("new")
    assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "b").exists()
  found = {path.name: path.read_text() for path in tmp_path.iterdir()}
  assert found == {"a": "new", "d": "new", "own": "old"}


def test_if_one_fails_all_stay(tmp_path):
  (tmp_path / "a").write_text("old")
  with (
    pytest.raises(ZeroDivisionError),
    replacing_files(tmp_path, instead_of=("a",)) as new,
  ):
    (new / "a").write_text("new")
    _ = 1 / 0
  assert [p.name for p in tmp_path.iterdir()] == ["a"]
  assert (tmp_path / "a").read_text() == "old"


def test_a_replaced_folder_has_nothing_of_the_old_one(tmp_path):
  for name in ("one", "two"):
    with replacing_folder(tmp_path / "model") as folder:
      (folder / name).write_text(name)
  assert os.listdir(tmp_path / "model") == ["two"]
  assert os.listdir(tmp_path) == ["model"]


def test_room_is_asked_for_first(tmp_path, monkeypatch):
  check_room(tmp_path, 1000)
  with pytest.raises(OSError, match="No space left"):
    check_room(tmp_path, 1 << 60)
  monkeypatch.setattr(files.resource, "getrlimit", lambda which: (999, 999))
  with pytest.raises(OSError, match="too large"):
    check_room(tmp_path, 1000)
