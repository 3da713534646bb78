"""Convolutional network of Hoppe 2017, over the time of one fingerprint."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mrf_jax.errors import UserError
from mrf_jax.networks.layers import activation, dense


class Hoppe(nn.Module):
  """Four convolutions over time, then a perceptron, fingerprint by fingerprint.

  Real and imaginary part are the two input channels. Block = convolution
  (valid), ReLU, batch normalisation. Average pooling of two samples follows,
  then layers of the sizes `dense` with ReLU, and a linear layer.

  Attributes:
    features: features of the convolutions.
    kernels: lengths of their kernels in time.
    strides: their steps; (3, 2, 2, 1) reduce 673 windows to 24 samples after
      pooling, as many as in the original.
    pool: samples of the average pooling.
    dense: features of the fully connected layers.
    output: activation of the maps.
    n_outputs: number of maps, or twice as many with the logarithms of their
      standard deviations.
  """

  features: tuple[int, ...] = (30, 60, 120, 240)
  kernels: tuple[int, ...] = (15, 10, 5, 3)
  strides: tuple[int, ...] = (3, 2, 2, 1)
  pool: int = 2
  dense: tuple[int, ...] = (1000, 500, 300)
  output: str = "linear"
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
      train: whether to use the statistics of the batch.

    Returns:
      Maps on the scale of [0, 1].

    Raises:
      UserError: the fingerprints are too short for the strides, or the
        options do not fit each other.
    """
    n_frames = signals.shape[-1] // 2
    *_, last = self.lengths(n_frames)
    x = signals.reshape(-1, 2, n_frames).swapaxes(1, 2)  # [voxel, T, 2]
    layers = zip(self.features, self.kernels, self.strides, strict=True)
    for i, (width, kernel, stride) in enumerate(layers):
      x = TemporalConv(width, kernel, stride, name=f"temporal_{i}")(x)
      x = nn.relu(x)
      x = nn.BatchNorm(
        use_running_average=not train, momentum=0.99, epsilon=1e-3
      )(x)
    x = x[:, : last * self.pool].reshape(len(x), last, self.pool, -1)
    x = x.mean(2).reshape(len(x), -1)
    for i, width in enumerate(self.dense):
      x = nn.relu(dense(width, name=f"dense_{i}")(x))
    x = activation(self.output)(dense(self.n_outputs, name="maps")(x))
    return x.reshape(*signals.shape[:-1], self.n_outputs)

  def lengths(self, n_frames: int) -> list[int]:
    """Samples after each convolution and after the pooling.

    Raises:
      UserError: a convolution gets fewer samples than its kernel has.
    """
    if not len(self.features) == len(self.kernels) == len(self.strides):
      raise UserError(
        "hoppe: features, kernels and strides need one value for each "
        f"convolution, not {self.features}, {self.kernels}, {self.strides}"
      )
    if min(*self.features, *self.kernels, *self.strides, self.pool) < 1:
      raise UserError("hoppe: features, kernels, strides and pool start at 1")
    lengths = []
    length = n_frames
    for i, (kernel, stride) in enumerate(
      zip(self.kernels, self.strides, strict=True)
    ):
      if length < kernel:
        raise UserError(
          f"hoppe: {n_frames} windows are too few: convolution {i + 1} of "
          f"{len(self.kernels)} (kernel {kernel}, stride {stride}) gets "
          f"{length} samples after strides {tuple(self.strides[:i])}; smaller "
          "strides or kernels are needed"
        )
      length = (length - kernel) // stride + 1
      lengths.append(length)
    if length < self.pool:
      raise UserError(
        f"hoppe: {n_frames} windows are too few: the pooling of {self.pool} "
        f"gets {length} samples after strides {tuple(self.strides)}; smaller "
        "strides or kernels are needed"
      )
    return [*lengths, length // self.pool]


class TemporalConv(nn.Module):
  """A strided 1-D convolution with valid padding as one matrix product.

  `stride` neighbouring samples become the channels of one sample, over
  ⌈size / stride⌉ of which the kernel moves in single steps. On a CPU, the
  gradient of XLA's own convolution takes five to ten times as long in some of
  its versions.

  Attributes:
    features: output channels.
    size: length of the kernel in samples.
    stride: samples from one output to the next.
  """

  features: int
  size: int
  stride: int

  @nn.compact
  def __call__(
    self, x: Float[Array, "voxel time channel"]
  ) -> Float[Array, "voxel time_out feature"]:
    """Output of ⌊(time − size) / stride⌋ + 1 samples."""
    channels, stride = x.shape[-1], self.stride
    kernel = self.param(
      "kernel",
      jax.nn.initializers.glorot_uniform(),
      (self.size, channels, self.features),
    )
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    n_out = (x.shape[1] - self.size) // stride + 1
    taps = -(-self.size // stride)
    surplus = taps * stride - self.size
    kernel = jnp.pad(kernel, ((0, surplus), (0, 0), (0, 0)))
    n_in = (n_out + taps - 1) * stride
    x = jnp.pad(x[:, :n_in], ((0, 0), (0, max(0, n_in - x.shape[1])), (0, 0)))
    x = x.reshape(len(x), -1, stride * channels)
    windows = [x[:, i : i + n_out] for i in range(taps)]
    product = jnp.concatenate(windows, -1) @ kernel.reshape(-1, self.features)
    return product + bias[None, None]
