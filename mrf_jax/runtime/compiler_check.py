"""A compiler known to give wrong numbers is refused before it computes any."""

import jax
import jax.numpy as jnp
import numpy as np

from mrf_jax.errors import UserError

# From 32,769 rows on, jax 0.10.2 divides the work among threads and takes the
# last rows for others (jax issue 39103).
_ROWS = 32769


def check_compiler() -> None:
  """Compiles a matrix-vector product with a reduction, and looks at it.

  Raises:
    UserError: the result is wrong, as it is by jax 0.10.2 on a CPU.
  """
  rows = np.zeros((_ROWS, 3), np.float32)
  rows[:, 0] = np.arange(_ROWS) % 127
  found = np.asarray(_squared_norms(rows, np.eye(3, dtype=np.float32)))
  # Whole numbers so small that even bfloat16 holds them.
  wrong = np.flatnonzero(found != rows[:, 0] ** 2)
  if wrong.size:
    raise UserError(
      f"jax {jax.__version__} computes wrongly on this {jax.default_backend()} "
      f"(row {wrong[0]} of {_ROWS:,}, and {wrong.size - 1:,} more); install "
      "the versions of requirements.txt"
    )


@jax.jit
def _squared_norms(rows, matrix):
  return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)
