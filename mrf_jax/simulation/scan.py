"""Simulated MRF scan: spiral k-space, noise, sliding-window images."""

import numpy as np
from jaxtyping import Bool, Complex64, Inexact

from mrf_jax.kspace import spiral as spirals
from mrf_jax.kspace.spiral import Spiral
from mrf_jax.runtime.threads import map_threads
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.signal.subspace import temporal_subspace
from mrf_jax.simulation.phantom import Phantom

# A tissue with a smaller share of a voxel is left out, which saves simulations.
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

  Frame t is acquired with arm t mod n_arms. The forward transform is applied to
  the components of a temporal subspace, whose error is bounded by `tolerance`.
  Noise and adjoint transform are computed frame by frame, so that noise and
  aliasing are complete.

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
    tolerance: relative error of the temporal subspace.
    samples: array that the k-space is written to, or None.

  Returns:
    A complex image value for each masked voxel, in C order, and window.
  """
  coefficients, basis = temporal_subspace(signals, tolerance=tolerance)
  images = np.zeros((basis.shape[1], *mask.shape), np.complex64)
  images[:, mask] = coefficients.T
  components = spirals.forward(spiral, images, sensitivities)
  power = np.sum(np.abs(sensitivities) ** 2, 0)
  # The adjoint over all arms is n_arms times the mean over a window of them.
  scale = (spiral.n_arms / power).astype(np.float32)
  frames = np.empty((len(signals), len(basis)), np.complex64)

  def scan_with_arm(arm_and_rng) -> None:
    arm, noise_rng = arm_and_rng
    times = np.arange(arm, len(basis), spiral.n_arms)
    if not times.size:
      return
    _, n_coils, _, n_samples = components.shape
    k_space = basis[times] @ components[:, :, arm].reshape(basis.shape[1], -1)
    shape = (times.size, n_coils, n_samples)
    k_space = k_space.reshape(shape)
    if noise_sd:
      pairs = noise_rng.standard_normal((*shape, 2), dtype=np.float32)
      k_space += np.float32(noise_sd) * pairs.view(np.complex64)[..., 0]
    if samples is not None:
      samples[times] = k_space
    images = spirals.adjoint_of_arm(spiral, arm, k_space, sensitivities)
    frames[:, times] = (images[:, mask] * scale[mask]).T

  # One random stream for each arm, whatever thread scans it.
  map_threads(scan_with_arm, enumerate(rng.spawn(spiral.n_arms)))
  return sliding_window(frames, window=window, stride=stride)


def true_signals(
  phantom: Phantom, sequence: Sequence, z: int
) -> Inexact[np.ndarray, "voxel frame"]:
  """Noiseless signals of the masked voxels of slice z in every frame.

  A signal is the sum over the tissues of a voxel, each simulated with its own
  T1 and T2 and the B1 of the voxel.

  Returns:
    float32, or complex64 if the phases of the pulses differ.
  """
  rows = phantom.rows(z)
  fractions, b1 = phantom.fractions[:, rows], phantom.b1[rows]
  signals = np.zeros(
    (fractions.shape[1], sequence.n_frames),
    np.float32 if sequence.has_real_echoes else np.complex64,
  )
  for fraction, tissue in zip(fractions, phantom.tissues.values(), strict=True):
    voxels = np.flatnonzero(fraction > _LEAST_FRACTION)
    if not voxels.size:
      continue
    pd, t1_ms, t2_ms = (
      m[rows][voxels] for m in (tissue.pd, tissue.t1_ms, tissue.t2_ms)
    )
    echoes = simulate_fingerprints(
      sequence, t1_ms, t2_ms, b1=b1[voxels], keep_real=True
    )
    signals[voxels] += (fraction[voxels] * pd)[:, None] * echoes
  return signals


def mean_magnitude(signals: Inexact[np.ndarray, "voxel frame"]) -> float:
  """Mean magnitude of signals, to which noise levels are relative.

  Those are `true_signals` of the first slice in
  `Phantom.by_distance_from_the_middle`.
  """
  return float(np.abs(signals).mean(dtype=np.float64))
