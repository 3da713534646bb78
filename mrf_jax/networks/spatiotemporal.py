"""Spatiotemporal network of Balsiger 2018."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mrf_jax.networks.block import DropoutNormRelu, apply_block
from mrf_jax.networks.layers import ValidConv


class Spatiotemporal(nn.Module):
  """5 × 5 patches of fingerprints to the maps of their central voxel.

  Block = convolution (valid, stride one), dropout, batch normalisation, ReLU.
  Two 1 × 1 blocks reduce the channels; a 5 × 5 block and a 3 × 3 block on the
  centre run in parallel; a linear 1 × 1 convolution gives the maps. The network
  is fully convolutional: a patch of 5 × 5 gives one estimate, a slice gives a
  slice. A reconstruction runs its first half, `temporal`, once for each voxel,
  although patches overlap, and then `spatial`.

  Attributes:
    widths: features of the two 1 × 1 blocks; the paper has 256 for the second,
      and a figure without a number for the first.
    branch_width: features of each spatial block; not in the paper.
    dropout: share of activations dropped in training.
    n_outputs: number of maps, or twice as many with the logarithms of their
      standard deviations.
  """

  widths: tuple[int, ...] = (512, 256)
  branch_width: int = 128
  dropout: float = 0.2
  n_outputs: int = 3

  # Voxels on each side of a patch's centre: the network sees 5 × 5.
  reach = 2
  slices = 1

  def setup(self):
    """Makes the layers, whose names are those in saved bundles."""

    def block(number, width, size, name):
      return (
        ValidConv(width, size, name=name),
        DropoutNormRelu(self.dropout, name=f"BatchNorm_{number}"),
      )

    n = len(self.widths)
    self.temporal_blocks = [
      block(i, width, 1, f"temporal_{i}") for i, width in enumerate(self.widths)
    ]
    self.wide = block(n, self.branch_width, 5, "spatial_5x5")
    self.narrow = block(n + 1, self.branch_width, 3, "spatial_3x3")
    self.maps = ValidConv(self.n_outputs, 1, name="maps")

  def __call__(
    self, signals: Float[Array, "batch y x channel"], *, train: bool
  ) -> Float[Array, "batch y-4 x-4 maps"]:
    """Normalised maps of all voxels whose whole patch is inside the input.

    Args:
      signals: real parts, then imaginary parts, of every voxel.
      train: whether to drop activations and use the statistics of the batch.

    Returns:
      Maps on the scale of [0, 1].
    """
    return self.spatial(self.temporal(signals, train=train), train=train)

  def temporal(
    self, signals: Float[Array, "batch y x channel"], *, train: bool
  ) -> Float[Array, "batch y x feature"]:
    """Features of every voxel from its fingerprint alone."""
    x = signals
    for block in self.temporal_blocks:
      x = apply_block(block, x, train=train)
    return x

  def spatial(
    self, features: Float[Array, "batch y x feature"], *, train: bool
  ) -> Float[Array, "batch y-4 x-4 maps"]:
    """Normalised maps from the features of the voxels around each voxel."""
    wide = apply_block(self.wide, features, train=train)
    narrow = apply_block(self.narrow, features[:, 1:-1, 1:-1], train=train)
    return self.maps(jnp.concatenate([wide, narrow], -1), train=train)
