"""Parts that several networks share."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

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


@jax.custom_vjp
def product(
  x: Float[Array, "*batch channel"], kernel: Float[Array, "channel feature"]
) -> Float32[Array, "*batch feature"]:
  """`x @ kernel`, summed in float32 whatever the type of the factors.

  So are its gradients, whose products have two factors of the type of `x`:
  JAX's own would have one of float32, and the speed of float32.

  Args:
    x: voxels or patches by channels.
    kernel: weights, of the same type.
  """
  return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


def _product_forward(x, kernel):
  return product(x, kernel), (x, kernel)


def _product_backward(factors, gradient):
  x, kernel = factors
  gradient = gradient.astype(x.dtype)
  of_x = jnp.matmul(gradient, kernel.T, preferred_element_type=jnp.float32)
  # On a CPU XLA multiplies float32 fastest as two matrices, with no transpose
  # written before, and bfloat16 along several axes, with one.
  if x.dtype == jnp.float32:
    rows, of_rows = (a.reshape(-1, a.shape[-1]) for a in (x, gradient))
    of_kernel = rows.T @ of_rows
  else:
    axes = (tuple(range(x.ndim - 1)),) * 2
    of_kernel = jnp.tensordot(
      x, gradient, axes, preferred_element_type=jnp.float32
    )
  return of_x.astype(x.dtype), of_kernel.astype(kernel.dtype)


product.defvjp(_product_forward, _product_backward)
