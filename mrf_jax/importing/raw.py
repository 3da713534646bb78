"""Series of images from raw k-space: gridding, coils, sliding window."""

import functools
import os

import numpy as np
from jaxtyping import Bool, Complex64, Float32

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.importing.volumes import plain_affine
from mrf_jax.io.ismrmrd_reader import RawData, load_raw_data
from mrf_jax.io.ismrmrd_writer import VENDOR
from mrf_jax.kspace.coils import estimate_sensitivities
from mrf_jax.kspace.density import density_weights
from mrf_jax.kspace.gridding import combined_windows, separate_windows
from mrf_jax.sequence.acquisition import Acquisition

# Simulators, which write their name in the field of the scanner's vendor.
_SIMULATORS = (VENDOR, "KomaMRI.jl")
# Plausible extent of a trajectory, relative to the edge of the matrix's band.
_EXTENTS = (0.7, 1.0 + 1e-3)
# Most voxels of a slice for each of its samples, all frames and coils together.
# A scan has far fewer (KomaMRI's example 0.2); a damaged header may claim more.
_MOST_VOXELS = 16
# A field of view below this is in metres.
_SMALLEST_FOV_MM = 5.0


class RawSeries:
  """Images of one scan, reconstructed from its k-space on first use.

  Attributes:
    path: name of the file.
    shape: number of voxels along x, y and slices, and of windows.
    affine: voxel index (x, y, slice) to RAS, [4, 4], mm; None if the file has
      none.
    assumptions: sentences on what the file lacks and what was assumed.
    field_strength_t: main magnetic field, tesla, or None.
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
      path: ISMRMRD file; its readouts are the frames of each slice, in order.
      acquisition: the pulse sequence, with one readout in each frame, and the
        sliding window.
      trajectory_unit: one of `trajectory_edges`; None finds the one in which
        the trajectory fills the band.
      demodulate: remove the phases of the RF pulses from the signal, for a
        receiver that did not follow them.

    Raises:
      UserError: the file is damaged, lacks frames of the sequence or a
        trajectory, is three-dimensional, or the unit is ambiguous.
    """
    raw = load_raw_data(path)
    self.path = str(path)
    self.assumptions: list[str] = []
    self.field_strength_t = raw.field_strength_t
    self.simulated_by = raw.vendor if raw.vendor in _SIMULATORS else None
    self._acquisition, sequence = acquisition, acquisition.sequence
    self._phases_deg = sequence.rf_phases_deg if demodulate else None
    self._raw = raw
    matrix, fov_mm = self._matrix_and_fov(raw)
    self._slices = _readouts_of_slices(raw, sequence.n_frames, self.path)
    self._trajectory = self._cycles_per_voxel(matrix, fov_mm, trajectory_unit)
    self.affine = raw.affine
    if self.affine is not None and fov_mm != raw.fov_mm:
      # In-plane steps are in metres, too.
      self.affine = _enlarged(self.affine, matrix, 1e3)
    if self.affine is None and fov_mm is not None:
      self.affine = plain_affine(
        (matrix, matrix, len(self._slices)),
        np.array(fov_mm) / (matrix, matrix, 1),
      )
      self.assumptions.append(
        "the file does not say where its slices lie: x to the right, y to the "
        "front, slices upwards and one thickness apart, centred"
      )
    self.shape = (matrix, matrix, len(self._slices), acquisition.n_windows)

  def _matrix_and_fov(
    self, raw: RawData
  ) -> tuple[int, tuple[float, float, float] | None]:
    """Number of voxels along x and y, and the field of view in mm, or None."""
    if raw.matrix is None:
      raise UserError(f"{self.path}: the header has no matrix size")
    if raw.matrix[0] != raw.matrix[1] or raw.matrix[2] != 1:
      raise UserError(
        f"{self.path}: a matrix of {' × '.join(map(str, raw.matrix))}; slices "
        "with as many voxels along x as along y are needed"
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
      # Not the thickness, which KomaMRI sets to 1.
      fov_mm = (1e3 * fov_mm[0], 1e3 * fov_mm[1], fov_mm[2])
    return raw.matrix[0], fov_mm

  def _cycles_per_voxel(
    self,
    matrix: int,
    fov_mm: tuple[float, float, float] | None,
    unit: str | None,
  ) -> Float32[np.ndarray, "readout sample 2"]:
    """Trajectory in cycles per voxel."""
    trajectory = self._raw.trajectory
    if trajectory is None:
      raise UserError(f"{self.path}: the acquisitions hold no trajectory")
    if trajectory.shape[2] == 3:
      largest_kz = float(np.abs(trajectory[..., 2]).max())
      if largest_kz > 1e-3 * float(np.abs(trajectory).max()):
        raise UserError(
          f"{self.path}: the trajectory is three-dimensional; slices are needed"
        )
      trajectory = trajectory[..., :2]
    extent = float(np.linalg.norm(trajectory, axis=-1).max())
    edges = trajectory_edges(matrix, fov_mm)
    if unit is not None:
      check_one_of("trajectory_unit", unit, edges)
    else:
      fitting = [
        name
        for name, edge in edges.items()
        if _EXTENTS[0] <= extent / edge <= _EXTENTS[1]
      ]
      if len(fitting) != 1:
        raise UserError(
          f"{self.path}: the trajectory reaches {extent:.4g}, which fits "
          f"{' and '.join(fitting) or 'none'} of "
          + ", ".join(
            f"{name} (edge {edge:.4g})" for name, edge in edges.items()
          )
          + "; --trajectory_unit sets the unit"
        )
      (unit,) = fitting
      self.assumptions.append(f"the trajectory is in {unit}")
    # In cycles per voxel the edge is at one half.
    return (trajectory * np.float32(0.5 / edges[unit])).astype(np.float32)

  @functools.cached_property
  def _weights(self) -> list[np.ndarray]:
    """Density compensation of each slice; most slices share one trajectory."""
    known: dict[bytes, np.ndarray] = {}
    slice_weights = []
    for readouts in self._slices:
      positions = self._trajectory[readouts]
      key = positions.tobytes()
      if key not in known:
        known[key] = _frame_weights(positions, self.shape[0])
      slice_weights.append(known[key])
    return slice_weights

  @functools.cached_property
  def _coils_and_magnitudes(self) -> list[tuple[np.ndarray, np.ndarray]]:
    """Coil sensitivities and mean magnitude of each slice."""
    coils_and_magnitudes = []
    for readouts, weights in zip(self._slices, self._weights, strict=True):
      images = separate_windows(
        self._raw.samples[readouts],
        self._trajectory[readouts],
        matrix=self.shape[0],
        window=self._acquisition.window,
        phases_deg=self._phases_deg,
        weights=weights,
      )
      coils = estimate_sensitivities(images)
      combined = np.einsum("cyx,icyx->iyx", coils.conj(), images)
      coils_and_magnitudes.append((coils, np.abs(combined).mean(0)))
    return coils_and_magnitudes

  def mean_magnitude(self) -> Float32[np.ndarray, "x y slice"]:
    """Mean magnitude of the windows that do not overlap."""
    magnitudes = [image.T for _, image in self._coils_and_magnitudes]
    return np.stack(magnitudes, -1)

  def signals(
    self, mask: Bool[np.ndarray, "slice y x"]
  ) -> Complex64[np.ndarray, "voxel image"]:
    """Sliding-window signals of the masked voxels in C order."""
    signals = [
      combined_windows(
        self._raw.samples[readouts],
        self._trajectory[readouts],
        coils,
        inside,
        window=self._acquisition.window,
        stride=self._acquisition.stride,
        phases_deg=self._phases_deg,
        weights=weights,
      )
      for readouts, weights, (coils, _), inside in zip(
        self._slices,
        self._weights,
        self._coils_and_magnitudes,
        mask,
        strict=True,
      )
      if inside.any()
    ]
    return np.concatenate(signals)


def trajectory_edges(
  matrix: int, fov_mm: tuple[float, float, float] | None
) -> dict[str, float]:
  """Edge of the band, half a cycle per voxel, in each known unit of k-space."""
  edges = {
    "cycles_per_voxel": 0.5,
    "radians_per_voxel": np.pi,
    "cycles_per_fov": matrix / 2,
  }
  if fov_mm is not None:
    per_m = matrix / 2 / (1e-3 * fov_mm[0])
    edges |= {"per_m": per_m, "radians_per_m": 2 * np.pi * per_m}
  return edges


def _readouts_of_slices(raw: RawData, n_frames: int, path: str) -> list:
  """Numbers of the readouts of each slice, in order, one for each frame."""
  slices = [np.flatnonzero(raw.slices == k) for k in np.unique(raw.slices)]
  for k, readouts in enumerate(slices):
    if len(readouts) != n_frames:
      raise UserError(
        f"{path}: slice {k} has {len(readouts)} acquisitions, but the sequence "
        f"has {n_frames} frames (--n_frames keeps its first ones)"
      )
  return slices


def _enlarged(affine: np.ndarray, matrix: int, factor: float) -> np.ndarray:
  """Affine of voxels enlarged in the plane, about the middle of the slices."""
  middle = np.array([matrix // 2, matrix // 2, 0, 1.0])
  larger = affine @ np.diag([factor, factor, 1, 1])
  larger[:3, 3] += (affine @ middle - larger @ middle)[:3]
  return larger


def _frame_weights(
  positions: Float32[np.ndarray, "frame sample 2"], matrix: int
) -> Float32[np.ndarray, "frame sample"]:
  """Density compensation, computed of each distinct trajectory only once."""
  rows = positions.reshape(len(positions), -1)
  _, first, place = np.unique(
    rows, axis=0, return_index=True, return_inverse=True
  )
  weights = density_weights(positions[first], matrix=matrix)
  # The share of each readout falls as its trajectory is repeated.
  return weights[place.ravel()] * np.float32(len(first) / len(positions))
