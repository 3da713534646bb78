"""Shapes of a network's variables, without creating them."""

import flax.linen as nn
import jax
import numpy as np

from mrf_jax.dataset.patches import patch_shape


def variable_shapes(network: nn.Module, *, n_channels: int):
  """The tree of `network.init`, with shapes and types instead of arrays.

  Raises:
    Exception: what Flax and JAX raise for a network that is not possible.
  """
  patch = jax.ShapeDtypeStruct(
    (1, *patch_shape(network.reach, network.slices), n_channels),
    np.float32,
  )
  return jax.eval_shape(
    lambda x: network.init(jax.random.key(0), x, train=False), patch
  )
