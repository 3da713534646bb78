"""Seconds of fuzzing; `run.py` does it for hours."""

import fuzzing
import pytest

pytestmark = pytest.mark.long


@pytest.mark.parametrize("reader", ["text schedule", "npy series"])
def test_a_reader_refuses_or_reads(reader, sources, tmp_path):
  pytest.importorskip("atheris", reason="no wheel for this system")
  found = fuzzing.fuzz(
    reader,
    sources[reader].path,
    seconds=3,
    keep=tmp_path / "keep",
    least_inputs=200,
  )
  assert not found.found, found.found
  assert found.inputs >= 200 and found.branches > 20


def test_what_is_wrong_is_found(sources, tmp_path, monkeypatch):
  """A reader that a byte leads astray."""
  pytest.importorskip("atheris", reason="no wheel for this system")
  monkeypatch.setenv("MRF_FUZZ_TEST", "1")
  path = sources["text schedule"].path
  found = fuzzing.fuzz(
    "text schedule", path, seconds=20, keep=tmp_path, least_inputs=10**6
  )
  assert found.found.startswith("ZeroDivisionError"), found
  assert list(tmp_path.iterdir())
