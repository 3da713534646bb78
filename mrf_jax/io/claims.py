"""Checks of what a file's header claims against the size of the file."""

import math
import os
from collections.abc import Sequence

from mrf_jax.errors import UserError

# Bytes that deflate, the compression of gzip, zip and HDF5, can make of one at
# the most: a header that claims more than the file can hold is damaged.
COMPRESSION = 1032


def check_claim(
  path: str | os.PathLike,
  shape: Sequence[int],
  itemsize: int,
  held_bytes: int,
) -> None:
  """Refuses a header that claims more than its file could hold.

  Args:
    path: of the file, for messages.
    shape: of the values, as the header has it.
    itemsize: bytes of one.
    held_bytes: the most that there can be, unpacked.

  Raises:
    UserError: the claim is larger, or the shape is none.
  """
  shape = tuple(map(int, shape))
  claimed = math.prod(shape) * itemsize
  if min(shape, default=0) < 0:
    raise UserError(f"{path}: damaged, the header claims the shape {shape}")
  if claimed > held_bytes:
    raise UserError(
      f"{path}: damaged, the header claims the shape {shape}, {claimed:,} "
      "bytes, more than the file can hold"
    )
