"""The house stays as it is: imports run one way, functions stay short."""

import importlib
import pathlib

import pytest

from tests.architecture import (
  LAYERS,
  circles,
  count_lines,
  functions,
  imports,
  imports_that_run_up,
)

ROOT = pathlib.Path(__file__).parent.parent


def test_imports_run_one_way():
  graph = imports(ROOT)
  assert not imports_that_run_up(graph)
  assert not circles(graph)
  parts = {name.split(".")[1] for name in graph if "." in name}
  assert parts == {part for row in LAYERS for part in row}


def test_functions_are_short():
  everything = functions(ROOT)
  assert not [f for f in everything if f[3] and f[1] > 12]
  assert not [f for f in everything if f[2] > 80]
  assert count_lines([ROOT / "launch.py"]) <= 80


def test_test_files_have_names_of_their_own():
  """Pytest collects only one file of a name: the folders are no packages."""
  names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
  assert len(names) == len(set(names))


@pytest.mark.parametrize(
  ("folder", "name"),
  [
    ("relaxometry", "fit_t2"),
    ("sequence", "load_sequence"),
    ("workdir", "Workdir"),
  ],
)
def test_folders_that_were_modules(folder, name):
  """Their names are imported from where they stood before."""
  module = importlib.import_module(f"mrf_jax.{folder}")
  assert name in module.__all__
  assert all(hasattr(module, exported) for exported in module.__all__)
