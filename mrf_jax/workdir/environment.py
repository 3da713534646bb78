"""Versions, devices and commit that results depend on."""

import os
import pathlib
import platform
import subprocess
from importlib import metadata

import jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "mri-nufft", "finufft")


def environment(config: dict) -> dict:
  """What the results depend on besides the configuration."""
  versions: dict[str, str | None] = {}
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


def git_commit() -> str | None:
  """Commit of the code that runs; `-dirty` if the tree was changed since.

  None where no repository has it, such as one that it was installed within.
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
  """What git says there, and if it fails an error."""
  # In containers the files are often another user's, whose programs are not
  # to run.
  options = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
  done = subprocess.run(
    ["git", *options, *arguments],
    cwd=folder,
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout.strip()
