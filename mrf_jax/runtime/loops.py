"""Loops on the device whose number of rounds is no constant of the program."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32


def map_first(function: Callable, total: int, count: Int32[Array, ""]) -> Array:
  """Results of `function` of the numbers of the first blocks, [block, …].

  The results of the other blocks, up to `total`, are zero. `count` is an
  argument of the compiled program, not a constant: scans of similar heads and
  calls of few atoms share a program with larger ones, and none computes the
  blocks that only fill up its table.
  """
  result = jax.eval_shape(function, 0)

  def step(i, results):
    return results.at[i].set(function(i))

  results = jnp.zeros((total, *result.shape), result.dtype)
  return jax.lax.fori_loop(0, count, step, results)
