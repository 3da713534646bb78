"""Simulated MRF scan: spiral k-space, noise, sliding-window images."""

import numpy as np
from jaxtyping import Bool, Complex64, Complex128, Float32, Float64, Inexact

from mrf_jax.checks import check_noise_correlation
from mrf_jax.kspace.encoding import LARGEST_ERROR, make_encoding
from mrf_jax.kspace.off_resonance import OffResonance, make_time_segments
from mrf_jax.kspace.spiral import Spiral
from mrf_jax.runtime.threads import map_threads, one_blas_thread
from mrf_jax.sequence.sliding_window import sliding_window

# Frames of one arm that are transformed at once.
_TOGETHER = 16


def scan_slice(
  rng: np.random.Generator,
  signals: Inexact[np.ndarray, "voxel frame"],
  mask: Bool[np.ndarray, "y x"],
  sensitivities: Complex64[np.ndarray, "coil y x"],
  spiral: Spiral,
  *,
  noise_sd: float,
  window: int,
  stride: int,
  samples: Complex64[np.ndarray, "frame coil sample"] | None = None,
  acquired: Float32[np.ndarray, "arm sample 2"] | None = None,
  rates_per_s: Complex128[np.ndarray, "voxel"] | None = None,
  noise_correlation: float = 0.0,
) -> Complex64[np.ndarray, "voxel window"]:
  """Scans one slice and reconstructs it with a sliding window.

  Frame t is acquired with arm t mod n_arms, through forward transform, noise
  and adjoint transform of its own, so that noise and aliasing are complete. The
  reconstruction knows neither where the samples were really taken nor the field
  and the correlation of the noise.

  Args:
    rng: random numbers of the noise.
    signals: true fingerprints of the masked voxels, times PD.
    mask: masked voxels of the slice.
    sensitivities: coil sensitivities, which the reconstruction uses too.
    spiral: the readout.
    noise_sd: standard deviation of the noise on the real and on the
      imaginary part of each k-space sample.
    window: number of frames in a window.
    stride: frames from one window to the next.
    samples: array that the k-space is written to, or None.
    acquired: where the samples are taken, cycles per voxel; None is the
      spiral's trajectory.
    rates_per_s: precession and decay of the masked voxels during the readout,
      see `OffResonance`; None is neither.
    noise_correlation: see `noise_covariance`.

  Returns:
    A complex image value for each masked voxel, in C order, and window.
  """
  encoding = make_encoding(mask, sensitivities)
  power = np.sum(np.abs(sensitivities[:, mask]) ** 2, 0)
  # The adjoint over all arms is n_arms times the mean over a window of them.
  scale = (spiral.n_arms / power).astype(np.float32)
  frames = np.empty(signals.shape, np.complex64)
  segments = None
  if rates_per_s is not None:
    segments = make_time_segments(
      rates_per_s, 1e-3 * spiral.times_ms, largest_error=LARGEST_ERROR
    )
  mixing = None
  if noise_correlation:
    covariance = noise_covariance(len(sensitivities), noise_correlation)
    mixing = np.linalg.cholesky(covariance).astype(np.float32)

  def scan_with_arm(arm_and_rng: tuple[int, np.random.Generator]) -> None:
    arm, noise_rng = arm_and_rng
    of_arm = encoding.of_samples(spiral.trajectory[arm])
    read = of_arm
    if acquired is not None:
      read = encoding.of_samples(acquired[arm])
    forward = read.forward
    if segments is not None and rates_per_s is not None:
      forward = OffResonance(read, rates_per_s, segments).forward
    for start in range(arm, signals.shape[1], _TOGETHER * spiral.n_arms):
      stop = start + _TOGETHER * spiral.n_arms
      times = slice(start, stop, spiral.n_arms)
      k_space = forward(signals[:, times])
      if noise_sd:
        pairs = noise_rng.standard_normal((*k_space.shape, 2), dtype=np.float32)
        noise = pairs.view(np.complex64)[..., 0]
        if mixing is not None:
          noise = mixing @ noise
        k_space += np.float32(noise_sd) * noise
      if samples is not None:
        samples[times] = k_space
      k_space *= spiral.weights
      frames[:, times] = of_arm.adjoint(k_space) * scale[:, None]

  # One random stream for each arm, whatever thread scans it.
  with one_blas_thread():
    map_threads(scan_with_arm, enumerate(rng.spawn(spiral.n_arms)))
  return sliding_window(frames, window=window, stride=stride)


def noise_covariance(
  n_coils: int, correlation: float
) -> Float64[np.ndarray, "coil coil"]:
  """Covariance of the noise of coils on a ring, of variance one each.

  Coils that are d places apart correlate by `correlation` to the power of d:
  their noise comes from the tissue that both see.

  Raises:
    UserError: the correlation of neighbours is not from 0 to below 1.
  """
  check_noise_correlation(correlation)
  apart = np.abs(np.subtract.outer(np.arange(n_coils), np.arange(n_coils)))
  return np.power(correlation, np.minimum(apart, n_coils - apart))
