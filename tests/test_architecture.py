"""Folders import only from those that stand above them in `LAYERS`."""

import pathlib

from tests.architecture import LAYERS, circles, imports, imports_that_run_up

ROOT = pathlib.Path(__file__).parent.parent


def test_imports_run_one_way():
  graph = imports(ROOT)
  assert not imports_that_run_up(graph)
  assert not circles(graph)
  parts = {name.split(".")[1] for name in graph if "." in name}
  assert parts == {part for row in LAYERS for part in row}
