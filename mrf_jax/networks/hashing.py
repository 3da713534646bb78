"""Random bits by hashing counters: cheap on a CPU, and the same under `vmap`.

`jax.random` was looked at: its default, threefry, takes a quarter to a third of
a training step on two CPU cores, and its generator `rbg` gives other numbers
under `vmap` than key by key (documentation of `jax.random`).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, PRNGKeyArray, UInt32

from mrf_jax.runtime.typing import AnyArray


def key_words(key: PRNGKeyArray) -> UInt32[Array, "2"]:
  """64 bits of a key, in which `fold_in` has mixed all its bits."""
  return jax.random.key_data(key)[jnp.array([0, -1])]


def hashed_bits(
  words: UInt32[Array, "2"], shape: tuple[int, ...]
) -> UInt32[Array, "..."]:
  """32 random bits for each element.

  A hash of the element's number (triple32 of Wellons 2018, with one word of the
  key before and one after the first of its three rounds). The compiler can fuse
  it into the code that uses the bits, and a gradient can compute them again
  instead of storing them.
  """
  n = math.prod(shape)
  x = jax.lax.iota(jnp.uint32, n).reshape(shape) + words[0]
  x = (x ^ (x >> 17)) * jnp.uint32(0xED5AD4BB) ^ words[1]
  x = (x ^ (x >> 11)) * jnp.uint32(0xAC4C1B51)
  x = (x ^ (x >> 15)) * jnp.uint32(0x31848BAB)
  return x ^ (x >> 14)


def hashed_uniform(
  words: UInt32[Array, "2"], shape: tuple[int, ...]
) -> Float32[Array, "..."]:
  """A number from 0 up to but not including 1 for each element."""
  return (hashed_bits(words, shape) >> 8).astype(jnp.float32) * 2**-24


def hashed_normal(
  words: UInt32[Array, "2"], shape: tuple[int, ...]
) -> Float32[Array, "..."]:
  """A standard normal number for each element, at most 5.3 from zero."""
  return normal_of(hashed_bits(words, shape))


def normal_of(bits: UInt32[AnyArray, "..."]) -> Float32[Array, "..."]:
  """Standard normal numbers √2 erf⁻¹(u) of the first 23 of 32 random bits."""
  # u: the centres of 2²³ intervals of (-1, 1), which differ in float32 from
  # each other and from the ends, whose quantiles are infinite.
  steps = (jnp.asarray(bits) >> 9).astype(jnp.float32)
  uniform = (steps + 0.5) * 2**-22 - 1
  return math.sqrt(2) * jax.lax.erf_inv(uniform)
