"""Spatiotemporal network of our own, which uses the results of the study."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES
from mrf_jax.matching.match_table import atom_times
from mrf_jax.networks.block import DropoutNormRelu, apply_block
from mrf_jax.networks.layers import ValidConv
from mrf_jax.networks.match_layer import LAYER, MatchLayer, steps_of_pd


class SpatiotemporalPlus(nn.Module):
  """Temporal components, then residual 3 × 3 convolutions, to maps.

  Two 1 × 1 blocks have the temporal components of a fingerprint as input, and a
  third the features of the voxel and of its neighbours in the next slices,
  which are zero if there is no slice. Each spatial block is a 3 × 3 convolution
  (valid), batch normalisation and ReLU, to which its input is added. So the
  field of view grows by one voxel on each side a block, and the features of the
  centre are kept. A linear 1 × 1 convolution gives the maps and the logarithms
  of their standard deviations, which are trained together. There is no dropout:
  before batch normalisation it would make training and reconstruction differ in
  variance.

  With a match (`MatchLayer`), the network sees the shape of a fingerprint and
  what the match found, and learns what is to be added to its T1, T2 and PD on
  the scale of the maps: where signals are like none of its training, it has the
  dictionary to fall back on. Of PD it sees the steps to the neighbours alone,
  which are added to the features of the first spatial block. With B1, it sees
  what a measured map says of each voxel, too.

  Attributes:
    widths: features of the two 1 × 1 blocks; the second is also that of the
      spatial blocks.
    depth: spatial blocks; a patch has 2 `depth` + 1 voxels along y and x.
    slices: slices of a patch, 3, or 1 without neighbours.
    n_outputs: number of maps, or twice as many with the logarithms of their
      standard deviations.
    match_step_percent: step of T1 and T2 of the atoms of the match; 0 is a
      network without it.
    match_t1_ms: their least and greatest T1, ms.
    match_t2_ms: their least and greatest T2, ms.
    sees_b1: whether the last channel of a voxel is its B1, see `b1_channel`.
  """

  widths: tuple[int, ...] = (192, 96)
  depth: int = 4
  slices: int = 3
  n_outputs: int = 6
  match_step_percent: float = 0.0
  match_t1_ms: tuple[float, float] = (100.0, 5400.0)
  match_t2_ms: tuple[float, float] = (10.0, 2460.0)
  sees_b1: bool = False

  @property
  def reach(self) -> int:
    """Voxels on each side of a patch's centre."""
    return self.depth

  def setup(self):
    """Makes the layers, whose names are those in saved bundles."""
    if self.slices not in (1, 3):
      raise UserError(
        f"spatiotemporal_plus: slices is {self.slices}, not 1 or 3"
      )

    def block(width, size, name):
      return (
        ValidConv(width, size, name=name),
        DropoutNormRelu(0.0, name=f"{name}_norm"),
      )

    self.temporal_blocks = [
      block(width, 1, f"temporal_{i}") for i, width in enumerate(self.widths)
    ]
    if self.slices > 1:
      self.across = block(self.widths[-1], 1, "across")
    self.spatial_blocks = [
      block(self.widths[-1], 3, f"spatial_{i}") for i in range(self.depth)
    ]
    if self.match_step_percent:
      times = atom_times(
        self.match_t1_ms, self.match_t2_ms, self.match_step_percent
      )
      self.match = MatchLayer(len(times), name=LAYER)
      if self.depth:
        self.from_steps = ValidConv(self.widths[-1], 1, name="from_steps")
    # Zeros: a standard deviation that starts far off takes long to be learned.
    self.maps = ValidConv(self.n_outputs, 1, nn.initializers.zeros, name="maps")

  def __call__(
    self, signals: Float[Array, "batch *slice y x channel"], *, train: bool
  ) -> Float[Array, "batch y_out x_out output"]:
    """Normalised maps of all voxels whose whole patch is inside the input.

    Args:
      signals: real parts, then imaginary parts, of every voxel's components,
        and its B1 if the network sees it.
      train: whether to use the statistics of the batch.

    Returns:
      Maps on the scale of [0, 1], then the logarithms of their standard
      deviations.
    """
    return self.spatial(self.temporal(signals, train=train), train=train)

  def temporal(
    self, signals: Float[Array, "batch *slice y x channel"], *, train: bool
  ) -> Float[Array, "batch *slice y x feature"]:
    """Features of every voxel from its fingerprint alone.

    What the match found, if there is one, is the last of them.
    """
    *batch, height, width, n_channels = signals.shape
    x = signals.reshape(-1, height, width, n_channels)
    found = None
    if self.match_step_percent:
      # A match is one of signals alone.
      x, b1 = (x[..., :-1], x[..., -1:]) if self.sees_b1 else (x, None)
      features, found = self.match(x, b1)
      x = features.astype(x.dtype)
    for block in self.temporal_blocks:
      x = apply_block(block, x, train=train)
    if found is not None:
      x = jnp.concatenate([x, found.astype(x.dtype)], -1)
    return x.reshape(*batch, height, width, -1)

  def spatial(
    self, features: Float[Array, "batch *slice y x feature"], *, train: bool
  ) -> Float[Array, "batch y_out x_out output"]:
    """Outputs from the features of the voxels around each voxel."""
    x = features
    matched = log_pd = None
    if self.match_step_percent:
      n_features = x.shape[-1] - len(MAP_NAMES) - 1
      matched, log_pd = x[..., n_features:-1], x[..., -1]
      x = x[..., :n_features]
    if self.slices > 1:
      x = jnp.concatenate([x[:, i] for i in range(self.slices)], -1)
      x = apply_block(self.across, x, train=train)
    for number, block in enumerate(self.spatial_blocks):
      # Traced before the slice: XLA's sums depend on the order, in their last
      # bits, and trained weights with them.
      around = apply_block(block, x, train=train)
      x = x[:, 1:-1, 1:-1] + around
      if number == 0 and log_pd is not None:
        slices = log_pd if self.slices > 1 else log_pd[:, None]
        x += self.from_steps(steps_of_pd(slices), train=train)
    outputs = self.maps(jnp.asarray(x), train=train)
    if matched is None:
      return outputs
    return outputs.at[..., : len(MAP_NAMES)].add(self._of_centres(matched))

  def _of_centres(
    self, values: Float[Array, "batch *slice y x value"]
  ) -> Float[Array, "batch y_out x_out value"]:
    """Values of the voxels that are estimated."""
    if self.slices > 1:
      values = values[:, self.slices // 2]
    inner = slice(self.reach, -self.reach or None)
    return values[:, inner, inner]
