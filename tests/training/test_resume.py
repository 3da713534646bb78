"""An interrupted training, resumed, equals an uninterrupted one."""

import dataclasses
import functools
import json
import os
import pathlib
import resource
import shutil
import signal
import time
import unittest.mock

import jax
import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.networks.cohen import Cohen
from mrf_jax.runtime.interrupts import Stopped
from mrf_jax.training.checkpoint import CheckpointFolder, CheckpointPolicy
from mrf_jax.training.train import train_folds
from tests.training.examples import OPTIONS, tiny_study

# A network that compiles fast; the noise makes the random key matter.
NETWORK = Cohen(widths=(8,))
FOUR_EPOCHS = dataclasses.replace(
  OPTIONS, tile=1, epochs=4, batch=16, input_noise=0.1
)


class Interrupted(Exception):
  """Ends a training in these tests."""


def checkpoints(folder, warnings=None, config=None):
  return CheckpointFolder(
    pathlib.Path(folder),
    config=config or {"seed": 0},
    differences=lambda a, b: [f"{k}={a[k]}" for k in a if a[k] != b.get(k)],
    warn=(warnings if warnings is not None else []).append,
  )


def train(folder=None, *, end_after=None, stop_after=None, **changes):
  """A training that an exception or SIGTERM may end after an epoch."""

  def on_epoch(epoch, metrics):
    del metrics
    if epoch == end_after:
      raise Interrupted
    if epoch == stop_after:
      os.kill(os.getpid(), signal.SIGTERM)

  if isinstance(folder, pathlib.Path):
    folder = checkpoints(folder)
  return train_folds(
    NETWORK,
    tiny_study(),
    dataclasses.replace(FOUR_EPOCHS, **changes),
    checkpoint_folder=folder,
    on_epoch=on_epoch,
  )


def assert_same(trained, expected, compare=np.testing.assert_array_equal):
  for fold, other in zip(trained, expected, strict=True):
    jax.tree.map(compare, fold.variables, other.variables)


@pytest.fixture(scope="module")
def uninterrupted():
  return train()


@pytest.fixture
def interrupted(tmp_path, interrupted_once):
  """Steps of the checkpoints after epochs 1 and 2 of 4, in `tmp_path`."""
  shutil.copytree(interrupted_once, tmp_path, dirs_exist_ok=True)
  return checkpoints(tmp_path).steps(0)


@pytest.fixture(scope="module")
def interrupted_once(tmp_path_factory):
  folder = tmp_path_factory.mktemp("interrupted")
  with pytest.raises(Interrupted):
    train(folder, end_after=3)
  assert len(checkpoints(folder).steps(0)) == 2
  return folder


def test_resumed_training_gives_same_networks(
  tmp_path, uninterrupted, interrupted
):
  first, second = interrupted
  assert second == 2 * first
  assert_same(train(tmp_path), uninterrupted)
  # The last step has a checkpoint too: nothing is trained again.
  assert max(checkpoints(tmp_path).steps(0)) == 4 * first
  assert_same(train(tmp_path, end_after=1), uninterrupted)


def test_sigterm_writes_checkpoints_first(tmp_path, uninterrupted):
  with pytest.raises(Stopped, match="SIGTERM") as stopped:
    train(tmp_path, stop_after=1, checkpoint_epochs=100)
  assert stopped.value.number == signal.SIGTERM
  steps = [checkpoints(tmp_path).steps(fold) for fold in range(3)]
  assert [len(own) for own in steps] == [1, 1, 1]
  assert_same(train(tmp_path), uninterrupted)


def test_folds_left_behind_catch_up(tmp_path, uninterrupted, interrupted):
  """As if processes had been killed at different times, or between folds."""
  steps = interrupted
  for step in steps:
    shutil.rmtree(tmp_path / f"fold-1/step-{step:08d}")
  shutil.rmtree(tmp_path / f"fold-2/step-{steps[1]:08d}")
  compare = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  assert_same(train(tmp_path), uninterrupted, compare)


