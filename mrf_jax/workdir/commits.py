"""Which commits of this program wrote the maps of a workdir."""

import os
import pathlib
from collections.abc import Sequence

from mrf_jax.workdir.manifest import Manifest

# Digits of a commit, as git shows it.
_DIGITS = 7


def commits_of_maps(
  root: str | os.PathLike, methods: Sequence[str]
) -> dict[str, list[str]]:
  """Commits to the methods whose maps they wrote, as the manifest has them."""
  manifest = Manifest(root)
  found: dict[str, dict[str, None]] = {}
  for method in methods:
    for name, entries in manifest.files.items():
      run = manifest.runs.get(entries[-1].run)
      if pathlib.PurePosixPath(name).parts[:2] != ("maps", method) or not run:
        continue
      found.setdefault(_short(run.get("git_commit")), {})[method] = None
  return {commit: [*names] for commit, names in found.items()}


def mixed_maps(root: str | os.PathLike, methods: Sequence[str]) -> str | None:
  """Sentence for a table of maps that several commits wrote; None for one."""
  commits = commits_of_maps(root, methods)
  if len(commits) < 2:
    return None
  parts = "; ".join(f"{', '.join(m)} by {c}" for c, m in commits.items())
  return (
    f"The maps are by {len(commits)} versions of the program: {parts}. Without "
    f"{pathlib.Path(root) / 'maps'} the same command makes all by one."
  )


def _short(commit: str | None) -> str:
  """The first digits of a commit, and whether files were changed since."""
  if commit is None:
    return "one without a commit"
  digits, dash, changed = commit.partition("-")
  return f"{digits[:_DIGITS]}{dash}{changed}"
