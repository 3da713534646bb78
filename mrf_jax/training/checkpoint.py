"""Checkpoints of a running training: one folder for each fold and step."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
import shutil
import time
from collections.abc import Callable

import jax
import numpy as np

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.errors import UserError, one_line, reason
from mrf_jax.io.arrays import (
  checksum,
  load_arrays,
  named_leaves,
  text_checksum,
)
from mrf_jax.io.atomic import replacing_folder
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.state import TrainState

_FORMAT = "mrf-checkpoint"
_VERSION = 1
# Key of the checksum of everything else in checkpoint.json.
_TEXT_CHECKSUM = "description_sha256"
_STEP_FOLDER = re.compile(r"step-(\d+)")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """The training of one fold at one step, on the host.

  Attributes:
    state: weights, statistics, optimiser and steps done.
    key: data of the random key, which together with the steps done determines
      what is sampled next.
    map_range: range by which the maps are scaled.
    seconds: duration of the training so far, restarts included, s.
    basis: temporal components that the signals are projected on, or None.
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


class CheckpointFolder:
  """Folder of the checkpoints of one method."""

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    config: dict,
    differences: Callable[[dict, dict], list[str]],
    warn: Callable[[str], None],
  ):
    """Names a folder; it need not exist.

    `differences` lists in words how two configurations differ; `warn` is called
    with each error that does not end the training.
    """
    # Now and not after hours of training, in which packages may change.
    from mrf_jax.io import array_folder

    self._save_arrays = array_folder.save_arrays
    self._folder = folder
    self._config = config
    self._differences = differences
    self._warn = warn

  def save(self, fold: int, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint, completely or not at all, and removes older ones.

    If it cannot be written, `warn` is called, and older ones stay.
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
    description[_TEXT_CHECKSUM] = text_checksum(description)
    try:
      with replacing_folder(path) as folder:
        self._save_arrays(folder / "arrays", leaves)
        text = json.dumps(description, indent=1)
        (folder / "checkpoint.json").write_text(text + "\n")
    # Storage has errors of many types.
    except Exception as error:
      newest = max(self.steps(fold), default=None)
      older = f"that of step {newest} stays" if newest else "there is none yet"
      self._warn(
        f"{path}: the checkpoint cannot be written ({reason(error)}); "
        f"{older}, and the training goes on"
      )
      return
    # The one before this one stays, in case this one is damaged later. Those
    # of later steps were not used when the training began.
    earlier = [step for step in self.steps(fold) if step < checkpoint.step]
    for step in self.steps(fold):
      if step not in (checkpoint.step, *earlier[-1:]):
        shutil.rmtree(self._path(fold, step), ignore_errors=True)

  def newest(
    self, folds: list[int], initial: list[Checkpoint]
  ) -> list[Checkpoint]:
    """Loads the newest intact checkpoint of each fold.

    Folds can be vectorised if they are at the same step: if there is a step of
    which all folds have an intact checkpoint, the newest such step is taken. A
    fold without a checkpoint gets its initial one, of step 0.

    Raises:
      UserError: a checkpoint is of another configuration.
    """

    @functools.cache
    def load(fold: int, step: int) -> Checkpoint | None:
      return self._load(fold, step, initial[folds.index(fold)])

    common_steps = set.intersection(*(set(self.steps(fold)) for fold in folds))
    for step in sorted(common_steps, reverse=True):
      candidates = [load(fold, step) for fold in folds]
      intact = [c for c in candidates if c is not None]
      if len(intact) == len(folds):
        return intact
    newest = []
    for fold, first in zip(folds, initial, strict=True):
      own = (load(fold, step) for step in reversed(self.steps(fold)))
      newest.append(next((c for c in own if c is not None), first))
    return newest

  def steps(self, fold: int) -> list[int]:
    """Steps of the checkpoints of a fold, ascending."""
    folder = self._fold_folder(fold)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    matches = filter(None, map(_STEP_FOLDER.fullmatch, names))
    return sorted(int(match[1]) for match in matches)

  def remove(self, fold: int) -> None:
    """Removes the checkpoints of a fold whose training is complete."""
    shutil.rmtree(self._fold_folder(fold), ignore_errors=True)
    # Both are removed with the last fold, when they are empty.
    with contextlib.suppress(OSError):
      self._folder.rmdir()
      self._folder.parent.rmdir()

  def _fold_folder(self, fold: int) -> pathlib.Path:
    return self._folder / f"fold-{fold}"

  def _path(self, fold: int, step: int) -> pathlib.Path:
    return self._fold_folder(fold) / f"step-{step:08d}"

  def _load(
    self, fold: int, step: int, initial: Checkpoint
  ) -> Checkpoint | None:
    """Loads a checkpoint; None, and a call of `warn`, if it is damaged."""
    path = self._path(fold, step)
    try:
      text = json.loads((path / "checkpoint.json").read_text())
      if (text["format"], text["version"]) != (_FORMAT, _VERSION):
        raise ValueError(f"{text['format']} version {text['version']}")
      # Checkpoints of earlier versions have no checksum of the text.
      stored = text.pop(_TEXT_CHECKSUM, None)
      if stored is not None and stored != text_checksum(text):
        raise ValueError("checkpoint.json was changed after it was written")
      different = self._differences(text["config"], self._config)
      if different:
        raise UserError(
          f"{path}: is a checkpoint of another configuration: "
          f"{', '.join(different[:3])}; remove it to start again"
        )
      leaves = load_arrays(path / "arrays")
      if checksum(leaves) != text["sha256"]:
        raise ValueError("the arrays are not those that were written")
      return _restored(leaves, initial, seconds=float(text["seconds"]))
    except UserError:
      raise
    # A damaged file may raise anything.
    except Exception as error:
      self._warn(
        f"{path}: a damaged checkpoint is not used ({one_line(error)})"
      )
      return None


def remove_finished(
  folder: pathlib.Path, fold: int, *, is_complete: Callable[[dict], bool]
) -> None:
  """Removes checkpoints of complete trainings that were not removed then.

  The folder holds the folders of methods. A fold's checkpoints are removed if
  the stored configurations of all of them are of a complete training.
  """

  def is_obsolete(step: pathlib.Path) -> bool:
    try:
      text = json.loads((step / "checkpoint.json").read_text())
      return is_complete(dict(text["config"]))
    except FileNotFoundError:
      # Its removal was interrupted.
      return True
    except (OSError, ValueError, KeyError, TypeError):
      return False

  for path in sorted(folder.glob(f"*/fold-{fold}")):
    if all(is_obsolete(step) for step in path.glob("step-*")):
      shutil.rmtree(path, ignore_errors=True)
      with contextlib.suppress(OSError):
        path.parent.rmdir()


class CheckpointPolicy:
  """Decides when a running training writes checkpoints.

  They are due after a number of epochs, or after a time, whichever is first.
  """

  def __init__(
    self, options: TrainingOptions, *, steps_per_epoch: int, step: int
  ):
    """Begins to count at a step."""
    self._every_steps = options.checkpoint_epochs * steps_per_epoch
    self._every_seconds = 60 * options.checkpoint_minutes
    self.note_written(step)

  def is_due(self, step: int) -> bool:
    """Whether checkpoints of this step should be written."""
    seconds = time.perf_counter() - self._written_at
    return (
      step - self._written_step >= self._every_steps
      or seconds >= self._every_seconds
    )

  def note_written(self, step: int) -> None:
    """Notes that checkpoints of this step have been written."""
    self._written_step, self._written_at = step, time.perf_counter()


def _leaves(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
  """All arrays of a checkpoint by name: field, then place in its tree."""
  leaves = named_leaves(checkpoint.state, "state") | {
    "key": checkpoint.key,
    "maps_low": checkpoint.map_range.low,
    "maps_high": checkpoint.map_range.high,
  }
  if checkpoint.basis is not None:
    leaves["basis"] = checkpoint.basis
  return leaves


def _restored(
  leaves: dict[str, np.ndarray], initial: Checkpoint, *, seconds: float
) -> Checkpoint:
  """The checkpoint with these arrays; `ValueError` if they do not fit it."""
  expected = _leaves(initial)
  if leaves.keys() != expected.keys():
    raise ValueError(f"other arrays: {sorted(leaves.keys() ^ expected.keys())}")
  for name, leaf in expected.items():
    if leaves[name].shape != leaf.shape:
      raise ValueError(f"{name} has shape {leaves[name].shape}")
  for name in ("key", "maps_low", "maps_high"):
    if not np.array_equal(leaves[name], expected[name]):
      raise ValueError(f"{name} is not that of these subjects and this seed")
  # A basis is determined up to a rotation, which another machine may choose
  # differently; the network knows only its own.
  if "basis" in expected and not np.allclose(
    leaves["basis"], expected["basis"], atol=1e-4
  ):
    raise ValueError("the temporal basis is not that of this machine")
  state = jax.tree.unflatten(
    jax.tree.structure(initial.state),
    [leaves[name] for name in named_leaves(initial.state, "state")],
  )
  return dataclasses.replace(initial, state=state, seconds=seconds)