def flip_byte(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def change_seed(path):
  """So that the checkpoint would seem to be of another configuration."""
  text = path.read_text()
  assert text.count('"seed": 0') == 1
  path.write_text(text.replace('"seed": 0', '"seed": 1'))


def take_arrays_of_fold_0(path):
  shutil.rmtree(path)
  step = path.parent
  shutil.copytree(step.parent.parent / "fold-0" / step.name, path)


DAMAGE = {
  "truncated": (
    "arrays/arrays.npz",
    lambda path: os.truncate(path, path.stat().st_size // 2),
  ),
  "byte flipped": ("arrays/arrays.npz", flip_byte),
  "text changed": ("checkpoint.json", change_seed),
  "text gone": ("checkpoint.json", pathlib.Path.unlink),
  "arrays gone": ("arrays", shutil.rmtree),
  "other arrays": ("arrays", take_arrays_of_fold_0),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_checkpoint_is_not_used(
  tmp_path, interrupted, initial, name, damage
):
  """All folds take the one before it."""
  first, newest = interrupted
  path = tmp_path / f"fold-1/step-{newest:08d}"
  damage(path / name)
  warnings: list[str] = []
  loaded = checkpoints(tmp_path, warnings).newest([0, 1, 2], initial)
  assert [checkpoint.step for checkpoint in loaded] == [first] * 3
  assert len(warnings) == 1
  assert str(path) in warnings[0] and "damaged" in warnings[0]


@pytest.fixture(scope="module")
def initial():
  """State of the folds of `train` at step 0."""
  folder = unittest.mock.Mock(**{"newest.side_effect": Interrupted})
  with pytest.raises(Interrupted):
    train(folder)
  return folder.newest.call_args.args[1]


@pytest.mark.usefixtures("interrupted")
def test_other_configuration_is_refused(tmp_path):
  other = checkpoints(tmp_path, config={"seed": 1})
  with pytest.raises(UserError, match="another configuration: seed=0"):
    train(other)


def test_checkpoints_of_another_seed_are_replaced(tmp_path, interrupted):
  warnings: list[str] = []
  train(checkpoints(tmp_path, warnings), seed=1, epochs=1)
  assert warnings
  assert all("key is not that" in warning for warning in warnings)
  # The new one stays although the unused ones are of later steps.
  assert checkpoints(tmp_path).steps(0) == [interrupted[0]]
  warnings.clear()
  train(checkpoints(tmp_path, warnings), seed=1, epochs=1)
  assert not warnings


def test_full_disk_is_a_warning(tmp_path, uninterrupted, interrupted):
  """The last checkpoints stay; a limit of file sizes acts as the full disk."""
  warnings: list[str] = []
  before = contents(tmp_path)
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
  try:
    trained = train(checkpoints(tmp_path, warnings))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)
  assert_same(trained, uninterrupted)
  assert len(warnings) == 2 * 3  # after epochs 3 and 4, each fold
  for warning in warnings:
    assert "the file is larger than the system allows" in warning
    assert f"that of step {interrupted[1]} stays" in warning
  assert contents(tmp_path) == before


def contents(folder):
  """Bytes of all files of a folder by path."""
  files = (path for path in folder.rglob("*") if path.is_file())
  return {path: path.read_bytes() for path in files}


def test_two_checkpoints_are_kept(tmp_path):
  """And none after they are removed."""
  folder = tmp_path / "checkpoints" / "method"
  train(folder)
  written = checkpoints(folder)
  assert [len(written.steps(fold)) for fold in range(3)] == [2, 2, 2]
  path = folder / f"fold-0/step-{written.steps(0)[0]:08d}/checkpoint.json"
  assert json.loads(path.read_text())["config"] == {"seed": 0}
  for fold in range(3):
    written.remove(fold)
  assert list(tmp_path.iterdir()) == []


def test_checkpoints_are_due_by_step():
  options = dataclasses.replace(OPTIONS, checkpoint_epochs=2)
  policy = CheckpointPolicy(options, steps_per_epoch=5, step=10)
  assert [policy.is_due(step) for step in (10, 19, 20)] == [False, False, True]
  policy.note_written(21)
  assert [policy.is_due(step) for step in (30, 31)] == [False, True]


def test_checkpoints_are_due_by_time():
  options = dataclasses.replace(OPTIONS, checkpoint_minutes=1e-9)
  policy = CheckpointPolicy(options, steps_per_epoch=5, step=10)
  time.sleep(1e-3)
  assert policy.is_due(11)
