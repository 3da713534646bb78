"""Blocks of atoms: all of them, or the first."""

import jax
import numpy as np

from mrf_jax.signal.blocks import map_blocks


def test_blocks_that_are_not_computed_are_zero():
  """Their number is an argument: one program serves all."""
  traced = []

  def echoes_of_block(t1, b1):
    traced.append(t1.shape)
    return jax.numpy.stack([t1 * b1, t1 + b1, t1])

  @jax.jit
  def echoes(t1, b1, n_blocks):
    return map_blocks(echoes_of_block, (t1, b1), block=4, n_blocks=n_blocks)

  t1, b1 = np.arange(1, 13, dtype=np.float32), np.float32([2])
  whole = map_blocks(echoes_of_block, (t1, b1), block=4)
  np.testing.assert_array_equal(whole, np.stack([t1 * 2, t1 + 2, t1], 1))
  traced.clear()
  for n_blocks in (3, 1, 0):
    expected = np.array(whole)
    expected[4 * n_blocks :] = 0
    found = echoes(t1, b1, np.int32(n_blocks))
    np.testing.assert_array_equal(found, expected)
    # Its shape, and its values.
    assert traced == [(4,), (4,)]
