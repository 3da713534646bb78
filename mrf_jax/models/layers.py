"""Parts that several networks share."""

from collections.abc import Callable

import flax.linen as nn
import jax

from mrf_jax.errors import UserError

ACTIVATIONS: dict[str, Callable] = {
  "linear": lambda x: x,
  "relu": nn.relu,
  "sigmoid": nn.sigmoid,
  "tanh": nn.tanh,
}


def activation(name: str) -> Callable:
  """The function of this name.

  Args:
    name: one of `ACTIVATIONS`.

  Raises:
    UserError: there is no such function.
  """
  if name not in ACTIVATIONS:
    raise UserError(
      f"activation {name!r} is unknown; known are {', '.join(ACTIVATIONS)}"
    )
  return ACTIVATIONS[name]


def dense(width: int, *, name: str) -> nn.Dense:
  """A fully connected layer, Glorot-uniform as in the frameworks of 2018."""
  initializer = jax.nn.initializers.glorot_uniform()
  return nn.Dense(width, kernel_init=initializer, name=name)
