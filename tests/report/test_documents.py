"""Documents equal what commands write from their records."""

import importlib.util
import json
import pathlib
import re

import pytest

from configs.demo import get_config as demo_config
from mrf_jax.report.page import results_page
from mrf_jax.report.write import read_notes

ROOT = pathlib.Path(__file__).parents[2]


def script(name):
  """Imports a script that is not in the package."""
  path = ROOT / name
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope="module")
def run():
  return script("benchmarks/run.py")


@pytest.fixture(scope="module")
def record():
  return json.loads((ROOT / "docs" / "benchmarks.json").read_text())


def test_benchmarks_page_equals_its_record(run, record):
  page = (ROOT / "docs" / "benchmarks.md").read_text()
  assert page == run.benchmarks_page(record)
  for name in ("match", "infer", "train", "simulate", "timing"):
    assert record[name]["text"] in page


def test_readme_has_the_speeds(run, record):
  readme = (ROOT / "README.md").read_text()
  assert readme == run.readme_with_speeds(readme, record)
  assert "beside mrpro" in readme


def test_readme_has_the_demo_tables():
  demo = script("docs/run_demo.py")
  readme = (ROOT / "README.md").read_text()
  record = json.loads((ROOT / "docs" / "demo.json").read_text())
  assert readme == demo.readme_with_demo(readme, record)
  for method in demo_config().methods:
    assert f"| wm | {method} |" in readme.lower()


def test_results_page_equals_its_record():
  docs = ROOT / "docs"
  record = json.loads((docs / "results.json").read_text())
  page = results_page(record, read_notes(docs / "results_notes.md"))
  assert (docs / "results.md").read_text() == page
  for picture in re.findall(r"\((results/.*?\.png)\)", page):
    assert (docs / picture).stat().st_size > 0
  # A note under a heading that no section has would be missing.
  for name, text in read_notes(docs / "results_notes.md").items():
    assert text in page, name
