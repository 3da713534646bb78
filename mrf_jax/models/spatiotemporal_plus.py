"""Our own spatiotemporal network, from what the study found."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mrf_jax.models.block import DropoutNormRelu
from mrf_jax.models.layers import ValidConv


class SpatiotemporalPlus(nn.Module):
  """Temporal components, then residual 3 × 3 convolutions: maps and deviations.

  Two 1 × 1 blocks see the fingerprint's temporal components. Each spatial block
  is a 3 × 3 convolution (valid), batch normalisation and ReLU beside which its
  input passes by, so that the field of view grows by one voxel on each side
  per block and the centre's own features arrive unmixed. A linear 1 × 1
  convolution gives the maps and the logarithms of their deviations, which are
  trained together by likelihood. No dropout: in front of batch normalisation
  it makes training and reconstruction differ in variance.

  Attributes:
    widths: features of the two 1 × 1 blocks; the second is that of the
      spatial blocks too.
    depth: spatial blocks; the network sees 2 `depth` + 1 voxels along y and x.
    n_outputs: maps and logarithms of deviations; the number of maps is
      without deviations.
  """

  widths: tuple[int, ...] = (256, 128)
  depth: int = 4
  n_outputs: int = 6

  @property
  def reach(self) -> int:
    """Voxels on each side of a patch's centre."""
    return self.depth

  def setup(self):
    """The layers, by the names that stand in saved bundles."""

    def block(width, size, name):
      return (
        ValidConv(width, size, name=name),
        DropoutNormRelu(0.0, name=f"{name}_norm"),
      )

    self.temporal_blocks = [
      block(width, 1, f"temporal_{i}") for i, width in enumerate(self.widths)
    ]
    self.spatial_blocks = [
      block(self.widths[-1], 3, f"spatial_{i}") for i in range(self.depth)
    ]
    # From zero on: a deviation that begins far off takes long to come back.
    self.maps = ValidConv(self.n_outputs, 1, nn.initializers.zeros, name="maps")

  def __call__(
    self, signals: Float[Array, "batch y x channel"], *, train: bool
  ) -> Float[Array, "batch y' x' output"]:
    """Normalised maps of all voxels whose whole patch is inside the input.

    Args:
      signals: real parts, then imaginary parts, of every voxel's components.
      train: whether to use the batch's statistics.

    Returns:
      Maps on the scale of [0, 1], then the logarithms of their deviations.
    """
    return self.spatial(self.temporal(signals, train=train), train=train)

  def temporal(
    self, signals: Float[Array, "batch y x channel"], *, train: bool
  ) -> Float[Array, "batch y x feature"]:
    """Features of every voxel from its fingerprint alone."""
    x = signals
    for convolution, norm in self.temporal_blocks:
      x = norm(convolution(x, train=train), train=train)
    return x

  def spatial(
    self, features: Float[Array, "batch y x feature"], *, train: bool
  ) -> Float[Array, "batch y' x' output"]:
    """Outputs from what `temporal` found in the voxels around."""
    x = features
    for convolution, norm in self.spatial_blocks:
      around = norm(convolution(x, train=train), train=train)
      x = x[:, 1:-1, 1:-1] + around
    return self.maps(jnp.asarray(x), train=train)
