"""The section `generated_heads` of a configuration."""

import numpy as np
import pytest

from configs import smoke
from mrf_jax import UserError
from mrf_jax.experiment.generated_heads import (
  generated_count,
  phantom_and_noise,
)
from mrf_jax.experiment.settings import check_methods
from mrf_jax.experiment.subjects import generated_files
from mrf_jax.workdir.configuration import config_differences
from mrf_jax.workdir.workdir import Workdir


def config_with(**options):
  config = smoke.get_config()
  config.generated_heads.update(count=1)
  with config.unlocked():
    config.generated_heads.update(options)
  return config


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"count": -1}, "count is -1, not a number of heads"),
    ({"region_mm": (0.5, 30.0)}, r"region_mm\[0\] is 0.5, not at least 1"),
    ({"region_mm": (30.0, 4.0)}, "region_mm: 30 is above 4"),
    ({"pd": (0.2, float("nan"))}, "pd is .*, not finite"),
    ({"noise": (1.0,)}, "noise is .*, not two numbers"),
    ({"within_region": -0.1}, "within_region is -0.1, not at least 0"),
  ],
)
def test_values_that_are_not_valid(options, words):
  with pytest.raises(UserError, match=rf"generated_heads\.{words}"):
    check_methods(config_with(**options))


def test_files_come_from_another_scanner():
  config = config_with()
  config.data.files = ("a.h5", "b.h5")
  assert generated_count(config) == 0


def test_each_head_has_its_own_noise_and_b1():
  config = config_with()
  noise, b1 = [], []
  for k in range(8):
    phantom, level = phantom_and_noise(config, np.random.default_rng(k))
    noise.append(level / config.scan.noise_level)
    b1.append(phantom["b1_deviation"])
  for values, (low, high) in (
    (noise, config.generated_heads.noise),
    (b1, config.generated_heads.b1_deviation),
  ):
    assert low <= min(values) < max(values) <= high
    assert max(values) - min(values) > 0.3 * (high - low)


def test_configurations_of_before_have_none():
  config = config_with(count=0).to_dict()
  before = {k: v for k, v in config.items() if k != "generated_heads"}
  assert not config_differences(before, config)
  config["generated_heads"]["count"] = 2
  (difference,) = config_differences(before, config)
  assert difference == "generated_heads.count=0 (now 2)"
  old = smoke.get_config()
  del old["generated_heads"]
  assert generated_count(old) == 0


def test_only_training_needs_them(tmp_path):
  config = config_with()
  config.methods = ("cohen", "gomez")
  workdir = Workdir(tmp_path, config.to_dict())
  # The paper's networks do not.
  assert not generated_files(config, workdir)
  config.training.generated_heads = True
  assert generated_files(config, workdir) == [workdir.generated_head(0)]
  config.training.generated_heads = False
  config.methods = ("spatiotemporal_plus",)
  assert generated_files(config, workdir) == [workdir.generated_head(0)]
  config.methods = ("gomez",)
  assert not generated_files(config, workdir)
  config.methods = ("cohen",)
  config.models_from = "elsewhere"
  assert not generated_files(config, workdir)
