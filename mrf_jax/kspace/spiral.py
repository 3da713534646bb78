"""Spiral readout: trajectory and density compensation."""

import dataclasses

import numpy as np
from jaxtyping import Float32, Float64

from mrf_jax.checks import check_gradient_delays
from mrf_jax.kspace.nufft import norm_factor


@dataclasses.dataclass(frozen=True)
class Spiral:
  """Rotated spiral arms that together sample k-space fully.

  Attributes:
    trajectory: k-space positions in cycles per voxel, within ±0.5,
      [arm, sample, 2] (x, y).
    weights: density compensation, [sample], scaled so that the adjoint over
      all arms gives a smooth image back unchanged.
    matrix: voxels along x and y.
    readout_ms: duration of an arm, ms.
  """

  trajectory: Float32[np.ndarray, "arm sample 2"]
  weights: Float32[np.ndarray, "sample"]
  matrix: int
  readout_ms: float

  @property
  def n_arms(self) -> int:
    """Number of arms, each rotated by 360° / n_arms from the last."""
    return len(self.trajectory)

  @property
  def times_ms(self) -> Float64[np.ndarray, "sample"]:
    """Time of each sample from the first one, which is that of the echo, ms."""
    n_samples = self.trajectory.shape[1]
    return np.arange(n_samples) * (self.readout_ms / n_samples)

  def delayed(
    self, delays_us: tuple[float, float]
  ) -> Float32[np.ndarray, "arm sample 2"]:
    """Positions where samples are taken if the gradients are late.

    Args:
      delays_us: delays of the x and of the y gradient, µs; negative ones are
        early.

    Raises:
      UserError: a delay is longer than the readout.
    """
    check_gradient_delays(delays_us, readout_ms=self.readout_ms)
    times_us = 1e3 * self.times_ms
    positions = np.empty_like(self.trajectory)
    for axis, delay_us in enumerate(delays_us):
      for arm, nominal in enumerate(self.trajectory[..., axis]):
        # Before its beginning and after its end an arm stays where it is.
        positions[arm, :, axis] = np.interp(
          times_us - delay_us, times_us, nominal
        )
    return positions

  def noise_gain(self) -> float:
    """Standard deviation of the image for unit noise on every sample.

    For the adjoint over all arms of one coil of sensitivity one; both are the
    noise of a real or imaginary part.
    """
    energy = self.n_arms * np.sum(self.weights.astype(np.float64) ** 2)
    return float(np.sqrt(energy) / norm_factor(self.matrix))


def make_spiral(
  *,
  matrix: int,
  n_arms: int,
  samples_per_arm: int,
  density_power: float,
  readout_ms: float = 10.92,
) -> Spiral:
  """A variable-density spiral that is critically sampled at the rim.

  The radius grows as angle^density_power up to the edge of k-space; the number
  of turns puts neighbouring arms one sampling distance apart at the rim. The
  centre is denser for powers above one. The gradient rises over the first 15 %
  of the samples and then keeps its amplitude.

  Args:
    matrix: voxels along x and y.
    n_arms: number of arms, each rotated by 360° / n_arms.
    samples_per_arm: samples of one arm.
    density_power: exponent of the radius; 1 is Archimedes' spiral.
    readout_ms: duration of an arm, ms. The default is 1092 samples of 10 µs.

  Returns:
    The spiral with its density compensation.
  """
  turns = density_power * (matrix / 2) / n_arms
  fine = np.linspace(0, 1, 64 * samples_per_arm)
  curve = 0.5 * fine**density_power * np.exp(2j * np.pi * turns * fine)
  length = np.concatenate([[0], np.cumsum(np.abs(np.diff(curve)))])
  speed = np.minimum(1, np.arange(samples_per_arm) / (0.15 * samples_per_arm))
  travelled = np.cumsum(speed) - speed / 2
  distance = length[-1] * (travelled - travelled[0]) / np.ptp(travelled)
  parameter = np.interp(distance, length, fine)
  arm = 0.5 * parameter**density_power
  arm = arm * np.exp(2j * np.pi * turns * parameter)
  # Just inside the band, in which the NUFFT is defined.
  arm *= 1 - 1e-6
  rotations = np.exp(2j * np.pi * np.arange(n_arms) / n_arms)
  arms = rotations[:, None] * arm
  trajectory = np.stack([arms.real, arms.imag], -1).astype(np.float32)

  # The weight of a sample is its share of the ring between the radii half-way
  # to its neighbours: the area element of interleaved spirals, exact if the
  # radius grows monotonically (Hoge 1997).
  radius = np.abs(arm)
  rims = np.concatenate([[0.0], (radius[1:] + radius[:-1]) / 2, [radius[-1]]])
  area = np.pi * np.diff(rims**2) / n_arms
  weights = area * norm_factor(matrix) ** 2
  return Spiral(trajectory, weights.astype(np.float32), matrix, readout_ms)
