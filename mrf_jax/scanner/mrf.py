"""The fingerprinting scan: spiral k-space, noise, sliding-window images."""

import numpy as np
from jaxtyping import Bool, Complex64, Inexact

from mrf_jax.kspace import spiral as spirals
from mrf_jax.kspace.spiral import Spiral
from mrf_jax.runtime.threads import map_threads
from mrf_jax.sequence.acquisition import sliding_window
from mrf_jax.signal.subspace import temporal_subspace


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
