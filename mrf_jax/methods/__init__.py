"""The reconstruction methods, each a function of one study.

A method is one function and one line in `METHODS`: it gets a `Study` and
returns the estimated maps of every subject, each from a fold that left this
subject out, and the time its stages took.
"""

import functools
from collections.abc import Callable

from mrf_jax.methods.dictionary import dictionary, dictionary_svd
from mrf_jax.methods.gomez import gomez
from mrf_jax.methods.network import network
from mrf_jax.methods.study import Estimates, Study

__all__ = ["LEARNING_METHODS", "METHODS", "Estimates", "Study"]

METHODS: dict[str, Callable[[Study], Estimates]] = {
  "spatiotemporal": functools.partial(network, "spatiotemporal"),
  "cohen": functools.partial(network, "cohen"),
  "hoppe": functools.partial(network, "hoppe"),
  "gomez": gomez,
  "dictionary": dictionary,
  "dictionary_svd": dictionary_svd,
}

# Those that need other subjects with reference maps.
LEARNING_METHODS = frozenset({"spatiotemporal", "cohen", "hoppe", "gomez"})
