"""Simulated MRF scan: spiral k-space, noise, sliding-window images."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Complex64, Complex128, Float64, Inexact

from mrf_jax.checks import check_noise_correlation
from mrf_jax.kspace.coils import fit_sensitivities
from mrf_jax.kspace.encoding import LARGEST_ERROR, make_encoding
from mrf_jax.kspace.nufft import nufft
from mrf_jax.kspace.off_resonance import OffResonance, make_time_segments
from mrf_jax.kspace.spiral import Spiral
from mrf_jax.runtime.threads import map_threads, one_blas_thread
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.simulation.imperfections import IDEAL, Imperfections

# Samples of an arm, its first ones, that show how the signal changes over time.
_CENTRAL_SAMPLES = 8
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
  rates_per_s: Complex128[np.ndarray, "voxel"] | None = None,
  imperfections: Imperfections = IDEAL,
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
    sensitivities: coil sensitivities, which the reconstruction uses too, unless
      it has to estimate them.
    spiral: the readout.
    noise_sd: standard deviation of the noise on the real and on the
      imaginary part of each k-space sample.
    window: number of frames in a window.
    stride: frames from one window to the next.
    samples: array that the k-space is written to, or None.
    rates_per_s: precession and decay of the masked voxels during the readout,
      see `OffResonance`; None is neither.
    imperfections: of gradients and coils.

  Returns:
    A complex image value for each masked voxel, in C order, and window.
  """
  encoding = make_encoding(mask, sensitivities)
  n_coils, n_frames = len(sensitivities), signals.shape[1]
  frames = np.empty(signals.shape, np.complex64)
  segments = None
  if rates_per_s is not None:
    segments = make_time_segments(
      rates_per_s, 1e-3 * spiral.times_ms, largest_error=LARGEST_ERROR
    )
  acquired = spiral.trajectory
  if any(imperfections.gradient_delays_us):
    acquired = spiral.delayed(imperfections.gradient_delays_us)
  mixing = None
  if imperfections.noise_correlation:
    covariance = noise_covariance(n_coils, imperfections.noise_correlation)
    mixing = np.linalg.cholesky(covariance).astype(np.float32)
  estimates = imperfections.estimated_sensitivities
  if estimates and samples is None:
    n_samples = spiral.trajectory.shape[1]
    samples = np.empty((n_frames, n_coils, n_samples), np.complex64)

  def times_of(arm: int) -> Iterator[slice]:
    """Frames of an arm, some at a time."""
    for start in range(arm, n_frames, _TOGETHER * spiral.n_arms):
      stop = start + _TOGETHER * spiral.n_arms
      yield slice(start, stop, spiral.n_arms)

  def scan_with_arm(arm_and_rng: tuple[int, np.random.Generator]) -> None:
    arm, noise_rng = arm_and_rng
    nominal = encoding.of_samples(spiral.trajectory[arm])
    read = nominal
    if acquired is not spiral.trajectory:
      read = encoding.of_samples(acquired[arm])
    forward = read.forward
    if segments is not None and rates_per_s is not None:
      forward = OffResonance(read, rates_per_s, segments).forward
    for times in times_of(arm):
      k_space = forward(signals[:, times])
      if noise_sd:
        pairs = noise_rng.standard_normal((*k_space.shape, 2), dtype=np.float32)
        noise = pairs.view(np.complex64)[..., 0]
        if mixing is not None:
          noise = mixing @ noise
        k_space += np.float32(noise_sd) * noise
      if samples is not None:
        samples[times] = k_space
      if not estimates:
        frames[:, times] = nominal.adjoint(k_space * spiral.weights)

  # One random stream for each arm, whatever thread scans it.
  with one_blas_thread():
    map_threads(scan_with_arm, enumerate(rng.spawn(spiral.n_arms)))
    used = sensitivities
    if estimates and samples is not None:
      used = _estimated_sensitivities(samples, mask, sensitivities, spiral)
      estimated, kept = make_encoding(mask, used), samples

      def reconstruct_arm(arm: int) -> None:
        nominal = estimated.of_samples(spiral.trajectory[arm])
        for times in times_of(arm):
          frames[:, times] = nominal.adjoint(kept[times] * spiral.weights)

      map_threads(reconstruct_arm, range(spiral.n_arms))
  power = np.sum(np.abs(used[:, mask]) ** 2, 0)
  # The adjoint over all arms is n_arms times the mean over a window of them.
  frames *= (spiral.n_arms / power).astype(np.float32)[:, None]
  return sliding_window(frames, window=window, stride=stride)


def _estimated_sensitivities(
  samples: Complex64[np.ndarray, "frame coil sample"],
  mask: Bool[np.ndarray, "y x"],
  sensitivities: Complex64[np.ndarray, "coil y x"],
  spiral: Spiral,
) -> Complex64[np.ndarray, "coil y x"]:
  """Sensitivities by the k-space of a slice.

  All frames together sample k-space fully. They are weighted by the strongest
  temporal component of its centre, which keeps what else cancels if the signal
  changes its sign. What all coils see together, which shades images, and their
  mean phase are known from a prescan with the body coil, as scanners have it.
  """
  n_frames = len(samples)
  centre = samples[..., :_CENTRAL_SAMPLES].reshape(n_frames, -1)
  changes = np.linalg.svd(centre, full_matrices=False)[0][:, 0]
  k_space = np.zeros((spiral.n_arms, *samples.shape[1:]), np.complex64)
  for arm in range(min(spiral.n_arms, n_frames)):
    own = changes[arm :: spiral.n_arms]
    energy = np.maximum(np.sum(np.abs(own) ** 2), 1e-3 / n_frames)
    of_arm = samples[arm :: spiral.n_arms]
    k_space[arm] = np.tensordot(own.conj() / energy, of_arm, 1)
  operator = nufft(
    spiral.trajectory.reshape(-1, 2), len(mask), n_coils=samples.shape[1]
  )
  weighted = (k_space * spiral.weights).swapaxes(0, 1)
  weighted = np.ascontiguousarray(weighted.reshape(1, len(weighted), -1))
  images = operator.adj_op(weighted)[0].swapaxes(1, 2)
  found = fit_sensitivities(images, mask)
  found *= np.linalg.norm(sensitivities, axis=0)
  turn = np.angle(np.vdot(found, sensitivities * mask))
  return found * np.exp(1j * turn).astype(np.complex64)


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
