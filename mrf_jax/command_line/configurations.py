"""Configurations by name or file, and what `configs` is for their imports."""

import ast
import contextlib
import importlib.abc
import importlib.machinery
import os
import pathlib
import runpy
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import mrf_jax
from mrf_jax.errors import UserError

if TYPE_CHECKING:
  import ml_collections

_PACKAGE = "configs"
# Not an experiment: what the others start from.
_BASES = ("common",)


def built_in_folder() -> pathlib.Path:
  """Folder of the configurations that come with the program."""
  package = pathlib.Path(mrf_jax.__file__).parent
  # A wheel has them within the package, the repository next to it.
  inside = package / _PACKAGE
  return inside if inside.is_dir() else package.parent / _PACKAGE


def built_in() -> dict[str, str]:
  """Names of the built-in configurations, and what each is, in one line."""
  return {
    path.stem: _first_line(path)
    for path in sorted(built_in_folder().glob("*.py"))
    if path.stem not in _BASES and not path.stem.startswith("_")
  }


def _first_line(path: pathlib.Path) -> str:
  """First line of a file's docstring."""
  text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
  return text.partition("\n")[0]


def check_exists(name: str) -> None:
  """Raises `UserError` unless a built-in configuration or a file is there."""
  if name in built_in():
    return
  names = ", ".join(built_in())
  if os.path.isdir(name):
    raise UserError(
      f"--config: {name} is a folder; a configuration is a file, or one of "
      f"{names}"
    )
  if not os.path.exists(name):
    raise UserError(
      f"--config: {name}: there is no such configuration file; built in are "
      f"{names}"
    )


@contextlib.contextmanager
def opened(text: str) -> Iterator[str]:
  """A configuration to be read within the block, with its own imports.

  `from configs import …` gives a built-in configuration the built-in ones,
  whatever else has this name, and a file of a user those of the user first.

  Args:
    text: name or file, and maybe `:` and an argument of its `get_config`.

  Yields:
    File, `:` and argument.

  Raises:
    UserError: there is no such configuration.
  """
  name, colon, argument = text.partition(":")
  check_exists(name)
  is_ours = name in built_in()
  path = str(built_in_folder() / f"{name}.py") if is_ours else name
  finder = _Finder(with_users=not is_ours)
  before = _forget_package()
  sys.meta_path.insert(0, finder)
  try:
    yield f"{path}{colon}{argument}"
  finally:
    sys.meta_path.remove(finder)
    # A user's program may import a package of this name, too.
    _forget_package()
    sys.modules.update(before)


def load_built_in(name: str) -> "ml_collections.ConfigDict":
  """A built-in configuration as it stands in its file."""
  with opened(name) as path:
    return runpy.run_path(path)["get_config"]()


def _forget_package() -> dict:
  """Takes `configs` and its modules out of those that are imported."""
  names = [n for n in sys.modules if n.partition(".")[0] == _PACKAGE]
  return {name: sys.modules.pop(name) for name in names}


class _Finder(importlib.abc.MetaPathFinder):
  """Finds the package `configs`: the user's, if wanted, and the built-in."""

  def __init__(self, *, with_users: bool):
    self._with_users = with_users

  def find_spec(self, name, path=None, target=None):
    """Specification of the package; None for any other module."""
    del path, target
    if name != _PACKAGE:
      return None
    own = None
    if self._with_users:
      # An installed command does not look into the current folder by itself.
      places = [*sys.path, os.getcwd()]
      own = importlib.machinery.PathFinder.find_spec(name, places)
    if own is not None and own.submodule_search_locations is None:
      # A file configs.py, which holds no others.
      return own
    theirs = own.submodule_search_locations or () if own else ()
    found = own
    if found is None or found.loader is None:
      # A folder without __init__.py.
      found = importlib.machinery.ModuleSpec(name, None, is_package=True)
    found.submodule_search_locations = [*theirs, str(built_in_folder())]
    return found
