"""Training options of a network, from the configuration."""

import pytest

from configs import smoke
from mrf_jax.errors import UserError
from mrf_jax.methods.network_options import signal_rank, training_options


@pytest.fixture
def config():
  return smoke.get_config()


def test_own_section_takes_precedence(config):
  options = training_options(config, "spatiotemporal_plus")
  assert (options.batch, options.tile) == (4, 6)
  assert options.loss == "separate_likelihood"
  assert options.epochs == config.training.epochs
  assert signal_rank(config, "spatiotemporal_plus") == 5
  assert signal_rank(config, "cohen") is None


def test_patches_are_tiles_of_one(config):
  assert config.training.tile > 1
  assert training_options(config, "cohen").tile == 1


def test_seed_is_the_experiments_by_default(config):
  config.seed = 7
  assert training_options(config, "cohen").seed == 7
  config.training.seed = 0
  assert training_options(config, "cohen").seed == 0


def test_precision_is_the_experiments(config):
  config.precision = "bfloat16"
  assert training_options(config, "cohen").precision == "bfloat16"


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("sampling", "lines", "training.sampling: 'lines' is not one of patches"),
    ("batch", 0, "training.batch: 0 is not at least 1"),
  ],
)
def test_invalid_option_is_refused(config, name, value, message):
  config.training[name] = value
  with pytest.raises(UserError, match=message):
    training_options(config, "cohen")
