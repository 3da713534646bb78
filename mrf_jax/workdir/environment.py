"""Versions, devices and commit that results depend on."""

import os
import pathlib
import platform
import subprocess
from importlib import metadata

import jax

from mrf_jax import __version__

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "mri-nufft", "finufft")


def environment(config: dict) -> dict:
  """What results depend on besides the configuration, as JSON stores it.

  Returns:
    `python`, `versions` of packages (None: not installed), `devices`, `cores`,
    `git_commit`, and the configuration's `seed`.
  """
  # Of this program itself, whose commit is not known where it is installed.
  versions: dict[str, str | None] = {"mrf_jax": __version__}
  for package in _PACKAGES:
    try:
      versions[package] = metadata.version(package)
    except metadata.PackageNotFoundError:
      versions[package] = None
  return {
    "python": platform.python_version(),
    "versions": versions,
    "devices": [device.device_kind for device in jax.devices()],
    "cores": os.cpu_count(),
    "git_commit": git_commit(),
    "seed": config.get("seed"),
  }


def code_version() -> str:
  """Version of this program, with the commit of the code if it is known."""
  commit = git_commit()
  return f"{__version__} ({commit})" if commit else __version__


def git_commit() -> str | None:
  """Commit of the code that runs, with `-dirty` if files were changed since.

  None if the code is not part of a repository: it may be installed within the
  repository of a user, whose commit says nothing about it.
  """
  path = pathlib.Path(__file__)
  try:
    _git("ls-files", "--error-unmatch", path.name, folder=path.parent)
    return _git(
      "describe", "--always", "--dirty", "--abbrev=40", folder=path.parent
    )
  except (OSError, subprocess.CalledProcessError):
    return None


def _git(*arguments: str, folder: pathlib.Path) -> str:
  """Output of a git command in a folder; raises an error if it fails."""
  # In containers the files often belong to another user. git then asks for
  # permission, and that user's programs (fsmonitor) must not run.
  options = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
  done = subprocess.run(
    ["git", *options, *arguments],
    cwd=folder,
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout.strip()
