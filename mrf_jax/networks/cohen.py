"""Fully connected network of Cohen 2018 (DRONE)."""

import flax.linen as nn
from jaxtyping import Array, Float

from mrf_jax.networks.layers import activation, dense


class Cohen(nn.Module):
  """Two hidden layers from one fingerprint to its maps.

  The defaults are those of the paper; the public re-implementation by the first
  author of Balsiger 2018 has `activation="relu"` and `output="linear"`.

  Attributes:
    widths: features of the hidden layers.
    activation: of the hidden layers.
    output: activation of the maps; `sigmoid` keeps them within the range of
      the training maps.
    n_outputs: number of maps, or twice as many with the logarithms of their
      standard deviations.
  """

  widths: tuple[int, ...] = (300, 300)
  activation: str = "tanh"
  output: str = "sigmoid"
  n_outputs: int = 3

  # Voxels on each side of a patch's centre: none, it sees the voxel only.
  reach = 0
  slices = 1

  @nn.compact
  def __call__(
    self, signals: Float[Array, "batch y x channel"], *, train: bool
  ) -> Float[Array, "batch y x maps"]:
    """Normalised maps of every voxel.

    Args:
      signals: real parts, then imaginary parts, of every voxel.
      train: has no effect here.

    Returns:
      Maps on the scale of [0, 1].

    Raises:
      UserError: an activation is unknown.
    """
    del train
    x = signals
    for i, width in enumerate(self.widths):
      x = activation(self.activation)(dense(width, name=f"hidden_{i}")(x))
    return activation(self.output)(dense(self.n_outputs, name="maps")(x))
