"""Network of Cohen 2018 against its equations and sizes."""

import jax
import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.networks.cohen import Cohen
from tests.networks.examples import random_variables


def signals(n_channels=6):
  return jax.random.normal(jax.random.key(2), (2, 5, 4, n_channels))


def test_equals_its_equations():
  """Two tanh layers, and a sigmoid."""
  network = Cohen(widths=(7, 8))
  variables = random_variables(network, n_channels=6)
  x = np.asarray(signals(), np.float64)
  for name in ("hidden_0", "hidden_1", "maps"):
    layer = variables["params"][name]
    x = x @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
    x = np.tanh(x) if name != "maps" else 1 / (1 + np.exp(-x))
  actual = network.apply(variables, signals(), train=True)
  np.testing.assert_allclose(actual, x, atol=1e-5)


def test_linear_output_leaves_the_range():
  network = Cohen(activation="relu", output="linear")
  variables = random_variables(network, n_channels=6)
  actual = network.apply(variables, 10 * signals(), train=False)
  assert actual.min() < 0


@pytest.mark.parametrize("option", ["activation", "output"])
def test_unknown_activation_lists_the_known(option):
  network = Cohen(**{option: "selu"})
  with pytest.raises(UserError, match=r"'selu'.*relu, sigmoid, tanh"):
    network.init(jax.random.key(0), signals(), train=False)
