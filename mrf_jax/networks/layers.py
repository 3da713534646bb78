"""Layers that several networks share: convolution, dense, activations."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from mrf_jax.checks import check_one_of
from mrf_jax.networks import winograd
from mrf_jax.runtime.precision import multiplies_exactly

ACTIVATIONS: dict[str, Callable] = {
  "linear": lambda x: x,
  "relu": nn.relu,
  "sigmoid": nn.sigmoid,
  "tanh": nn.tanh,
}

# Outputs of a tile of `winograd.convolve` along each axis. Images of training
# are small, and larger tiles would compute more in vain.
_TRAINING_TILE, _INFERENCE_TILE = 2, 4


def activation(name: str) -> Callable:
  """The activation function of a name; `UserError` if there is none."""
  check_one_of("activation", name, ACTIVATIONS)
  return ACTIVATIONS[name]


def dense(width: int, *, name: str) -> nn.Dense:
  """A fully connected layer with Glorot-uniform weights (as usual in 2018)."""
  initializer = jax.nn.initializers.glorot_uniform()
  return nn.Dense(width, kernel_init=initializer, name=name)


@jax.custom_vjp
def product(
  x: Float[Array, "*batch channel"], kernel: Float[Array, "channel feature"]
) -> Float32[Array, "*batch feature"]:
  """Matrix product `x @ kernel`, summed in float32 for any type of factors.

  The products of its gradients have two factors of the type of `x`, too; those
  of JAX's own gradient would have one of float32, and the speed of float32.
  """
  return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


def _product_forward(x, kernel):
  """The product, and the factors for its gradient."""
  return product(x, kernel), (x, kernel)


def _product_backward(factors, gradient):
  """Gradients of both factors."""
  x, kernel = factors
  gradient = gradient.astype(x.dtype)
  of_x = jnp.matmul(gradient, kernel.T, preferred_element_type=jnp.float32)
  # On a CPU, XLA is fastest for float32 as a product of two matrices, of which
  # no transpose is written, and for bfloat16 with several axes, with a
  # transpose.
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

  If the output is a single voxel (a training patch), it is one matrix product.
  If it is an image, in full float32, it is `winograd.convolve`, which needs
  fewer multiplications, and otherwise one product for each line of the kernel.
  The gradient of XLA's own convolution takes three to eight times as long on a
  CPU. Sums are float32; the output has the type of the input.

  Attributes:
    features: number of output channels.
    size: voxels of the kernel along y and x.
    initializer: initialises the kernel.
  """

  features: int
  size: int
  initializer: Callable = jax.nn.initializers.glorot_uniform()

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "batch y x channel"],
    *,
    train: bool = True,
    trains_bias: bool = True,
  ) -> Float[Array, "batch y_out x_out feature"]:
    """Output images, which have `size` − 1 fewer voxels along y and x.

    Args:
      x: images.
      train: whether the gradient is needed, too.
      trains_bias: whether the bias has a gradient.
    """
    n = self.size
    kernel = self.param(
      "kernel",
      self.initializer,
      (n, n, x.shape[-1], self.features),
    )
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    if not trains_bias:
      bias = jax.lax.stop_gradient(bias)
    height, width = x.shape[1] - n + 1, x.shape[2] - n + 1
    if n > 1 and height == width == 1:
      # A training patch: all lines of the kernel in one product.
      x, n = x.reshape(len(x), 1, 1, -1), 1
    elif n > 1 and multiplies_exactly(x.dtype):
      tile = _TRAINING_TILE if train else _INFERENCE_TILE
      return winograd.convolve(x, kernel, tile) + bias[None, None, None]
    # [batch, y, x', n · channel]: each voxel with its neighbours along x.
    lines = jnp.concatenate([x[:, :, j : j + width] for j in range(n)], -1)
    kernel = kernel.reshape(n, -1, self.features)
    products = (product(lines[:, i : i + height], kernel[i]) for i in range(n))
    return sum(products, start=bias[None, None, None]).astype(x.dtype)
