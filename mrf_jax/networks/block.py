"""Dropout, batch normalisation and ReLU as one function with its gradient.

Flax's own modules were looked at: besides the matrix products, a training step
on a CPU spends its time on passes over arrays of voxels by features, of which
separate modules need more. Here are five: dropout writes, the statistics sum,
the normalisation writes; the gradient sums, then writes. The mask of dropout is
not stored, but computed again for the gradient.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, UInt32

from mrf_jax.networks.hashing import hashed_bits, key_words

# Framework defaults of 2018.
MOMENTUM = 0.99
EPSILON = 1e-3

# Longest first part of a sum over rows. XLA's CPU compiler unrolls it, from 25
# on without vector instructions, which takes six times as long.
_LONGEST_SUM = 16


class DropoutNormRelu(nn.Module):
  """Dropout, batch normalisation and ReLU, in this order.

  Statistics are summed in float32; the output has the type of the input.
  Parameters and statistics are those of `nn.BatchNorm`, and instances have its
  name, so that bundles do not depend on this module.

  Attributes:
    rate: share of activations dropped in training.
  """

  rate: float

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch feature"], *, train: bool
  ) -> Float[Array, "*batch feature"]:
    """Normalised activations, not negative.

    Args:
      x: activations.
      train: whether to drop activations and to use the statistics of the batch,
        which then update the running ones. Otherwise the running ones are used,
        and activations are dropped only if there is a key `dropout` (Monte
        Carlo dropout, Gal 2016).
    """
    shape = x.shape[-1:]
    mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
    var = self.variable("batch_stats", "var", jnp.ones, shape)
    scale = self.param("scale", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    if not train:
      if self.rate and self.has_rng("dropout"):
        x = _drop(x, key_words(self.make_rng("dropout")), self.rate)
      factor = jax.lax.rsqrt(var.value + EPSILON) * scale
      y = (x - _row(mean.value, x)) * _row(factor, x) + _row(bias, x)
      return nn.relu(y).astype(x.dtype)
    words = jnp.zeros(2, jnp.uint32)
    if self.rate:
      words = key_words(self.make_rng("dropout"))
    y, batch_mean, batch_var = _train_block(x, scale, bias, words, self.rate)
    if not self.is_initializing():
      mean.value = MOMENTUM * mean.value + (1 - MOMENTUM) * batch_mean
      var.value = MOMENTUM * var.value + (1 - MOMENTUM) * batch_var
    return y


def apply_block(block, x, *, train: bool):
  """Convolution, dropout, batch normalisation, ReLU."""
  convolution, norm = block
  # Without dropout the normalisation takes the bias off again: its gradient is
  # a rounding error that takes long to sum.
  x = convolution(x, train=train, trains_bias=bool(norm.rate))
  return norm(x, train=train)


def keep_mask(
  words: UInt32[Array, "2"], shape: tuple[int, ...], *, rate: float
) -> Bool[Array, "..."]:
  """Random mask, True with probability 1 − `rate` in each element.

  The share that is False is accurate to 2⁻³².
  """
  below = min(round((1 - rate) * 2**32), 2**32 - 1)
  return hashed_bits(words, shape) < jnp.uint32(below)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _train_block(x, scale, bias, words, rate):
  """Output of the block, and mean and variance after dropout."""
  return _forward(x, scale, bias, words, rate)[0]


def _forward(x, scale, bias, words, rate):
  """Output of the block, and what its gradient needs."""
  n = math.prod(x.shape[:-1])
  # The barrier makes the compiler write this once instead of hashing three
  # times.
  z = jax.lax.optimization_barrier(_drop(x, words, rate))
  z32 = z.astype(jnp.float32)
  total, squares = _sum_rows(z32, z32 * z32)
  mean = total / n
  var = jnp.maximum(squares / n - mean * mean, 0)
  inverse_sd = jax.lax.rsqrt(var + EPSILON)
  y = (z32 - _row(mean, z)) * _row(inverse_sd * scale, z) + _row(bias, z)
  y = nn.relu(y).astype(x.dtype)
  return (y, mean, var), (z, scale, bias, words, mean, inverse_sd)


def _backward(rate, residuals, cotangents):
  """Gradient of the block (Ioffe 2015, section 3, with ReLU and dropout).

  Mean and variance as outputs have no gradient: they only update the running
  statistics.
  """
  z, scale, bias, words, mean, inverse_sd = residuals
  gradient, _, _ = cotangents
  n = math.prod(z.shape[:-1])
  normal = (z.astype(jnp.float32) - _row(mean, z)) * _row(inverse_sd, z)
  passed = normal * _row(scale, z) + _row(bias, z) > 0
  of_y = jnp.where(passed, gradient.astype(jnp.float32), 0)
  of_bias, of_scale = _sum_rows(of_y, of_y * normal)
  of_z = of_y - _row(of_bias / n, z) - normal * _row(of_scale / n, z)
  of_z *= _row(inverse_sd * scale, z)
  of_x = _drop(of_z, words, rate).astype(z.dtype)
  # The barrier keeps all this out of the transpose for the next matrix product,
  # which would compute it column by column.
  of_x = jax.lax.optimization_barrier(of_x)
  return of_x, of_scale.astype(scale.dtype), of_bias.astype(bias.dtype), None


_train_block.defvjp(_forward, _backward)


def _drop(x, words, rate):
  """Dropout: zero for the share `rate`, and the rest divided by 1 − `rate`."""
  if not rate:
    return x
  if rate == 1:
    return jnp.zeros_like(x)
  kept = keep_mask(words, x.shape, rate=rate)
  return jnp.where(kept, x * (1 / (1 - rate)), 0)


def _sum_rows(
  *arrays: Float32[Array, "*batch feature"],
) -> list[Float32[Array, "feature"]]:
  """Sums of all arrays over all axes but the last, in one pass.

  First over equal parts of the rows, element by element, then over the rest:
  XLA's CPU compiler would go through column after column.
  """
  *batch, n_features = arrays[0].shape
  n = math.prod(batch)
  part = max(k for k in range(1, _LONGEST_SUM + 1) if n % k == 0)
  sums = jax.lax.reduce(
    tuple(x.reshape(part, n // part, n_features) for x in arrays),
    (jnp.float32(0),) * len(arrays),
    lambda xs, ys: tuple(x + y for x, y in zip(xs, ys, strict=True)),
    (0,),
  )
  return [x.sum(0) for x in sums]


def _row(vector, like):
  """A vector of features with the rank of an array, for broadcasting."""
  return vector.reshape((1,) * (like.ndim - 1) + vector.shape)
