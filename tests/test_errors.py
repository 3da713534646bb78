"""Unforeseen errors become one line, and their tracebacks are kept."""

import errno

import pytest

from mrf_jax import errors


def caught(function):
  try:
    function()
  except Exception as error:
    return error


def full_disk():
  raise OSError(errno.ENOSPC, "No space left on device", "a.nii.gz")


def full_disk_in_hdf5():
  try:
    raise OSError("Can't write data (errno = 28, 'No space left on device')")
  except OSError as error:
    raise RuntimeError("unable to flush") from error


def read_only():
  raise OSError(errno.EROFS, "Read-only file system", "b.csv")


def out_of_memory():
  raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")


def defect():
  raise KeyError("a\nb" + 500 * "c")


@pytest.mark.parametrize(
  ("function", "words"),
  [
    (full_disk, "a.nii.gz: no space left on the device"),
    (full_disk_in_hdf5, "no space left on the device"),
    (read_only, "b.csv: the file system is read-only"),
    (out_of_memory, "out of memory (RESOURCE_EXHAUSTED: Out of memory alloc"),
    (defect, "unexpected KeyError: "),
  ],
)
def test_line_names_error_and_traceback(function, words, tmp_path):
  line = errors.report_unexpected(caught(function), str(tmp_path))
  assert line.startswith(words)
  assert "\n" not in line and len(line) < 400 + len(str(tmp_path))
  assert line.endswith(f"; the traceback is in {tmp_path / 'errors.log'}")
  log = (tmp_path / "errors.log").read_text()
  assert function.__name__ in log and "Traceback" in log


def test_second_traceback_is_appended(tmp_path):
  for function in (full_disk, defect):
    errors.report_unexpected(caught(function), str(tmp_path))
  assert (tmp_path / "errors.log").read_text().count("Traceback") == 2


def test_without_workdir_log_is_temporary(tmp_path, monkeypatch):
  monkeypatch.setattr(errors.tempfile, "tempdir", str(tmp_path))
  for workdir in (None, str(tmp_path / "gone")):
    line = errors.report_unexpected(caught(defect), workdir)
  assert not (tmp_path / "gone").exists()
  logs = list(tmp_path.iterdir())
  assert len(logs) == 2 and any(str(log) in line for log in logs)


def test_line_without_any_log(tmp_path, monkeypatch):
  monkeypatch.setattr(errors.tempfile, "tempdir", str(tmp_path / "gone"))
  line = errors.report_unexpected(caught(full_disk), str(tmp_path / "gone"))
  assert line == "a.nii.gz: no space left on the device"
