"""A training that is broken off goes on as if it had not been."""

import json
import os
import pathlib
import resource
import shutil
import signal

import jax
import numpy as np
import pytest
from test_training import OPTIONS, tiny_study

from mrf_jax.errors import UserError
from mrf_jax.networks.cohen import Cohen
from mrf_jax.runtime.interrupts import Stopped
from mrf_jax.training.checkpoint import Checkpoints, Saving
from mrf_jax.training.train import train_folds

REACH = Cohen().reach

# A network that compiles fast; the noise makes the random key count.
NETWORK = Cohen(widths=(8,))
MANY = OPTIONS | {
  "reach": REACH,
  "tile": 1,
  "epochs": 4,
  "batch": 16,
  "input_noise": 0.1,
}


class BrokenOff(Exception):
  """What ends a training in these tests."""


def checkpoints(folder, warnings=None, config=None):
  return Checkpoints(
    pathlib.Path(folder),
    config=config or {"seed": 0},
    differences=lambda a, b: [f"{k}={a[k]}" for k in a if a[k] != b.get(k)],
    warn=(warnings if warnings is not None else []).append,
  )


def train(folder=None, *, end_after=None, stop=None, saving=None, **changes):
  """A training; it may break off, or be stopped, after some epoch."""

  def on_epoch(epoch, metrics):
    del metrics
    if epoch == end_after:
      raise BrokenOff
    if epoch == stop:
      os.kill(os.getpid(), signal.SIGTERM)

  if folder is not None and saving is None:
    saving = Saving(checkpoints(folder))
  return train_folds(
    NETWORK,
    *tiny_study(),
    **MANY | changes,
    saving=saving,
    on_epoch=on_epoch,
  )


def assert_same(trained, expected):
  for one, other in zip(trained, expected, strict=True):
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)


@pytest.fixture(scope="module")
def unbroken():
  return train()


@pytest.fixture
def broken_off(tmp_path, broken_once):
  """Steps of the checkpoints after epochs 1 and 2 of 4, in `tmp_path`."""
  shutil.copytree(broken_once, tmp_path, dirs_exist_ok=True)
  return checkpoints(tmp_path).steps(0)


@pytest.fixture(scope="module")
def broken_once(tmp_path_factory):
  folder = tmp_path_factory.mktemp("broken")
  with pytest.raises(BrokenOff):
    train(folder, end_after=3)
  assert len(checkpoints(folder).steps(0)) == 2
  return folder


def test_a_broken_training_goes_on_to_the_same_networks(
  tmp_path, unbroken, broken_off
):
  first, second = broken_off
  assert second == 2 * first
  assert_same(train(tmp_path), unbroken)
  # The end is a checkpoint too: nothing is trained again.
  assert max(checkpoints(tmp_path).steps(0)) == 4 * first
  assert_same(train(tmp_path, end_after=1), unbroken)


def test_sigterm_writes_checkpoints_first(tmp_path, unbroken):
  saving = Saving(checkpoints(tmp_path), every_epochs=100)
  with pytest.raises(Stopped, match="SIGTERM") as stopped:
    train(saving=saving, stop=1)
  assert stopped.value.number == signal.SIGTERM
  assert [len(checkpoints(tmp_path).steps(fold)) for fold in range(3)] == [
    1
  ] * 3
  assert_same(train(tmp_path), unbroken)


def test_folds_left_behind_catch_up(tmp_path, unbroken, broken_off):
  """As when processes are killed at different moments, or between folds."""
  steps = broken_off
  for step in steps:
    shutil.rmtree(tmp_path / f"fold-1/step-{step:08d}")
  shutil.rmtree(tmp_path / f"fold-2/step-{steps[1]:08d}")
  trained = train(tmp_path)
  for one, other in zip(trained, unbroken, strict=True):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
      one.variables,
      other.variables,
    )


