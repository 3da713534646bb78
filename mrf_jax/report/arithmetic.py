"""Number of multiply-adds of a network per voxel."""

import ml_collections
import numpy as np

from mrf_jax.experiment.settings import acquisition_of
from mrf_jax.methods.network_options import make_network, signal_rank
from mrf_jax.networks import NETWORKS
from mrf_jax.networks.channels import channel_count
from mrf_jax.networks.match_layer import COLLECTION, LAYER
from mrf_jax.networks.shapes import variable_shapes


def multiply_adds(config: ml_collections.ConfigDict) -> dict[str, int]:
  """Counts products with the kernels of each network, per voxel.

  Counted for whole slices, where every layer runs once for each voxel, and for
  direct convolutions, not for fast ones; and those with the atoms of a match.
  """
  n_windows = acquisition_of(config).n_windows
  counts = {}
  for method in config.methods:
    if method not in NETWORKS:
      continue
    module = make_network(config, method)
    rank = signal_rank(config, method)
    n_channels = channel_count(module, n_components=rank or n_windows)
    layers = variable_shapes(module, n_channels=n_channels)
    # A convolution over time runs once for each of its samples.
    lengths = module.lengths(n_windows) if method == "hoppe" else []
    samples = {f"temporal_{i}": length for i, length in enumerate(lengths)}
    counts[method] = sum(
      int(np.prod(layer["kernel"].shape)) * samples.get(name, 1)
      for name, layer in layers["params"].items()
      if "kernel" in layer
    )
    if COLLECTION in layers:
      table = layers[COLLECTION][LAYER]["products"]
      counts[method] += int(np.prod(table.shape))
  return counts
