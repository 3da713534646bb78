"""How float32 is multiplied: exactly, or faster and rounded."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mrf_jax.errors import UserError


class Precision(NamedTuple):
  """A way to multiply.

  Attributes:
    dtype: of the factors; sums and everything kept are float32.
    products: JAX's name for how float32 factors are multiplied.
  """

  dtype: jax.typing.DTypeLike
  products: str


# Not every version of JAX declares it as an attribute.
_DEFAULT = "jax_default_matmul_precision"

# Accelerators have TF32 and bfloat16 in their matrix units; a CPU multiplies
# TF32 as float32.
PRECISIONS = {
  "float32": Precision(jnp.float32, "highest"),
  "tf32": Precision(jnp.float32, "tensorfloat32"),
  "bfloat16": Precision(jnp.bfloat16, "highest"),
}


def check_precision(name: str) -> None:
  """Refuses what is no precision.

  Args:
    name: one of `PRECISIONS`.

  Raises:
    UserError: it is unknown.
  """
  if name not in PRECISIONS:
    raise UserError(
      f"precision: {name!r} is not one of {', '.join(PRECISIONS)}"
    )


def multiplies_exactly(dtype) -> bool:
  """Whether factors of this type are multiplied as float32 where this is asked.

  Args:
    dtype: of the factors.
  """
  products = getattr(jax.config, _DEFAULT)
  on_cpu = jax.default_backend() == "cpu"
  return dtype == jnp.float32 and (on_cpu or products == "highest")
