"""The reconstruction methods, each a function of one study.

A method is one function and one line in `METHODS`: it gets a `Study` and
returns the estimated maps of every subject, each from a fold that left this
subject out, and the time its stages took.
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

# What several processes do before, each its share; `METHODS` is for the first.
TRAINING: dict[str, Callable[[Study], None]] = {
  method: functools.partial(train_own_folds, method) for method in NETWORKS
}

# Those that need other subjects with reference maps.
LEARNING_METHODS = frozenset({*NETWORKS, "gomez"})


def predicts_deviations(config: ml_collections.ConfigDict, method: str) -> bool:
  """Whether a method gives deviations beside its maps.

  Args:
    config: the experiment's configuration.
    method: name of the method.
  """
  return method in NETWORKS and network_predicts_deviations(config, method)


def check_options(
  config: ml_collections.ConfigDict, method: str, *, n_windows: int
) -> None:
  """Refuses a method's options before anything has been computed.

  Args:
    config: the experiment's configuration.
    method: name of the method.
    n_windows: T.

  Raises:
    UserError: the options are out of range or do not suit the fingerprints.
  """
  if method in NETWORKS:
    check_network(config, method, n_windows=n_windows)
  elif method == "gomez":
    check_gomez(config, n_windows=n_windows)
  else:
    check_dictionary(config, method, n_windows=n_windows)
