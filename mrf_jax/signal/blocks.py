"""Computes atoms in blocks whose states stay in a processor's cache."""

from collections.abc import Callable, Sequence

import jax
from jaxtyping import Array, Inexact, Int32

from mrf_jax.runtime.loops import map_first


def map_blocks(
  echoes_of_block: Callable[..., Array],
  atoms: Sequence[Array],
  *,
  block: int,
  n_blocks: Int32[Array, ""] | None = None,
) -> Inexact[Array, "atom frame"]:
  """Echoes of all atoms, block after block.

  Args:
    echoes_of_block: echoes [frame, atom] of one block, from its columns.
    atoms: columns, [atom]; one of a single value, which must not be the first,
      is passed to every block as it is.
    block: atoms of a block; divides their number.
    n_blocks: how many of the first blocks are computed; the echoes of the
      others are zero. It is an argument of the compiled program, not a
      constant. None is all.
  """
  split = [k == 0 or column.size > 1 for k, column in enumerate(atoms)]

  def one_block(parts):
    parts = iter(parts)
    return echoes_of_block(
      *(
        next(parts) if is_split else column
        for is_split, column in zip(split, atoms, strict=True)
      )
    )

  blocks = [
    column.reshape(-1, block)
    for is_split, column in zip(split, atoms, strict=True)
    if is_split
  ]
  if n_blocks is None:
    echoes = jax.lax.map(one_block, blocks)  # [block, frame, atom]
  else:
    echoes = map_first(
      lambda i: one_block([x[i] for x in blocks]), len(blocks[0]), n_blocks
    )
  return echoes.transpose(0, 2, 1).reshape(atoms[0].size, -1)
