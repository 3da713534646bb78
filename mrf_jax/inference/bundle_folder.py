"""Folders of model bundles, looked at before JAX starts."""

import os
import pathlib

from mrf_jax.errors import UserError

# Where the bundles of a folder of folds, of methods or of a workdir are.
_INSIDE = ("*", "*/*", "models/*/*")
# Bundles that a message names.
_MOST = 4


def check_bundle_folder(path) -> None:
  """Raises `UserError` unless a folder has the description of a bundle."""
  path = pathlib.Path(path)
  if not os.path.isfile(path / "model.json"):
    raise UserError(f"{path}: {no_bundle(path)}")


def no_bundle(path: pathlib.Path) -> str:
  """Says that a folder is no bundle, and which bundles are in it."""
  text = "no model bundle (a folder with model.json)"
  if not os.path.exists(path):
    return f"{text}; there is no such folder"
  for pattern in _INSIDE:
    found = sorted(
      str(file.parent.relative_to(path))
      for file in path.glob(f"{pattern}/model.json")
    )
    if found:
      more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
      return f"{text}; those in it are {', '.join(found[:_MOST])}{more}"
  return text
