"""Grids raw k-space of any two-dimensional trajectory to sliding windows."""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Complex64, Float, Float32

from mrf_jax.checks import check_finite, check_shape
from mrf_jax.errors import UserError
from mrf_jax.kspace.density import check_trajectory, density_weights
from mrf_jax.kspace.field_correction import FieldCorrection
from mrf_jax.kspace.nufft import nufft
from mrf_jax.runtime.threads import map_threads
from mrf_jax.sequence.sliding_window import sliding_window

# Frames of one trajectory that are transformed in one call, at most.
_TOGETHER = 16


def combined_windows(
  samples: Complex64[np.ndarray, "frame coil sample"],
  trajectory: Float32[np.ndarray, "frame sample 2"],
  sensitivities: Complex64[np.ndarray, "coil y x"],
  mask: Bool[np.ndarray, "y x"],
  *,
  window: int,
  stride: int = 1,
  phases_deg: Float[np.ndarray, "frame"] | None = None,
  weights: Float32[np.ndarray, "frame sample"] | None = None,
  field: FieldCorrection | None = None,
) -> Complex64[np.ndarray, "voxel window"]:
  r"""Sliding-window signals of masked voxels in C order, coils combined.

  Density-compensated adjoint of every frame, where the images x of the coils
  are combined with their sensitivities s,

  .. math::

    \sum s^* x \, \Big/ \sum |s|^2

  then a running mean: the adjoint is linear, so each frame is transformed only
  once, and images of single coils are not stored. As many frames as windows
  begin and end with are transformed as one, and these together with others of
  their trajectory: a transform costs more than the samples in it. The density
  is that of all frames together; a window reproduces a smooth object as far as
  its own frames sample k-space like all frames do.

  Args:
    samples: k-space of each frame.
    trajectory: k-space positions of the samples, cycles per voxel within ±0.5,
      (x, y).
    sensitivities: of each coil.
    mask: voxels of the result, matrix × matrix; voxel (matrix // 2,
      matrix // 2) is the centre.
    window: frames of one window.
    stride: frames from one window to the next.
    phases_deg: phase of each RF pulse, degrees, which is removed from the
      signal; None if the receiver followed it.
    weights: density compensation; None for `density_weights`.
    field: correction of a field that is not uniform; None without one.

  Returns:
    (frames − window) // stride + 1 signals of each voxel.

  Raises:
    UserError: the parts do not fit together, or a value is not finite.
  """
  matrix = mask.shape[0]
  scan = _checked_scan(
    samples, trajectory, matrix, window, stride, phases_deg, weights
  )
  together = math.gcd(window, stride)
  scan = scan.merged(together)
  window, stride = window // together, stride // together
  n_frames, n_coils, _ = scan.samples.shape
  check_shape("sensitivities", sensitivities, (n_coils, matrix, matrix))
  check_shape("mask", mask, (matrix, matrix))
  power = np.sum(np.abs(sensitivities) ** 2, 0)
  gain = (1 / np.where(power > 0, power, np.inf))[mask].astype(np.float32)
  n_voxels = np.count_nonzero(mask)
  frames = np.empty((n_voxels, n_frames), np.complex64)
  parts = [(None, None)] if field is None else [*field.parts(mask)]

  def transform(numbers: np.ndarray) -> None:
    operator = nufft(
      scan.trajectory[numbers[0]],
      matrix,
      n_coils=n_coils,
      n_batches=len(numbers),
      sensitivities=sensitivities,
    )
    weighted = scan.weighted(numbers)
    total = np.zeros((len(numbers), n_voxels), np.complex64)
    for factors, turns in parts:
      k_space = weighted
      if factors is not None:
        k_space = weighted * np.tile(factors, together)
      images = operator.adj_op(k_space)[:, 0]
      voxels = images.transpose(0, 2, 1)[:, mask]  # [frame, voxel]
      total += voxels if turns is None else voxels * turns
    frames[:, numbers] = (total * gain).T

  map_threads(transform, _equal_frames(scan.trajectory))
  return sliding_window(frames, window=window, stride=stride)


