"""Numbers in documents are those that commands wrote."""

import importlib.util
import json
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run():
  path = ROOT / "benchmarks" / "run.py"
  spec = importlib.util.spec_from_file_location("benchmarks_run", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope="module")
def record():
  return json.loads((ROOT / "docs" / "benchmarks.json").read_text())


def test_the_page_of_benchmarks_is_what_they_printed(run, record):
  page = (ROOT / "docs" / "benchmarks.md").read_text()
  assert page == run.benchmarks_page(record)
  for name in ("match", "infer", "train", "simulate", "timing"):
    assert record[name]["text"] in page


def test_the_readme_shows_the_same_speeds(run, record):
  readme = (ROOT / "README.md").read_text()
  assert readme == run.readme_with_speeds(readme, record)
  assert "beside mrpro" in readme
