"""Shapes of a network's variables, found without making any."""

import flax.linen as nn
import jax
import numpy as np

from mrf_jax.dataset.patches import patch_shape


def variable_shapes(network: nn.Module, *, reach: int, n_channels: int):
  """The tree that `init` would give, of shapes and types.

  Args:
    network: the Flax module.
    reach: voxels on each side of a patch's centre.
    n_channels: numbers that it sees of a voxel, 2T or twice the rank.

  Returns:
    `jax.ShapeDtypeStruct` in place of each array.

  Raises:
    Exception: whatever Flax and JAX raise for a network that cannot be.
  """
  patch = jax.ShapeDtypeStruct(
    (1, *patch_shape(reach, network.slices), n_channels),
    np.float32,
  )
  return jax.eval_shape(
    lambda x: network.init(jax.random.key(0), x, train=False), patch
  )
