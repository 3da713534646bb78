"""Options of a training are checked when they are made."""

import dataclasses
import math

import pytest

from mrf_jax.errors import UserError
from tests.training.examples import OPTIONS


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("epochs", 0, "training.epochs: 0 is not at least 1"),
    ("batch", 0, "training.batch: 0 is not at least 1"),
    ("tile", -1, "training.tile: -1 is not at least 1"),
    ("folds_at_once", 0, "training.folds_at_once: 0 is not at least 1"),
    ("input_noise", -0.1, "training.input_noise: -0.1 is not at least 0"),
    ("weight_decay", math.nan, "training.weight_decay: nan is not at least 0"),
    ("watched_voxels", -1, "training.watched_voxels: -1 is not at least 0"),
    ("learning_rate", 0.0, "training.learning_rate: 0.0 is not above 0"),
    ("learning_rate", math.nan, "training.learning_rate: nan is not above 0"),
    ("checkpoint_epochs", 0, "training.checkpoint_epochs: 0 is not above 0"),
    ("checkpoint_minutes", -1.0, "training.checkpoint_minutes: -1.0 is not"),
    ("balance", 1.5, "training.balance: 1.5 is not from 0 to 1"),
    ("schedule", "linear", "training.schedule: .* constant, cosine"),
    ("storage", "int8", "training.storage: .* float32, bfloat16, float16"),
    ("flips", 1, "training.flips: 1 is not True or False"),
    ("map_powers", (1.0, 2.0, 1.0), "training.map_powers"),
    ("map_weights", (1.0, 0.0, 1.0), "training.map_weights"),
    ("loss", "absolute", "training.loss: 'absolute'"),
    ("precision", "float16", "precision: 'float16'"),
  ],
)
def test_invalid_option_is_refused(name, value, message):
  with pytest.raises(UserError, match=message):
    dataclasses.replace(OPTIONS, **{name: value})


def test_lists_become_tuples():
  """Those of a JSON file: options can be hashed, and equal ones are equal."""
  options = dataclasses.replace(
    OPTIONS, map_weights=[1.0, 1.0, 1.0], map_powers=[1.0, 1.0, 1.0]
  )
  assert options == OPTIONS
  assert hash(options) == hash(OPTIONS)


@pytest.mark.parametrize(
  ("n_voxels", "steps"), [(10, 1), (47, 1), (49, 2), (320, 10)]
)
def test_steps_of_an_epoch(n_voxels, steps):
  """A step has 8 tiles of 2 × 2 estimates."""
  assert OPTIONS.estimates_per_step == 32
  assert OPTIONS.steps_per_epoch(n_voxels) == steps
