"""The folder of an experiment: what was asked for, and where results stand."""

import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata

import jax

from mrf_jax.errors import UserError
from mrf_jax.files import replacing

# Methods stand beside each other in a workdir, so their choice may change; the
# results of `design` and `benchmark` stand apart; and on another machine folds
# may be spread, and checkpoints written, in another way.
_FREE_KEYS = (
  "methods",
  "design",
  "benchmark",
  "training.folds_at_once",
  "training.checkpoint_epochs",
  "training.checkpoint_minutes",
)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "mri-nufft", "finufft")


class Workdir:
  """Paths of one experiment's results, all made by one configuration.

  Attributes:
    root: the folder.
    config: the configuration, as JSON holds it.
  """

  def __init__(self, root, config: dict, *, join: bool = False):
    """Opens a workdir, or makes a new one.

    Args:
      root: the folder.
      config: the whole configuration, plain dictionaries and values.
      join: another process has made the workdir; nothing is written.

    Raises:
      UserError: it cannot be written, holds the results of another
        configuration, or is not there to be joined.
    """
    self.root = pathlib.Path(root)
    self.config = json.loads(json.dumps(config))
    if join:
      stored = self._stored_config()
      if stored is None:
        raise UserError(
          f"{self.root}: is not the workdir that process 0 made; all processes "
          "want one on a disk that they share"
        )
      # Nothing may differ here, not even what is free from run to run.
      if stored != self.config:
        different = config_differences(stored, self.config, free=())
        raise UserError(
          f"{self.root}: process 0 has another configuration: "
          + ", ".join(different[:3])
        )
      return
    try:
      self.root.mkdir(parents=True, exist_ok=True)
      stored = self._stored_config()
      if stored is not None:
        self._refuse_other(stored, self.config)
      self._write_json("config.json", config)
      self._write_json("environment.json", environment(config))
      for folder in ("data", "maps", "models", "metrics", "figures"):
        (self.root / folder).mkdir(exist_ok=True)
    except OSError as error:
      raise UserError(
        f"{self.root}: cannot be written ({error.strerror or error})"
      ) from error

  def subject(self, number: int) -> pathlib.Path:
    """File of a subject."""
    return self.root / "data" / f"subject-{number:02d}.h5"

  def model(self, method: str, fold: int) -> pathlib.Path:
    """Bundle of the model that left subject `fold` out."""
    return self.root / "models" / method / f"fold-{fold}"

  def checkpoints(self, method: str) -> pathlib.Path:
    """Folder of the checkpoints of a method while it is trained."""
    return self.root / "checkpoints" / method

  def map_file(self, method: str, number: int, name: str) -> pathlib.Path:
    """NIfTI file of one estimated map (`pd`, `t1_ms` or `t2_ms`)."""
    short = name.removesuffix("_ms")
    return self.root / "maps" / method / f"subject-{number:02d}_{short}.nii.gz"

  def figure(self, name: str) -> pathlib.Path:
    """A picture among the lesser ones."""
    return self.root / "figures" / name

  def _stored_config(self) -> dict | None:
    path = self.root / "config.json"
    if not path.exists():
      return None
    try:
      return json.loads(path.read_text())
    except ValueError as error:
      raise UserError(f"{path}: not JSON ({error})") from error

  def _refuse_other(self, stored: dict, asked: dict) -> None:
    different = config_differences(stored, asked)
    if different:
      shown = ", ".join(different[:3])
      more = f" and {len(different) - 3} more" if len(different) > 3 else ""
      raise UserError(
        f"{self.root}: holds results of another configuration: {shown}{more}; "
        "choose another --workdir"
      )

  def _write_json(self, name: str, content: dict) -> None:
    with replacing(self.root / name) as path:
      path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def config_differences(
  stored: dict, asked: dict, *, free: Sequence[str] = _FREE_KEYS
) -> list[str]:
  """What sets the results of two configurations apart, in words.

  Args:
    stored: the configuration of results that stand.
    asked: the one asked for now.
    free: keys, or beginnings of keys, that may differ.
  """
  stored, asked = _flat(stored), _flat(asked)
  missing = object()

  def is_free(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in free)

  return [
    f"{key}={stored.get(key)} (now {asked.get(key)})"
    for key in sorted({*stored, *asked})
    if stored.get(key, missing) != asked.get(key, missing) and not is_free(key)
  ]


def _flat(tree: dict, prefix: str = "") -> dict:
  """Nested dictionaries as one of dotted keys."""
  flat: dict[str, object] = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= _flat(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat


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
  """Commit of the code that runs; `-dirty` if the tree was changed since."""
  try:
    described = subprocess.run(
      ["git", "describe", "--always", "--dirty", "--abbrev=40"],
      cwd=pathlib.Path(__file__).parent,
      capture_output=True,
      text=True,
      check=True,
    )
  except (OSError, subprocess.CalledProcessError):
    return None
  return described.stdout.strip()
