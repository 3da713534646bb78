"""Atomic writing: files appear complete or not at all."""

import os
import socket
import subprocess
import sys

import pytest

from mrf_jax import UserError
from mrf_jax.io import atomic
from mrf_jax.io.atomic import (
  check_room,
  replacing,
  replacing_files,
  replacing_folder,
)


@pytest.fixture(scope="module")
def dead() -> int:
  """Number of a process that has ended."""
  process = subprocess.Popen([sys.executable, "-c", ""])
  process.wait()
  return process.pid


def test_failed_block_keeps_old_file(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text("old")
  with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
    assert temporary.suffix == ".csv"
    temporary.write_text("half")
    _ = 1 / 0
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["a.csv"]


def test_leftovers_of_dead_processes_are_removed(tmp_path, dead):
  """What running processes and other hosts are writing stays."""
  host = socket.gethostname().replace("-", "_")
  removed = [
    f"{dead}@{host}-a.csv",
    f"{dead}-a.csv",
    f"{dead}@elsewhere-a.csv",
  ]
  kept = [
    f"{os.getppid()}@{host}-a.csv",
    f"{dead}@{host}-b.csv",
    f"{dead}@another-a.csv",
    "x-a.csv",
  ]
  for name in (*removed, *kept):
    (tmp_path / f".tmp-{name}").write_text("half")
  # A file of another host that has not changed for days.
  os.utime(tmp_path / f".tmp-{removed[2]}", (0, 0))
  with replacing(tmp_path / "a.csv") as temporary:
    temporary.write_text("new")
  names = {path.name.removeprefix(".tmp-") for path in tmp_path.iterdir()}
  assert names == {*kept, "a.csv"}
  assert (tmp_path / "a.csv").read_text() == "new"


def test_leftovers_of_our_number_are_removed(tmp_path):
  """An earlier process had our number: in a container each run may be 1."""
  for suffix in ("a.csv", "new"):
    with replacing(tmp_path / suffix) as temporary:
      temporary.write_text("whole")
  temporary.write_text("half of an earlier one")
  with replacing(tmp_path / "new") as again:
    assert again == temporary and not again.exists()
    again.write_text("whole")
  with replacing_files(tmp_path, record="r") as new:
    (new / "r").write_text("1")
  new.mkdir()
  (new / "x").write_text("half")
  with replacing_files(tmp_path, record="r") as again:
    assert again == new and not list(new.iterdir())
  assert not (tmp_path / "x").exists()


def test_folder_in_the_way_is_named(tmp_path):
  (tmp_path / "a.csv").mkdir()
  with (
    pytest.raises(UserError, match=r"remove .*a\.csv, and the same command"),
    replacing(tmp_path / "a.csv"),
  ):
    pass


def test_files_change_together(tmp_path, dead):
  (tmp_path / f".new-{dead}").mkdir()
  for name in ("a", "b", "own"):
    (tmp_path / name).write_text("old")
  with replacing_files(tmp_path, record="a", instead_of=("b", "c")) as new:
    (new / "a").write_text("new")
    (new / "d").write_text("new")
    assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "b").exists()
  texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
  assert texts == {"a": "new", "d": "new", "own": "old"}


def test_failed_block_keeps_all_files(tmp_path):
  (tmp_path / "a").write_text("old")
  with (
    pytest.raises(ZeroDivisionError),
    replacing_files(tmp_path, record="r", instead_of=("a",)) as new,
  ):
    (new / "a").write_text("new")
    _ = 1 / 0
  assert [p.name for p in tmp_path.iterdir()] == ["a"]
  assert (tmp_path / "a").read_text() == "old"


def test_replaced_folder_has_no_old_file(tmp_path):
  for name in ("one", "two"):
    with replacing_folder(tmp_path / "model") as folder:
      (folder / name).write_text(name)
  assert os.listdir(tmp_path / "model") == ["two"]
  assert os.listdir(tmp_path) == ["model"]


def test_missing_room_is_an_error(tmp_path, monkeypatch):
  check_room(tmp_path, 1000)
  with pytest.raises(OSError, match="No space left"):
    check_room(tmp_path, 1 << 60)
  monkeypatch.setattr(atomic.resource, "getrlimit", lambda which: (999, 999))
  with pytest.raises(OSError, match="too large"):
    check_room(tmp_path, 1000)


def test_folder_in_the_way_changes_nothing(tmp_path):
  """A folder has the name of one of several files that are replaced."""
  (tmp_path / "a").write_text("old")
  (tmp_path / "r").write_text("old")
  (tmp_path / "t2").mkdir()
  with (
    pytest.raises(UserError, match="t2: is a folder"),
    replacing_files(tmp_path, record="r") as new,
  ):
    for name in ("a", "r", "t2"):
      (new / name).write_text("new")
  assert (tmp_path / "a").read_text() == (tmp_path / "r").read_text() == "old"


def test_interrupted_move_leaves_no_record(tmp_path, monkeypatch):
  for name in ("a", "r", "z"):
    (tmp_path / name).write_text("old")
  moved = []

  def stop_at_z(source, target, move=os.replace):
    if target.name == "z":
      raise KeyboardInterrupt
    moved.append(target.name)
    move(source, target)

  monkeypatch.setattr(atomic.os, "replace", stop_at_z)
  with (
    pytest.raises(KeyboardInterrupt),
    replacing_files(tmp_path, record="r") as new,
  ):
    for name in ("a", "r", "z"):
      (new / name).write_text("new")
  assert moved == ["a"]
  assert sorted(os.listdir(tmp_path)) == ["a", "z"]


@pytest.mark.parametrize("link", [False, True])
def test_file_in_the_way_of_folder(tmp_path, link):
  """A file or a link has the name of a folder that is to be written."""
  path = tmp_path / "model"
  if link:
    path.symlink_to("nowhere")
  else:
    path.write_text("a user's own")
  with (
    pytest.raises(UserError, match=r"model: is not a folder.*remove"),
    replacing_folder(path),
  ):
    raise AssertionError("hours of training")
  assert os.path.lexists(path)


def test_failed_move_keeps_old_folder(tmp_path, monkeypatch):
  path = tmp_path / "model"
  with replacing_folder(path) as folder:
    (folder / "a").write_text("old")

  def refuse_new(source, target, move=os.replace):
    if source.name.endswith(".old.tmp") or target.name.endswith(".old.tmp"):
      return move(source, target)
    raise OSError("no")

  monkeypatch.setattr(atomic.os, "replace", refuse_new)
  with pytest.raises(OSError, match="no"), replacing_folder(path) as folder:
    (folder / "a").write_text("new")
  assert (path / "a").read_text() == "old"
  assert os.listdir(tmp_path) == ["model"]
