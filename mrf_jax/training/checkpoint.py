"""Checkpoints of a running training, one folder a fold and moment."""

import contextlib
import dataclasses
import json
import pathlib
import re
import shutil
from collections.abc import Callable

import jax
import numpy as np

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.errors import UserError, one_line, reason
from mrf_jax.io.arrays import (
  checksum,
  load_arrays,
  named_leaves,
  save_arrays,
  text_checksum,
)
from mrf_jax.io.atomic import replacing_folder
from mrf_jax.training.step import TrainState

_FORMAT = "mrf-checkpoint"
_VERSION = 1
# Checksum of all else that is said of a checkpoint.
_OWN = "description_sha256"
_NAME = re.compile(r"step-(\d+)")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """A moment of a fold's training, on the host.

  Attributes:
    state: model, optimiser and steps done.
    key: data of the random key, which with the steps done says what is sampled
      next.
    map_range: that the maps are scaled with.
    seconds: of training until then, restarts included.
    basis: temporal components that the signals were projected on, or None.
  """

  state: TrainState
  key: np.ndarray
  map_range: MapRange
  seconds: float
  basis: np.ndarray | None = None

  @property
  def step(self) -> int:
    """Steps done."""
    return int(self.state.step)


class Checkpoints:
  """The checkpoints of one method in a folder."""

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    config: dict,
    differences: Callable[[dict, dict], list[str]],
    warn: Callable[[str], None],
  ):
    """Looks at a folder; it need not exist.

    Args:
      folder: of the method.
      config: the configuration that the training depends on, as JSON has it.
      differences: what sets one configuration apart from another, in words.
      warn: told what went wrong and was got over.
    """
    self._folder = folder
    self._config = config
    self._differences = differences
    self._warn = warn

  def save(self, fold: int, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint, whole or not at all, and removes outdated ones.

    If it cannot be written, `warn` is told, and those before it stay.

    Args:
      fold: number of the left-out subject.
      checkpoint: the moment.
    """
    path = self._path(fold, checkpoint.step)
    leaves = _leaves(checkpoint)
    description = {
      "format": _FORMAT,
      "version": _VERSION,
      "fold": fold,
      "step": checkpoint.step,
      "seconds": checkpoint.seconds,
      "sha256": checksum(leaves),
      "config": self._config,
    }
    description[_OWN] = text_checksum(description)
    try:
      with replacing_folder(path) as folder:
        save_arrays(folder / "arrays", leaves)
        text = json.dumps(description, indent=1)
        (folder / "checkpoint.json").write_text(text + "\n")
    # Storage has errors of many types.
    except Exception as error:
      newest = max(self.steps(fold), default=None)
      kept = (
        f"the one of step {newest} stays" if newest else "there is none yet"
      )
      self._warn(
        f"{path}: the checkpoint cannot be written ({reason(error)}); "
        f"{kept}, and the training goes on"
      )
      return
    # This one and the one before it, which is for the case that this one gets
    # damaged; later ones were left aside when the training began.
    before = [step for step in self.steps(fold) if step < checkpoint.step]
    for step in self.steps(fold):
      if step not in (checkpoint.step, *before[-1:]):
        shutil.rmtree(self._path(fold, step), ignore_errors=True)

  def newest(
    self, folds: list[int], like: list[Checkpoint]
  ) -> list[Checkpoint]:
    """The newest sound checkpoints.

    Args:
      folds: numbers of the left-out subjects.
      like: the beginning of each, which also gives the shapes.

    Returns:
      For each fold its newest checkpoint: of one step for all where there is
      such a step, else each of its own; what it began with if there is none.

    Raises:
      UserError: a checkpoint is of another configuration.
    """
    loaded: dict[tuple[int, int], Checkpoint | None] = {}

    def sound(fold: int, step: int) -> Checkpoint | None:
      if (fold, step) not in loaded:
        loaded[fold, step] = self._load(fold, step, like[folds.index(fold)])
      return loaded[fold, step]

    common = set.intersection(*(set(self.steps(fold)) for fold in folds))
    for step in sorted(common, reverse=True):
      found = [sound(fold, step) for fold in folds]
      whole = [checkpoint for checkpoint in found if checkpoint is not None]
      if len(whole) == len(folds):
        return whole
    chosen = []
    for fold, beginning in zip(folds, like, strict=True):
      steps = reversed(self.steps(fold))
      candidates = (sound(fold, step) for step in steps)
      chosen.append(next((c for c in candidates if c is not None), beginning))
    return chosen

  def steps(self, fold: int) -> list[int]:
    """Steps of which a fold has checkpoints, ascending."""
    folder = self._fold_folder(fold)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    matches = filter(None, map(_NAME.fullmatch, names))
    return sorted(int(match[1]) for match in matches)

  def remove(self, fold: int) -> None:
    """Forgets a fold whose training is over."""
    shutil.rmtree(self._fold_folder(fold), ignore_errors=True)
    # The last one takes the empty folders along.
    with contextlib.suppress(OSError):
      self._folder.rmdir()
      self._folder.parent.rmdir()

  def _fold_folder(self, fold: int) -> pathlib.Path:
    return self._folder / f"fold-{fold}"

  def _path(self, fold: int, step: int) -> pathlib.Path:
    return self._fold_folder(fold) / f"step-{step:08d}"

  def _load(self, fold: int, step: int, like: Checkpoint) -> Checkpoint | None:
    """A sound checkpoint; of a damaged one None, and `warn` is told."""
    path = self._path(fold, step)
    try:
      text = json.loads((path / "checkpoint.json").read_text())
      if (text["format"], text["version"]) != (_FORMAT, _VERSION):
        raise ValueError(f"{text['format']} version {text['version']}")
      # Checkpoints of earlier versions have none.
      own = text.pop(_OWN, None)
      if own is not None and own != text_checksum(text):
        raise ValueError("checkpoint.json was changed after it was written")
      different = self._differences(text["config"], self._config)
      if different:
        raise UserError(
          f"{path}: is a checkpoint of another configuration: "
          f"{', '.join(different[:3])}; remove it to begin anew"
        )
      leaves = load_arrays(path / "arrays")
      if checksum(leaves) != text["sha256"]:
        raise ValueError("the arrays are not those that were written")
      return _restored(leaves, like, seconds=float(text["seconds"]))
    except UserError:
      raise
    # A damaged file may raise anything.
    except Exception as error:
      self._warn(
        f"{path}: a damaged checkpoint is left aside ({one_line(error)})"
      )
      return None


def remove_finished(
  folder: pathlib.Path, fold: int, *, is_over: Callable[[dict], bool]
) -> None:
  """Forgets trainings that came to their end without doing so themselves.

  Args:
    folder: holds folders of methods.
    fold: number of the left-out subject.
    is_over: whether a checkpoint of this configuration is needed no more; all
      of a method's must be.
  """

  def goes(step: pathlib.Path) -> bool:
    try:
      text = json.loads((step / "checkpoint.json").read_text())
      return is_over(dict(text["config"]))
    except FileNotFoundError:
      # Of one whose removal was cut short.
      return True
    except (OSError, ValueError, KeyError, TypeError):
      return False

  for path in sorted(folder.glob(f"*/fold-{fold}")):
    if all(goes(step) for step in path.glob("step-*")):
      shutil.rmtree(path, ignore_errors=True)
      with contextlib.suppress(OSError):
        path.parent.rmdir()


@dataclasses.dataclass(frozen=True)
class Saving:
  """When checkpoints are written.

  Attributes:
    checkpoints: where to.
    every_epochs: epochs from one to the next.
    every_minutes: the longest time from one to the next.
  """

  checkpoints: Checkpoints
  every_epochs: int = 1
  every_minutes: float = 10.0


def _leaves(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
  """All arrays under the names of their places."""
  leaves = named_leaves(checkpoint.state, "state") | {
    "key": checkpoint.key,
    "maps_low": checkpoint.map_range.low,
    "maps_high": checkpoint.map_range.high,
  }
  if checkpoint.basis is not None:
    leaves["basis"] = checkpoint.basis
  return leaves


def _restored(
  leaves: dict[str, np.ndarray], like: Checkpoint, *, seconds: float
) -> Checkpoint:
  """The checkpoint of these arrays, if they have the places and shapes."""
  wanted = _leaves(like)
  if leaves.keys() != wanted.keys():
    raise ValueError(f"other arrays: {sorted(leaves.keys() ^ wanted.keys())}")
  for name, leaf in wanted.items():
    if leaves[name].shape != leaf.shape:
      raise ValueError(f"{name} has shape {leaves[name].shape}")
  for name in ("key", "maps_low", "maps_high"):
    if not np.array_equal(leaves[name], wanted[name]):
      raise ValueError(f"{name} is not that of these subjects and this seed")
  # Another machine's basis may be turned; the network knows only its own.
  if "basis" in wanted and not np.allclose(
    leaves["basis"], wanted["basis"], atol=1e-4
  ):
    raise ValueError("the temporal basis is not that of this machine")
  state = jax.tree.unflatten(
    jax.tree.structure(like.state),
    [leaves[name] for name in named_leaves(like.state, "state")],
  )
  return dataclasses.replace(like, state=state, seconds=seconds)
