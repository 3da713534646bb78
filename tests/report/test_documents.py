"""Documents equal what commands write from their records."""

import importlib.util
import json
import pathlib
import re

import numpy as np
import pytest

import mrf_jax
from configs.demo import get_config as demo_config
from mrf_jax.maps import Maps
from mrf_jax.methods.study import Study
from mrf_jax.report.page import results_page
from mrf_jax.report.write import read_notes
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from tests.dataset.examples import make_subject

ROOT = pathlib.Path(__file__).parents[2]
# Folders with the page of a report.
RESULTS = ("docs", "docs/ablation", "docs/high_noise")
DOCUMENTS = [
  path.relative_to(ROOT)
  for folder in (".", *RESULTS, "docs/api", "examples")
  for path in sorted((ROOT / folder).glob("*.md"))
]


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


def test_documents_have_the_speeds(run, record):
  readme = (ROOT / "README.md").read_text()
  assert readme == run.readme_with_speeds(readme, record)
  page = (ROOT / "docs" / "speed.md").read_text()
  assert page == run.page_with_speeds(page, record)
  rows = set(run.ratio_table(record))
  assert rows <= set(page.splitlines())
  # Two lines are the head of the table.
  assert len(rows & set(readme.splitlines())) == 2 + len(run._README_ROWS)


def test_documents_have_the_demo_tables():
  demo = script("docs/run_demo.py")
  record = json.loads((ROOT / "docs" / "demo.json").read_text())
  texts = {name: (ROOT / name).read_text() for name in demo._DOCUMENTS}
  for text in texts.values():
    assert text == demo.with_demo(text, record)
    assert "<!-- demo: origin -->" in text
  for method in demo_config().methods:
    assert f"| wm | {method} |" in texts["docs/demo.md"].lower()
    # The whole brain alone, without the column that says so.
    assert f"\n| {method} |" in texts["README.md"]


def test_readme_is_a_screen_and_a_half():
  assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_pipeline_names_folders_of_the_package():
  folders = {path.parent.name for path in (ROOT / "mrf_jax").glob("*/*.py")}
  steps = script("docs/draw_pipeline.py").STEPS
  drawn = {folder for _, _, names in steps for folder in names}
  assert drawn <= folders
  page = (ROOT / "docs" / "pipeline.md").read_text()
  assert set(re.findall(r"^mrf_jax/(\w+)/", page, re.MULTILINE)) == folders


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_links_lead_somewhere(path):
  """Files exist, and headings have the names that links ask for."""
  text = _without_code((ROOT / path).read_text())
  for target in re.findall(r"\]\(([^)\s]+)\)", text):
    if re.match(r"[a-z]+:", target):
      continue
    name, _, heading = target.partition("#")
    file = (ROOT / path).parent / name if name else ROOT / path
    assert file.exists(), target
    assert not heading or heading in _anchors(file.read_text()), target


def test_method_of_the_methods_page_runs():
  """Maps that are linear in the signals are estimated without error."""
  page = (ROOT / "docs" / "methods.md").read_text()
  (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
  names = {}
  exec(code, names)
  acquisition = Acquisition(tailored(20), window=10, stride=2)
  mask = np.ones((2, 6, 5), bool)
  subjects = [make_subject(mask, acquisition, seed) for seed in range(3)]
  truth = [
    Maps.unstack(5 + s.signals.real[:, :3] - s.signals.imag[:, 3:])
    for s in subjects
  ]
  study = Study(
    config=None,
    workdir=None,
    subjects=subjects,
    load=lambda k: subjects[k],
    references=truth,
    folds=(0, 2),
    models=None,
  )
  names["check_linear"](None, n_windows=acquisition.n_windows)
  estimates = names["linear"](study)
  for fold, maps in zip(study.folds, estimates.maps, strict=True):
    np.testing.assert_allclose(maps.stack(), truth[fold].stack(), atol=1e-4)


def test_api_reference_has_every_public_name():
  pages = (ROOT / "docs" / "api").glob("*.md")
  documented = re.findall(
    r"^\.\. auto\w+:: (\w+)$",
    "\n".join(path.read_text() for path in pages),
    re.MULTILINE,
  )
  missing = set(mrf_jax.__all__) - set(documented)
  assert not missing, f"docs/api lacks {', '.join(sorted(missing))}"


def _anchors(text):
  """Names that GitHub and the site give to headings."""
  headings = re.findall(r"^#+ (.*)$", _without_code(text), re.MULTILINE)
  words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
  return {word.replace(" ", "-") for word in words}


def _without_code(text):
  return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("folder", RESULTS)
def test_results_page_equals_its_record(folder):
  docs = ROOT / folder
  record = json.loads((docs / "results.json").read_text())
  page = results_page(record, read_notes(docs / "results_notes.md"))
  assert (docs / "results.md").read_text() == page
  for picture in re.findall(r"\((results/.*?\.png)\)", page):
    assert (docs / picture).stat().st_size > 0
  # A note under a heading that no section has would be missing.
  for name, text in read_notes(docs / "results_notes.md").items():
    assert text in page, name
