"""Reconstruction methods, each a function of a study.

A method is a function and a line in `METHODS`. It gets a `Study` and returns
`Estimates`: the maps of each left-out subject, estimated without the reference
maps of this subject, and the times of the method's stages.
"""

import functools

from mrf_jax.matching import DICTIONARIES, FIT
from mrf_jax.methods.dictionary import check_dictionary, dictionary
from mrf_jax.methods.dictionary_fit import (
  check_dictionary_fit,
  dictionary_fit,
)
from mrf_jax.methods.gomez import check_gomez, gomez
from mrf_jax.methods.network import (
  check_network,
  network,
  train_own_folds,
)
from mrf_jax.methods.network_options import network_predicts_deviations
from mrf_jax.methods.study import Estimates, Method, Study
from mrf_jax.networks import NETWORKS

__all__ = ["METHODS", "Estimates", "Method", "Study"]


def _network_method(name: str) -> Method:
  return Method(
    functools.partial(network, name),
    check=functools.partial(check_network, method=name),
    learns=True,
    train=functools.partial(train_own_folds, name),
    predicts_deviations=functools.partial(
      network_predicts_deviations, method=name
    ),
  )


METHODS: dict[str, Method] = {
  **{name: _network_method(name) for name in NETWORKS},
  "gomez": Method(gomez, check=check_gomez, learns=True),
  **{
    name: Method(
      functools.partial(dictionary, name),
      check=functools.partial(check_dictionary, method=name),
    )
    for name in DICTIONARIES
    if name != FIT
  },
  FIT: Method(
    dictionary_fit,
    check=check_dictionary_fit,
    predicts_deviations=lambda config: True,
  ),
}