def separate_windows(
  samples: Complex64[np.ndarray, "frame coil sample"],
  trajectory: Float32[np.ndarray, "frame sample 2"],
  *,
  matrix: int,
  window: int,
  phases_deg: Float[np.ndarray, "frame"] | None = None,
  weights: Float32[np.ndarray, "frame sample"] | None = None,
) -> Complex64[np.ndarray, "window coil y x"]:
  """Images of frames // window windows, coil by coil.

  Neighbouring windows share no frames, so each is transformed as a whole. The
  arguments are those of `combined_windows`, with `matrix` voxels along x and y.

  Raises:
    UserError: the parts do not fit together, or a value is not finite.
  """
  scan = _checked_scan(
    samples, trajectory, matrix, window, 1, phases_deg, weights
  )
  n_frames, n_coils, _ = scan.samples.shape
  images = np.empty((n_frames // window, n_coils, matrix, matrix), np.complex64)

  def transform(number: int) -> None:
    frames = np.arange(number * window, (number + 1) * window)
    operator = nufft(
      scan.trajectory[frames].reshape(-1, 2), matrix, n_coils=n_coils
    )
    k_space = scan.weighted(frames).swapaxes(0, 1).reshape(1, n_coils, -1)
    image = operator.adj_op(np.ascontiguousarray(k_space))[0]
    images[number] = image.transpose(0, 2, 1) / window

  map_threads(transform, range(len(images)))
  return images


def _equal_frames(trajectory: np.ndarray) -> list[np.ndarray]:
  """Numbers of the frames in groups of one trajectory, of bounded size."""
  rows = trajectory.reshape(len(trajectory), -1)
  _, groups = np.unique(rows, axis=0, return_inverse=True)
  parts = []
  for group in range(groups.max() + 1):
    numbers = np.flatnonzero(groups.ravel() == group)
    parts += np.split(numbers, range(_TOGETHER, len(numbers), _TOGETHER))
  return parts


@dataclasses.dataclass(frozen=True)
class _Scan:
  """Checked k-space of one slice.

  Attributes:
    samples: of each frame.
    trajectory: their positions.
    factors: on each sample, before the adjoint.
  """

  samples: Complex64[np.ndarray, "frame coil sample"]
  trajectory: Float32[np.ndarray, "frame sample 2"]
  factors: Complex64[np.ndarray, "frame sample"]

  def weighted(self, numbers: np.ndarray) -> np.ndarray:
    """Samples of some frames, ready for the adjoint, [frame, coil, sample]."""
    return self.samples[numbers] * self.factors[numbers, None]

  def merged(self, count: int) -> "_Scan":
    """The scan whose frames are means of as many, one after another.

    Frames that are too few for another one are left out.
    """
    if count == 1:
      return self
    n_merged, n_coils = len(self.samples) // count, self.samples.shape[1]

    def merged(values):
      return values[: n_merged * count].reshape(n_merged, -1)

    samples = self.samples[: n_merged * count]
    samples = samples.reshape(n_merged, count, n_coils, -1).swapaxes(1, 2)
    return _Scan(
      samples.reshape(n_merged, n_coils, -1),
      merged(self.trajectory).reshape(n_merged, -1, 2),
      merged(self.factors) / np.float32(count),
    )


def _checked_scan(
  samples, trajectory, matrix, window, stride, phases_deg, weights
) -> _Scan:
  """The parts of a scan, if they fit together."""
  samples = np.asarray(samples, np.complex64)
  trajectory = np.asarray(trajectory, np.float32)
  if samples.ndim != 3 or not samples.size:
    raise UserError(
      f"samples have shape {samples.shape}, not [frame, coil, sample]"
    )
  n_frames, _, n_samples = samples.shape
  check_shape("trajectory", trajectory, (n_frames, n_samples, 2))
  check_finite("samples", samples)
  if not 1 <= window <= n_frames or stride < 1:
    raise UserError(
      f"window {window} and stride {stride} do not fit {n_frames} frames"
    )
  if weights is None:
    weights = density_weights(trajectory, matrix=matrix)
  else:
    check_trajectory(trajectory, matrix)
    weights = np.asarray(weights, np.float32)
    check_shape("weights", weights, (n_frames, n_samples))
    check_finite("weights", weights)
  turns = np.ones(n_frames, np.complex64)
  if phases_deg is not None:
    phases = np.asarray(phases_deg, np.float64)
    check_shape("phases_deg", phases, (n_frames,))
    check_finite("phases_deg", phases)
    turns = np.exp(-1j * np.deg2rad(phases)).astype(np.complex64)
  # The mean over a window replaces the sum over all frames.
  turns *= np.float32(n_frames)
  return _Scan(samples, trajectory, weights * turns[:, None])
