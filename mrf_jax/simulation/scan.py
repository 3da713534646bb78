"""The fingerprinting scan: spiral k-space, noise, sliding-window images."""

import numpy as np
from jaxtyping import Bool, Complex64, Inexact

from mrf_jax.kspace import spiral as spirals
from mrf_jax.kspace.spiral import Spiral
from mrf_jax.runtime.threads import map_threads
from mrf_jax.sequence.acquisition import sliding_window
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.signal.subspace import temporal_subspace
from mrf_jax.simulation.phantom import Phantom

# A tissue that fills less of a voxel than this adds nothing to its signal.
_LEAST_FRACTION = 1e-4


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
  tolerance: float,
  samples: Complex64[np.ndarray, "frame coil sample"] | None = None,
) -> Complex64[np.ndarray, "voxel window"]:
  """Scans one slice and reconstructs it with a sliding window.

  Frame t plays arm t mod n_arms. The forward transform runs through a
  temporal subspace of the signals (its error is bounded by `tolerance`);
  noise and adjoint are computed frame by frame, so that nothing of noise and
  aliasing is lost.

  Args:
    rng: random numbers of the noise.
    signals: true fingerprints of the masked voxels, PD included.
    mask: which voxels those are, in C order.
    sensitivities: coil sensitivities, known to the reconstruction too.
    spiral: the readout.
    noise_sd: standard deviation of the noise on the real and on the
      imaginary part of each k-space sample.
    window: frames of one window.
    stride: frames from one window to the next.
    tolerance: relative error of the temporal subspace.
    samples: is filled with the k-space, where it is wanted too.

  Returns:
    One complex image value for each masked voxel and window.
  """
  coefficients, basis = temporal_subspace(signals, tolerance=tolerance)
  images = np.zeros((basis.shape[1], *mask.shape), np.complex64)
  images[:, mask] = coefficients.T
  components = spirals.forward(spiral, images, sensitivities)
  power = np.sum(np.abs(sensitivities) ** 2, 0)
  # The mean over a window of all arms is the adjoint over all arms.
  combine = (spiral.n_arms / power).astype(np.float32)
  frames = np.empty((len(signals), len(basis)), np.complex64)

  def play_arm(job) -> None:
    arm, noise = job
    times = np.arange(arm, len(basis), spiral.n_arms)
    if not times.size:
      return
    _, n_coils, _, n_samples = components.shape
    k_space = basis[times] @ components[:, :, arm].reshape(basis.shape[1], -1)
    shape = (times.size, n_coils, n_samples)
    k_space = k_space.reshape(shape)
    if noise_sd:
      pairs = noise.standard_normal((*shape, 2), dtype=np.float32)
      k_space += np.float32(noise_sd) * pairs.view(np.complex64)[..., 0]
    if samples is not None:
      samples[times] = k_space
    images = spirals.adjoint_of_arm(spiral, arm, k_space, sensitivities)
    frames[:, times] = (images[:, mask] * combine[mask]).T

  map_threads(play_arm, enumerate(rng.spawn(spiral.n_arms)))
  return sliding_window(frames, window=window, stride=stride)


def true_signals(
  phantom: Phantom, sequence: Sequence, z: int
) -> Inexact[np.ndarray, "voxel frame"]:
  """Signals of the masked voxels of a slice without noise, every frame.

  The sum over a voxel's tissues, each simulated at its own T1, T2 and B1.

  Args:
    phantom: the head.
    sequence: the train.
    z: the slice.

  Returns:
    float32, or complex64 where the phases of the pulses differ.
  """
  rows = phantom.rows(z)
  fractions, b1 = phantom.fractions[:, rows], phantom.b1[rows]
  signals = np.zeros(
    (fractions.shape[1], sequence.n_frames),
    np.float32 if sequence.has_real_echoes else np.complex64,
  )
  for fraction, tissue in zip(fractions, phantom.tissues.values(), strict=True):
    there = np.flatnonzero(fraction > _LEAST_FRACTION)
    if not there.size:
      continue
    pd, t1_ms, t2_ms = (
      m[rows][there] for m in (tissue.pd, tissue.t1_ms, tissue.t2_ms)
    )
    echoes = simulate_fingerprints(
      sequence, t1_ms, t2_ms, b1=b1[there], keep_real=True
    )
    signals[there] += (fraction[there] * pd)[:, None] * echoes
  return signals


def mean_magnitude(signals: Inexact[np.ndarray, "voxel frame"]) -> float:
  """Mean of |signal| over the middle slice: what noise is relative to.

  Args:
    signals: of `true_signals`, of the first slice that
      `by_distance_from_the_middle` names.
  """
  return float(np.abs(signals).mean(dtype=np.float64))
