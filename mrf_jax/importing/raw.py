"""An MRF series from raw k-space: gridding, coils, sliding window."""

import functools
import os

import numpy as np
from jaxtyping import Bool, Complex64, Float32

from mrf_jax.errors import UserError
from mrf_jax.importing.volumes import plain_affine
from mrf_jax.io.ismrmrd_reader import RawData, load_raw_data
from mrf_jax.io.ismrmrd_writer import VENDOR
from mrf_jax.kspace.coils import estimate_sensitivities
from mrf_jax.kspace.density import density_weights
from mrf_jax.kspace.gridding import combined_windows, separate_windows
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import Sequence

# Vendors that are none.
_SIMULATORS = (VENDOR, "KomaMRI.jl")
# A trajectory fills the band up to its edge, or nearly.
_FILLED = (0.7, 1.0 + 1e-3)
# Voxels of a slice for each sample of it, frames and coils counted: far fewer
# than one where a series can be told apart (KomaMRI's has 0.2).
_MOST_VOXELS = 16
# Fields of view below this are metres.
_SMALLEST_FOV_MM = 5.0


class RawSeries:
  """Images of one scan, made from its k-space when they are asked for.

  Attributes:
    path: the file.
    shape: voxels along x, y, slices, and windows.
    affine: voxel index (x, y, slice) to RAS, [4, 4], mm; None where the file
      has none.
    assumptions: what the file did not say, in words.
    field_strength_t: of the file, or None.
    simulated_by: name of the simulator that wrote the file, or None.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    acquisition: Acquisition,
    *,
    trajectory_unit: str | None = None,
    demodulate: bool = False,
  ):
    """Reads and checks a raw file.

    Args:
      path: ISMRMRD; its acquisitions are the frames of each slice in order.
      acquisition: the pulse sequence, one readout of the file a frame, and the
        sliding window.
      trajectory_unit: one of `TRAJECTORY_UNITS`; None finds the one in which
        the trajectory fills the band.
      demodulate: take the phases of the RF pulses off the signal, where the
        receiver did not follow them.

    Raises:
      UserError: the file is damaged, does not hold the sequence's frames, has
        no trajectory, is three-dimensional, or the unit is not clear.
    """
    raw = load_raw_data(path)
    self.path = str(path)
    self.assumptions: list[str] = []
    self.field_strength_t = raw.field_strength_t
    self.simulated_by = raw.vendor if raw.vendor in _SIMULATORS else None
    self._acquisition, sequence = acquisition, acquisition.sequence
    self._phases_deg = sequence.rf_phases_deg if demodulate else None
    self._raw = raw
    matrix, fov_mm = self._sizes(raw)
    self._numbers = _frames_of_slices(raw, sequence, self.path)
    self._trajectory = self._cycles(raw, matrix, fov_mm, trajectory_unit)
    self.affine = raw.affine
    if self.affine is not None and fov_mm != raw.fov_mm:
      self.affine = _in_plane(self.affine, matrix, 1e3)
    if self.affine is None and fov_mm is not None:
      self.affine = plain_affine(
        (matrix, matrix, len(self._numbers)),
        np.array(fov_mm) / (matrix, matrix, 1),
      )
      self.assumptions.append(
        "the file does not say where its slices lie: x to the right, y to the "
        "front, slices upwards and one thickness apart, centred"
      )
    self.shape = (
      matrix,
      matrix,
      len(self._numbers),
      acquisition.n_windows,
    )

  def _sizes(self, raw: RawData):
    """Voxels along x and y, and the field of view in mm, or None."""
    if raw.matrix is None:
      raise UserError(f"{self.path}: the header has no matrix size")
    if raw.matrix[0] != raw.matrix[1] or raw.matrix[2] != 1:
      raise UserError(
        f"{self.path}: a matrix of {' × '.join(map(str, raw.matrix))}; slices "
        "with as many voxels along x as along y are wanted"
      )
    n_samples = raw.samples.size // len(np.unique(raw.slices))
    if raw.matrix[0] * raw.matrix[1] > _MOST_VOXELS * n_samples:
      raise UserError(
        f"{self.path}: the header claims {raw.matrix[0]:,} × {raw.matrix[1]:,} "
        f"voxels, but a slice has {n_samples:,} samples"
      )
    fov_mm = raw.fov_mm
    if fov_mm is not None and max(fov_mm[:2]) < _SMALLEST_FOV_MM:
      self.assumptions.append(
        f"the field of view, {fov_mm[0]:g} × {fov_mm[1]:g}, is in metres"
      )
      # The slice, which KomaMRI sets to 1, is left as it is.
      fov_mm = (1e3 * fov_mm[0], 1e3 * fov_mm[1], fov_mm[2])
    return raw.matrix[0], fov_mm

  def _cycles(self, raw, matrix, fov_mm, unit) -> np.ndarray:
    """Trajectory in cycles per voxel, [acquisition, sample, 2]."""
    if raw.trajectory is None:
      raise UserError(f"{self.path}: the acquisitions hold no trajectory")
    trajectory = raw.trajectory
    if trajectory.shape[2] == 3:
      deep = float(np.abs(trajectory[..., 2]).max())
      if deep > 1e-3 * float(np.abs(trajectory).max()):
        raise UserError(
          f"{self.path}: the trajectory is three-dimensional; slices are wanted"
        )
      trajectory = trajectory[..., :2]
    extent = float(np.linalg.norm(trajectory, axis=-1).max())
    edges = trajectory_edges(matrix, fov_mm)
    if unit is not None and unit not in edges:
      raise UserError(
        f"trajectory_unit: {unit!r} is not one of {', '.join(edges)}"
      )
    fitting = [
      name
      for name, edge in edges.items()
      if _FILLED[0] <= extent / edge <= _FILLED[1]
    ]
    if unit is None:
      if len(fitting) != 1:
        raise UserError(
          f"{self.path}: the trajectory reaches {extent:.4g}, which fits "
          f"{' and '.join(fitting) or 'none'} of "
          + ", ".join(
            f"{name} (edge {edge:.4g})" for name, edge in edges.items()
          )
          + "; --trajectory_unit says which it is"
        )
      (unit,) = fitting
      self.assumptions.append(f"the trajectory is in {unit}")
    return (trajectory * np.float32(0.5 / edges[unit])).astype(np.float32)

  @functools.cached_property
  def _weights(self) -> list[np.ndarray]:
    """Density compensation of each slice; slices mostly share theirs."""
    found: list[np.ndarray] = []
    for k, numbers in enumerate(self._numbers):
      positions = self._trajectory[numbers]
      for other in range(k):
        if np.array_equal(positions, self._trajectory[self._numbers[other]]):
          found.append(found[other])
          break
      else:
        found.append(_weights_of(positions, self.shape[0]))
    return found

  @functools.cached_property
  def _seen(self) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sensitivities and mean magnitude of each slice."""
    found = []
    for numbers, weights in zip(self._numbers, self._weights, strict=True):
      images = separate_windows(
        self._raw.samples[numbers],
        self._trajectory[numbers],
        matrix=self.shape[0],
        window=self._acquisition.window,
        phases_deg=self._phases_deg,
        weights=weights,
      )
      coils = estimate_sensitivities(images)
      combined = np.einsum("cyx,icyx->iyx", coils.conj(), images)
      found.append((coils, np.abs(combined).mean(0)))
    return found

  def mean_magnitude(self) -> Float32[np.ndarray, "x y slice"]:
    """Mean over the magnitudes of windows that do not overlap."""
    return np.stack([image.T for _, image in self._seen], -1)

  def signals(
    self, mask: Bool[np.ndarray, "slice y x"]
  ) -> Complex64[np.ndarray, "voxel image"]:
    """Sliding-window signals of the masked voxels in C order of the mask."""
    signals = [
      combined_windows(
        self._raw.samples[numbers],
        self._trajectory[numbers],
        coils,
        inside,
        window=self._acquisition.window,
        stride=self._acquisition.stride,
        phases_deg=self._phases_deg,
        weights=weights,
      )
      for numbers, weights, (coils, _), inside in zip(
        self._numbers, self._weights, self._seen, mask, strict=True
      )
      if inside.any()
    ]
    return np.concatenate(signals)


