"""Start-up check that raises an error if the compiler gives wrong numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from mrf_jax.errors import UserError

# From 32,769 rows on, jax 0.10.2 divides the work among threads and takes the
# last rows for others (jax issue 39103).
_N_ROWS = 32769


def check_compiler() -> None:
  """Compiles a matrix-vector product with a reduction and checks the result.

  Raises:
    UserError: the result is wrong, as it is with jax 0.10.2 on a CPU.
  """
  rows = np.zeros((_N_ROWS, 3), np.float32)
  # Whole numbers that even bfloat16 holds exactly.
  rows[:, 0] = np.arange(_N_ROWS) % 127
  norms = np.asarray(_squared_norms(rows, np.eye(3, dtype=np.float32)))
  wrong = np.flatnonzero(norms != rows[:, 0] ** 2)
  if wrong.size:
    raise UserError(
      f"jax {jax.__version__} gives wrong numbers on this "
      f"{jax.default_backend()} (row {wrong[0]} of {_N_ROWS:,}, and "
      f"{wrong.size - 1:,} more); install the versions of requirements.txt"
    )


@jax.jit
def _squared_norms(rows, matrix):
  return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)
