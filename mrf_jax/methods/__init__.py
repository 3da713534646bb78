"""Reconstruction methods, each a function of a study.

A method is a function and a line in `METHODS`. It gets a `Study` and returns
`Estimates`: the maps of each left-out subject, estimated without the reference
maps of this subject, and the times of the method's stages.
"""

import functools
from collections.abc import Callable

import ml_collections

from mrf_jax.methods.dictionary import (
  check_dictionary,
  dictionary,
  dictionary_svd,
)
from mrf_jax.methods.gomez import check_gomez, gomez
from mrf_jax.methods.network import (
  check_network,
  network,
  network_predicts_deviations,
  train_own_folds,
)
from mrf_jax.methods.study import Estimates, Study
from mrf_jax.networks import NETWORKS

__all__ = [
  "LEARNING_METHODS",
  "METHODS",
  "TRAINING",
  "Estimates",
  "Study",
  "check_options",
  "predicts_deviations",
]

METHODS: dict[str, Callable[[Study], Estimates]] = {
  **{method: functools.partial(network, method) for method in NETWORKS},
  "gomez": gomez,
  "dictionary": dictionary,
  "dictionary_svd": dictionary_svd,
}

# Training of the networks, which several processes share before process 0 calls
# the function in `METHODS`.
TRAINING: dict[str, Callable[[Study], None]] = {
  method: functools.partial(train_own_folds, method) for method in NETWORKS
}

# Methods that need other subjects with reference maps.
LEARNING_METHODS = frozenset({*NETWORKS, "gomez"})


def predicts_deviations(config: ml_collections.ConfigDict, method: str) -> bool:
  """Whether a method estimates the standard deviations of its maps.

  Args:
    config: the experiment's configuration.
    method: name of the method.
  """
  return method in NETWORKS and network_predicts_deviations(config, method)


def check_options(
  config: ml_collections.ConfigDict, method: str, *, n_windows: int
) -> None:
  """Checks the options of a method before anything is computed.

  Args:
    config: the experiment's configuration.
    method: name of the method.
    n_windows: length T of a fingerprint.

  Raises:
    UserError: an option is out of its range or does not fit the fingerprints.
  """
  if method in NETWORKS:
    check_network(config, method, n_windows=n_windows)
  elif method == "gomez":
    check_gomez(config, n_windows=n_windows)
  else:
    check_dictionary(config, method, n_windows=n_windows)
