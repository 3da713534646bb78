"""Random variables of networks, without compiling their initialisation."""

import jax
import numpy as np

from mrf_jax.networks.shapes import variable_shapes


def random_variables(network, *, n_channels: int):
  """Kernels of both signs; biases and statistics, of one axis, are positive."""
  rng = np.random.default_rng(0)
  shapes = variable_shapes(network, n_channels=n_channels)
  return jax.tree.map(
    lambda leaf: rng.uniform(
      0.1 if leaf.ndim == 1 else -0.3, 0.3, leaf.shape
    ).astype(np.float32),
    shapes,
  )
