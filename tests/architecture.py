"""Measures of the code: loose files, imports between folders, lengths.

Prints a table of the tree that it lies in, or of several:

  python tests/architecture.py [FOLDER …]
"""

import ast
import pathlib
import sys

# From the ground up. A file imports from its own folder, and from those above.
LAYERS = (
  ("errors", "maps", "checks", "units"),
  ("runtime",),
  ("io",),
  ("sequence",),
  ("workdir",),
  ("evaluation",),
  ("signal",),
  ("kspace",),
  ("dataset",),
  ("relaxometry",),
  ("matching",),
  ("fit",),
  ("networks",),
  ("importing",),
  ("simulation",),
  ("training",),
  ("inference",),
  ("methods",),
  ("experiment",),
  ("timing",),
  ("report",),
  ("command_line",),
  ("stages",),
)


def python_files(folder: pathlib.Path) -> list[pathlib.Path]:
  """Python files below a folder, in order."""
  return sorted(folder.rglob("*.py"))


def module_name(path: pathlib.Path, root: pathlib.Path) -> str:
  """Dotted name of a file of the package."""
  parts = path.relative_to(root).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: pathlib.Path) -> dict[str, set[str]]:
  """Modules of the package to the modules of the package that they import."""
  files = {module_name(p, root): p for p in python_files(root / "mrf_jax")}
  found = {}
  for name, path in files.items():
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
          whole = f"{node.module}.{alias.name}"
          names.add(whole if whole in files else node.module)
      elif isinstance(node, ast.Import):
        names |= {alias.name for alias in node.names}
    found[name] = {n for n in names if n in files and n != "mrf_jax"} - {name}
  return found


def imports_that_run_up(graph: dict[str, set[str]]) -> list[str]:
  """Imports of a folder that stands below the importing one in `LAYERS`."""
  height = {part: level for level, row in enumerate(LAYERS) for part in row}
  wrong = []
  for module, targets in graph.items():
    own = module.split(".")[1:2]
    for target in sorted(targets) if own else ():
      other = target.split(".")[1]
      # Folders of other trees than this one may not be in the table.
      if {other, own[0]} <= height.keys() and height[other] > height[own[0]]:
        wrong.append(f"{module} imports {target}")
  return wrong


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
  """Groups of modules that import each other, in whatever many steps."""
  reached: dict[str, set[str]] = {}
  for start in graph:
    seen: set[str] = set()
    todo = [start]
    while todo:
      new = graph.get(todo.pop(), set()) - seen
      seen |= new
      todo += new
    reached[start] = seen
  groups = {
    tuple(sorted(m for m in seen if start in reached.get(m, ())))
    for start, seen in reached.items()
    if start in seen
  }
  return [list(group) for group in sorted(groups)]


def functions(root: pathlib.Path) -> list[tuple[str, int, int, bool]]:
  """Place, arguments and lines of body of each function, and if it is public.

  A docstring is not part of the body.
  """
  found = []
  for path in [*python_files(root / "mrf_jax"), root / "launch.py"]:
    for node in ast.walk(ast.parse(path.read_text())):
      if not isinstance(node, ast.FunctionDef):
        continue
      names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
      count = sum(name.arg not in ("self", "cls") for name in names)
      first = node.body[0]
      is_text = isinstance(first, ast.Expr) and isinstance(
        first.value, ast.Constant
      )
      body = node.body[1:] if is_text else node.body
      lines = node.end_lineno - body[0].lineno + 1 if body else 0
      place = f"{path.relative_to(root)}: {node.name}"
      public = node.name == "__init__" or not node.name.startswith("_")
      found.append((place, count, lines, public))
  return found


def count_lines(paths) -> int:
  """Lines of some files together."""
  return sum(len(path.read_text().splitlines()) for path in paths)


def measures(root: pathlib.Path) -> dict[str, str]:
  """What the table shows of a tree, by its row."""
  graph = imports(root)
  everything = functions(root)
  arguments = max((f for f in everything if f[3]), key=lambda f: f[1])
  body = max(everything, key=lambda f: f[2])
  suites = root / "tests"
  return {
    "Python files loose in mrf_jax/": str(
      len(list((root / "mrf_jax").glob("*.py")))
    ),
    "import circles": str(len(circles(graph))),
    "imports that run up": str(len(imports_that_run_up(graph))),
    "most arguments (public)": f"{arguments[1]} ({arguments[0]})",
    "longest body, lines": f"{body[2]} ({body[0]})",
    "lines of launch.py": str(count_lines([root / "launch.py"])),
    "lines of mrf_jax/": f"{count_lines(python_files(root / 'mrf_jax')):,}",
    "lines of tests/": f"{count_lines(python_files(suites)):,}",
    "test files loose in tests/": str(len(list(suites.glob("test_*.py")))),
  }


def main() -> None:
  """Prints the table."""
  here = pathlib.Path(__file__).parent.parent
  roots = [pathlib.Path(name) for name in sys.argv[1:]] or [here]
  tables = [measures(root.resolve()) for root in roots]
  print("| |", " | ".join(map(str, roots)), "|")
  print("|---|" + "---|" * len(roots))
  for row in tables[0]:
    print(f"| {row} |", " | ".join(table[row] for table in tables), "|")


if __name__ == "__main__":
  main()
