"""Measured peak rates of a machine: matrix products and copies."""

import dataclasses
import os
import platform
import time

import jax
import jax.numpy as jnp

from mrf_jax.runtime.precision import PRECISIONS

_REPEATS = 7


@dataclasses.dataclass(frozen=True)
class Rates:
  """Measured peak rates, each from the fastest of several runs.

  Attributes:
    products: multiplications and additions of a large matrix product, FLOP/s.
    copies: bytes read and written by a copy larger than the caches, B/s.
  """

  products: float
  copies: float


def measure_rates(precision: str) -> Rates:
  """Measures the peak rates of the device that JAX computes on.

  On accelerators the operands take a sixteenth of the memory each, but no more
  than a matrix of 16,384 × 16,384 or a vector of 2 GiB.
  """
  side, length = 2048, 2**26
  if jax.default_backend() != "cpu":
    stats = jax.devices()[0].memory_stats() or {}
    numbers = stats.get("bytes_limit", 2**36) // 16 // 4
    side = min(16384, int(numbers**0.5) // 1024 * 1024)
    length = min(2**29, numbers)
  dtype, products = PRECISIONS[precision]
  matrix = jnp.ones((side, side), dtype)
  vector = jnp.ones(length, jnp.float32)
  multiply = jax.jit(
    lambda a: jnp.matmul(
      a, a, precision=products, preferred_element_type=jnp.float32
    )
  )
  copy = jax.jit(lambda a: a + 1)
  return Rates(
    products=2 * side**3 / _fastest(multiply, matrix),
    copies=2 * vector.nbytes / _fastest(copy, vector),
  )


def processor() -> str:
  """Name of the machine's processor."""
  try:
    with open("/proc/cpuinfo") as file:
      for line in file:
        if line.startswith("model name"):
          return line.split(":", 1)[1].strip()
  except OSError:
    pass
  return platform.processor() or platform.machine()


def device_name() -> str:
  """Name of the device that JAX computes on; of a CPU with its cores."""
  if jax.default_backend() == "cpu":
    return f"{os.cpu_count()} × {processor()}"
  return jax.devices()[0].device_kind


def _fastest(function, argument) -> float:
  """Seconds of the fastest of several calls."""
  function(argument).block_until_ready()
  seconds = []
  for _ in range(_REPEATS):
    start = time.perf_counter()
    function(argument).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return min(seconds)
