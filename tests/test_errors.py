"""Errors that nobody has foreseen, in one line."""

import errno

import pytest

from mrf_jax import errors


def failed(function):
  try:
    function()
  except Exception as error:
    return error


def full_disk():
  raise OSError(errno.ENOSPC, "No space left on device", "a.nii.gz")


def full_disk_of_hdf5():
  try:
    raise OSError("Can't write data (errno = 28, 'No space left on device')")
  except OSError as error:
    raise RuntimeError("unable to flush") from error


def read_only():
  raise OSError(errno.EROFS, "Read-only file system", "b.csv")


def out_of_memory():
  raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")


def a_bug():
  raise KeyError("a\nb" + 500 * "c")


@pytest.mark.parametrize(
  ("function", "words"),
  [
    (full_disk, "a.nii.gz: no space left on the device"),
    (full_disk_of_hdf5, "no space left on the device"),
    (read_only, "b.csv: the file system is read-only"),
    (out_of_memory, "out of memory (RESOURCE_EXHAUSTED: Out of memory alloc"),
    (a_bug, "unexpected KeyError: "),
  ],
)
def test_one_line_says_what_it_is_and_where_the_traceback_is(
  function, words, tmp_path
):
  said = errors.report_unexpected(failed(function), str(tmp_path))
  assert said.startswith(words)
  assert "\n" not in said and len(said) < 400 + len(str(tmp_path))
  assert said.endswith(f"; the traceback is in {tmp_path / 'errors.log'}")
  story = (tmp_path / "errors.log").read_text()
  assert function.__name__ in story and "Traceback" in story


def test_a_second_story_stands_behind_the_first(tmp_path):
  for function in (full_disk, a_bug):
    errors.report_unexpected(failed(function), str(tmp_path))
  assert (tmp_path / "errors.log").read_text().count("Traceback") == 2


def test_without_a_workdir_the_system_has_a_place(tmp_path, monkeypatch):
  monkeypatch.setattr(errors.tempfile, "tempdir", str(tmp_path))
  for workdir in (None, str(tmp_path / "gone")):
    said = errors.report_unexpected(failed(a_bug), workdir)
  assert not (tmp_path / "gone").exists()
  logs = list(tmp_path.iterdir())
  assert len(logs) == 2 and any(str(log) in said for log in logs)


def test_without_any_place_the_line_is_all(tmp_path, monkeypatch):
  monkeypatch.setattr(errors.tempfile, "tempdir", str(tmp_path / "gone"))
  said = errors.report_unexpected(failed(full_disk), str(tmp_path / "gone"))
  assert said == "a.nii.gz: no space left on the device"
