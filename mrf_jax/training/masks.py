"""Masks of training tiles, altered at random.

A mask drawn around a brain tells a network what it is at the rim of: of a scan
whose mask is another one, a slice, white matter alone, or the head with its
skin, the same voxels would have other maps. Tiles whose masks are altered teach
it that a mask says nothing.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32, PRNGKeyArray

from mrf_jax.networks.hashing import hashed_uniform, key_words
from mrf_jax.runtime.typing import AnyArray

# Ways in which a mask is altered, all equally often.
_N_WAYS = 4
# Voxels are like the centre of a tile if their T1 differs by a factor of at
# most e to a number between these.
_ALIKE = 0.1, 0.6


def alter_masks(
  patches: Int32[AnyArray, "tile slice y x"],
  t1_ms: Float32[AnyArray, "row"],
  key: PRNGKeyArray,
  *,
  share: float,
) -> tuple[Int32[Array, "tile slice y x"], Int32[Array, "tile slice y x"]]:
  """Alters the masks of a share of the patches, each in one of four ways.

  Its mask is cut by a line, is left to voxels whose T1 is like that of its
  centre, or to one slice; or there are voxels of the next patch of the batch
  where its own mask has none. The centre stays. With one slice, or one patch in
  the batch, one of the ways each changes nothing.

  Args:
    patches: rows of the voxels that a network sees of each tile, 0 outside of
      the mask.
    t1_ms: T1 of each row, ms.
    key: random key.
    share: of patches that are altered, 0 to 1.

  Returns:
    Rows that the network sees, and rows of the voxels that may be estimated.
  """
  patches = jnp.asarray(patches)
  n_tiles, *shape = patches.shape
  # As in `VoxelGrid.neighbours`: the centre of an even number is before the
  # middle.
  middle = shape[0] // 2, (shape[1] - 1) // 2, (shape[2] - 1) // 2
  slices, y, x = (
    jnp.arange(-m, n - m).reshape([-1 if k == axis else 1 for k in range(4)])
    for axis, (m, n) in enumerate(zip(middle, shape, strict=True), start=1)
  )
  kind, angle, offset, likeness = hashed_uniform(
    key_words(key), (4, n_tiles, 1, 1, 1)
  )
  turn = 2 * jnp.pi * angle
  is_near = y * jnp.sin(turn) + x * jnp.cos(turn) <= offset * max(shape) / 2
  log_t1 = jnp.log(jnp.maximum(jnp.asarray(t1_ms)[patches], 1.0))
  of_centre = log_t1[(slice(None), *middle)].reshape(n_tiles, 1, 1, 1)
  least, most = _ALIKE
  is_like = jnp.abs(log_t1 - of_centre) <= least + (most - least) * likeness
  is_kept = jnp.select(
    [kind < share * k / _N_WAYS for k in (1, 2, 3)],
    [is_near, is_like, slices == 0],
    True,
  )
  counted = jnp.where(is_kept, patches, 0)
  is_filled = (kind >= share * 3 / _N_WAYS) & (kind < share)
  filled = jnp.where(patches > 0, patches, jnp.roll(patches, 1, 0))
  return jnp.where(is_filled, filled, counted), counted
