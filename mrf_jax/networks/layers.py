"""Parts that several networks share."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from mrf_jax.errors import UserError
from mrf_jax.networks import winograd
from mrf_jax.runtime.precision import multiplies_exactly

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


class ValidConv(nn.Module):
  """A convolution with valid padding.

  One matrix product where the output is a single voxel (a training patch), and
  one for each line of the kernel where it is an image to learn from: XLA's own
  convolution needs five to ten times as long for its gradient on a CPU. Where
  nothing is learned, and float32 not rounded, fewer multiplications are needed.
  Sums are float32, the output is of the input's type.

  Attributes:
    features: output channels.
    size: voxels along y and x.
    initializer: of the kernel.
  """

  features: int
  size: int
  initializer: Callable = jax.nn.initializers.glorot_uniform()

  @nn.compact
  def __call__(
    self, x: Float[Array, "batch y x channel"], *, train: bool = True
  ) -> Float[Array, "batch y x feature"]:
    """Output of `size` − 1 fewer voxels along y and x.

    Args:
      x: images.
      train: whether a gradient will be taken.
    """
    n = self.size
    kernel = self.param(
      "kernel",
      self.initializer,
      (n, n, x.shape[-1], self.features),
    )
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    height, width = x.shape[1] - n + 1, x.shape[2] - n + 1
    if n > 1 and height == width == 1:
      # A training patch: all lines of the kernel in one product.
      x, n = x.reshape(len(x), 1, 1, -1), 1
    elif n > 1 and not train and multiplies_exactly(x.dtype):
      return winograd.convolve(x, kernel) + bias[None, None, None]
    # [batch, y, x', n · channel]: each voxel beside its neighbours along x.
    lines = jnp.concatenate([x[:, :, j : j + width] for j in range(n)], -1)
    kernel = kernel.reshape(n, -1, self.features)
    products = (product(lines[:, i : i + height], kernel[i]) for i in range(n))
    return sum(products, start=bias[None, None, None]).astype(x.dtype)