def damage(path, how):
  arrays = path / "arrays" / "arrays.npz"
  if how == "truncated":
    os.truncate(arrays, arrays.stat().st_size // 2)
  elif how == "byte flipped":
    data = bytearray(arrays.read_bytes())
    data[len(data) // 2] ^= 1
    arrays.write_bytes(data)
  elif how == "text changed":
    # Of the configuration, so that it would seem to be another one's.
    text = (path / "checkpoint.json").read_text()
    assert text.count('"seed": 0') == 1
    changed = text.replace('"seed": 0', '"seed": 1')
    (path / "checkpoint.json").write_text(changed)
  elif how == "text gone":
    (path / "checkpoint.json").unlink()
  elif how == "arrays gone":
    shutil.rmtree(path / "arrays")
  elif how == "other arrays":
    shutil.rmtree(path / "arrays")
    shutil.copytree(path.parent.parent / "fold-0" / path.name, path / "arrays")


@pytest.mark.parametrize(
  "how",
  [
    "truncated",
    "byte flipped",
    "text changed",
    "text gone",
    "arrays gone",
    "other arrays",
  ],
)
def test_a_damaged_checkpoint_is_left_for_the_one_before(
  tmp_path, broken_off, how
):
  first, newest = broken_off
  path = tmp_path / f"fold-1/step-{newest:08d}"
  damage(path, how)
  warnings: list[str] = []
  folds = list(range(3))
  found = checkpoints(tmp_path, warnings).newest(folds, beginnings())
  assert [checkpoint.step for checkpoint in found] == [first] * 3
  assert len(warnings) == 1
  assert str(path) in warnings[0] and "damaged" in warnings[0]


def beginnings():
  """What the folds of `train` begin with."""
  seen = []

  class Look(Checkpoints):
    def newest(self, folds, like):
      seen.extend(like)
      raise BrokenOff

  look = Look(pathlib.Path("unused"), config={}, differences=list, warn=print)
  with pytest.raises(BrokenOff):
    train(saving=Saving(look))
  return seen


@pytest.mark.usefixtures("broken_off")
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
  other = Saving(checkpoints(tmp_path, config={"seed": 1}))
  with pytest.raises(UserError, match="another configuration: seed=0"):
    train(saving=other)


def test_checkpoints_of_another_seed_are_left_aside(tmp_path, broken_off):
  warnings: list[str] = []
  saving = Saving(checkpoints(tmp_path, warnings))
  train(saving=saving, seed=1, epochs=1)
  assert warnings
  assert all("key is not that" in warning for warning in warnings)
  # The new one stands, and not because it has more steps than the stale ones.
  assert checkpoints(tmp_path).steps(0) == [broken_off[0]]
  again: list[str] = []
  train(saving=Saving(checkpoints(tmp_path, again)), seed=1, epochs=1)
  assert not again


def test_a_full_disk_is_said_and_the_last_good_one_stays(
  tmp_path, unbroken, broken_off
):
  """A limit on the size of files stands for the full disk."""
  warnings: list[str] = []
  before = {
    path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
  }
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
  try:
    trained = train(saving=Saving(checkpoints(tmp_path, warnings)))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)
  assert_same(trained, unbroken)
  assert len(warnings) == 2 * 3  # after epochs 3 and 4, each fold
  for warning in warnings:
    assert "the file is larger than the system allows" in warning
    assert f"the one of step {broken_off[1]} stays" in warning
  after = {
    path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
  }
  assert before == after


def test_two_checkpoints_are_kept_and_all_are_removed(tmp_path):
  folder = tmp_path / "checkpoints" / "method"
  train(folder)
  here = checkpoints(folder)
  assert [len(here.steps(fold)) for fold in range(3)] == [2, 2, 2]
  text = json.loads(
    (folder / f"fold-0/step-{here.steps(0)[0]:08d}/checkpoint.json").read_text()
  )
  assert text["config"] == {"seed": 0}
  for fold in range(3):
    here.remove(fold)
  assert list(tmp_path.iterdir()) == []