def trajectory_edges(
  matrix: int, fov_mm: tuple[float, float, float] | None
) -> dict[str, float]:
  """Units of k-space and where the edge of the band lies in each."""
  edges = {
    "cycles_per_voxel": 0.5,
    "radians_per_voxel": np.pi,
    "cycles_per_fov": matrix / 2,
  }
  if fov_mm is not None:
    per_m = matrix / 2 / (1e-3 * fov_mm[0])
    edges |= {"per_m": per_m, "radians_per_m": 2 * np.pi * per_m}
  return edges


def _frames_of_slices(
  raw: RawData, sequence: Sequence, path: str
) -> list[np.ndarray]:
  """Numbers of the acquisitions of each slice, in order."""
  found = [np.flatnonzero(raw.slices == k) for k in np.unique(raw.slices)]
  for k, numbers in enumerate(found):
    if len(numbers) != sequence.n_frames:
      raise UserError(
        f"{path}: slice {k} has {len(numbers)} acquisitions, but the sequence "
        f"has {sequence.n_frames} frames (--n_frames keeps its first ones)"
      )
  return found


def _in_plane(affine: np.ndarray, matrix: int, factor: float) -> np.ndarray:
  """The affine of voxels so many times as large, about the middle."""
  middle = np.array([matrix // 2, matrix // 2, 0, 1.0])
  larger = affine @ np.diag([factor, factor, 1, 1])
  larger[:3, 3] += (affine @ middle - larger @ middle)[:3]
  return larger


def _weights_of(
  positions: Float32[np.ndarray, "frame sample 2"], matrix: int
) -> Float32[np.ndarray, "frame sample"]:
  """Density compensation, of the trajectories that differ alone."""
  rows = positions.reshape(len(positions), -1)
  _, first, place = np.unique(
    rows, axis=0, return_index=True, return_inverse=True
  )
  weights = density_weights(positions[first], matrix=matrix)
  return weights[place.ravel()] * np.float32(len(first) / len(positions))
