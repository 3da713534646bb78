"""Sizes of the networks' kernels, for the paper's 673 windows."""

import pytest

from mrf_jax.networks.cohen import Cohen
from mrf_jax.networks.hoppe import Hoppe
from mrf_jax.networks.shapes import variable_shapes
from mrf_jax.networks.spatiotemporal import Spatiotemporal


@pytest.mark.parametrize(
  ("network", "expected"),
  [
    (
      Cohen(),
      {
        "hidden_0": (1346, 300),
        "hidden_1": (300, 300),
        "maps": (300, 3),
      },
    ),
    (
      Hoppe(),
      {
        "temporal_0": (15, 2, 30),
        "temporal_1": (10, 30, 60),
        "temporal_2": (5, 60, 120),
        "temporal_3": (3, 120, 240),
        "dense_0": (24 * 240, 1000),
        "dense_1": (1000, 500),
        "dense_2": (500, 300),
        "maps": (300, 3),
      },
    ),
    (
      Spatiotemporal(),
      {
        "temporal_0": (1, 1, 1346, 512),
        "temporal_1": (1, 1, 512, 256),
        "spatial_5x5": (5, 5, 256, 128),
        "spatial_3x3": (3, 3, 256, 128),
        "maps": (1, 1, 256, 3),
      },
    ),
  ],
  ids=["cohen", "hoppe", "spatiotemporal"],
)
def test_kernels_have_the_papers_sizes(network, expected):
  shapes = variable_shapes(network, n_channels=2 * 673)
  kernels = {
    name: layer["kernel"].shape
    for name, layer in shapes["params"].items()
    if "kernel" in layer
  }
  assert kernels == expected
