"""Dropout, batch normalisation and ReLU as one function with its gradient.

What a step costs beside its matrix products, on a CPU, is passes over arrays of
one row a voxel and one column a feature. Here are five: one writes what
dropout leaves, one sums it and its squares, one normalises; the gradient sums,
then writes. The mask is not kept, but hashed again.
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

# Longest first part of a sum over rows: XLA's CPU compiler unrolls it, and from
# 25 on without vector instructions, six times as slow.
_LONGEST_SUM = 16


class DropoutNormRelu(nn.Module):
  """Dropout, batch normalisation and ReLU, in this order.

  The sums of the statistics are float32 whatever the input's type, which is
  the output's. Parameters and statistics are those of `nn.BatchNorm`, whose
  name an instance bears.

  Attributes:
    rate: share of activations dropped in training.
  """

  rate: float

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch feature"], *, train: bool
  ) -> Float[Array, "*batch feature"]:
    """Normalised, not negative.

    Args:
      x: activations.
      train: whether to drop some and use the batch's statistics, which then
        move the running ones, or to use the latter; these drop some too where
        a key `dropout` is given (Monte Carlo dropout, Gal 2016).
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


def keep_mask(
  words: UInt32[Array, "2"], shape: tuple[int, ...], *, rate: float
) -> Bool[Array, "..."]:
  """True with probability 1 − `rate`, element by element.

  Args:
    words: of the key; a mask of its own for each.
    shape: of the mask.
    rate: share that is False, to 2⁻³².
  """
  below = min(round((1 - rate) * 2**32), 2**32 - 1)
  return hashed_bits(words, shape) < jnp.uint32(below)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _train_block(x, scale, bias, words, rate):
  """The block, with mean and variance of what dropout leaves."""
  return _forward(x, scale, bias, words, rate)[0]


def _forward(x, scale, bias, words, rate):
  n = math.prod(x.shape[:-1])
  # The barrier has the compiler write this once instead of hashing three times.
  z = jax.lax.optimization_barrier(_drop(x, words, rate))
  z32 = z.astype(jnp.float32)
  total, squares = _sum_rows(z32, z32 * z32)
  mean = total / n
  var = jnp.maximum(squares / n - mean * mean, 0)
  deviation = jax.lax.rsqrt(var + EPSILON)
  y = (z32 - _row(mean, z)) * _row(deviation * scale, z) + _row(bias, z)
  y = nn.relu(y).astype(x.dtype)
  return (y, mean, var), (z, scale, bias, words, mean, deviation)


def _backward(rate, residuals, cotangents):
  """Ioffe 2015, section 3, behind a ReLU and in front of dropout.

  Nothing is derived through mean and variance as outputs: they only move the
  running statistics.
  """
  z, scale, bias, words, mean, deviation = residuals
  gradient, _, _ = cotangents
  n = math.prod(z.shape[:-1])
  normal = (z.astype(jnp.float32) - _row(mean, z)) * _row(deviation, z)
  passed = normal * _row(scale, z) + _row(bias, z) > 0
  of_y = jnp.where(passed, gradient.astype(jnp.float32), 0)
  of_bias, of_scale = _sum_rows(of_y, of_y * normal)
  of_z = of_y - _row(of_bias / n, z) - normal * _row(of_scale / n, z)
  of_z *= _row(deviation * scale, z)
  of_x = _drop(of_z, words, rate).astype(z.dtype)
  # The barrier keeps all this out of the transpose that the next product wants,
  # which would compute it column by column.
  of_x = jax.lax.optimization_barrier(of_x)
  return of_x, of_scale.astype(scale.dtype), of_bias.astype(bias.dtype), None


_train_block.defvjp(_forward, _backward)


def _drop(x, words, rate):
  """Zero for the share `rate`, the rest larger for it."""
  if not rate:
    return x
  if rate == 1:
    return jnp.zeros_like(x)
  kept = keep_mask(words, x.shape, rate=rate)
  return jnp.where(kept, x * (1 / (1 - rate)), 0)


def _sum_rows(
  *arrays: Float32[Array, "*batch feature"],
) -> list[Float32[Array, "feature"]]:
  """Sums over all axes but the last, of all arrays in one pass.

  Some rows at a time, element by element, then what is left: XLA's CPU compiler
  would go down column after column.
  """
  *batch, n_features = arrays[0].shape
  n = math.prod(batch)
  part = max(k for k in range(1, _LONGEST_SUM + 1) if n % k == 0)
  sums = jax.lax.reduce(
    tuple(x.reshape(part, n // part, n_features) for x in arrays),
    (jnp.float32(0),) * len(arrays),
    lambda one, two: tuple(a + b for a, b in zip(one, two, strict=True)),
    (0,),
  )
  return [x.sum(0) for x in sums]


def _row(vector, like):
  """A vector of features, to stand beside an array of them."""
  return vector.reshape((1,) * (like.ndim - 1) + vector.shape)
