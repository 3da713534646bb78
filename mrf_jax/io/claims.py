"""Checks the sizes that a file's header claims against the file's size."""

import math
import os
from collections.abc import Sequence

from mrf_jax.errors import UserError

# Bytes that one byte can unpack to at most in deflate, the compression of gzip,
# zip and HDF5. A header that claims more than its file can hold is damaged.
COMPRESSION = 1032


def check_claim(
  name: str | os.PathLike,
  shape: Sequence[int],
  itemsize: int,
  held_bytes: int,
) -> None:
  """Raises `UserError` if a header claims a negative or too large shape.

  At most `held_bytes` of values, unpacked, fit into the file `name`.
  """
  shape = tuple(map(int, shape))
  claimed = math.prod(shape) * itemsize
  if min(shape, default=0) < 0:
    raise UserError(f"{name}: damaged, the header claims the shape {shape}")
  if claimed > held_bytes:
    raise UserError(
      f"{name}: damaged, the header claims the shape {shape}, {claimed:,} "
      "bytes, more than the file can hold"
    )
