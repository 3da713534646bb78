"""Precision of float32 products: exact, or rounded and faster."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mrf_jax.checks import check_one_of


class Precision(NamedTuple):
  """Precision of the products of a network or of dictionary matching.

  Attributes:
    dtype: type of the factors; sums and stored arrays stay float32.
    products: JAX's name for the precision of products of float32 factors.
  """

  dtype: jax.typing.DTypeLike
  products: str


# Read by getattr: not every version of JAX declares it as an attribute.
_DEFAULT = "jax_default_matmul_precision"

# Accelerators have TF32 and bfloat16 in their matrix units; a CPU multiplies
# TF32 as float32.
PRECISIONS = {
  "float32": Precision(jnp.float32, "highest"),
  "tf32": Precision(jnp.float32, "tensorfloat32"),
  "bfloat16": Precision(jnp.bfloat16, "highest"),
}


def check_precision(name: str) -> None:
  """Raises `UserError` if a name is not one of `PRECISIONS`."""
  check_one_of("precision", name, PRECISIONS)


def multiplies_exactly(dtype) -> bool:
  """True if products of factors of this type are not rounded on this device."""
  products = getattr(jax.config, _DEFAULT)
  on_cpu = jax.default_backend() == "cpu"
  return dtype == jnp.float32 and (on_cpu or products == "highest")
