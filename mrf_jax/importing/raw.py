"""Series of images from raw k-space: gridding, coils, sliding window."""

import functools
import os

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64, Int

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.importing.frames import frames_of_slices
from mrf_jax.importing.places import plain_affine
from mrf_jax.io.ismrmrd_geometry import ImageGrid
from mrf_jax.io.ismrmrd_reader import load_raw_data
from mrf_jax.io.ismrmrd_trajectory import SCALED_UNITS, trajectory_edges
from mrf_jax.io.ismrmrd_writer import VENDOR
from mrf_jax.kspace.coils import estimate_sensitivities
from mrf_jax.kspace.density import density_weights
from mrf_jax.kspace.gridding import combined_windows, separate_windows
from mrf_jax.sequence.acquisition import Acquisition

# Simulators, which write their name in the field of the scanner's vendor.
_SIMULATORS = (VENDOR, "KomaMRI.jl")
# Simulators whose files have one unit and do not say it: KomaMRI divides by
# twice the largest position, and our files did not say it until they had
# cycles per field of view.
_UNIT_OF_SIMULATORS = "cycles_per_voxel"
# Plausible extent of a trajectory, relative to the edge of the matrix's band.
_EXTENTS = (0.7, 1.0 + 1e-3)
# A trajectory of a known unit that fills less has a unit that is not right.
_LEAST = 0.3
# Most voxels of a slice for each of its samples, all frames and coils together.
# A scan has far fewer (KomaMRI's example 0.2); a damaged header may claim more.
_MOST_VOXELS = 16
# Share of the band that a trajectory fills which was scaled to it.
_EXACT = 0.998
# Units whose edges agree to this many digits are the same (1 mm: 1/mm).
_EDGE_DIGITS = 6
# A trajectory that reaches less of the band than this share of the largest one
# is none.
_NO_TRAJECTORY = 0.05
# Share of the cells of k-space (1 / field of view) that all frames together
# reach. Spirals and radial spokes with the spacing that the field of view needs
# reach most of them; arms that are not turned, one in their number.
_LEAST_CELLS = 0.3
# Slices overlap by at most this share of their thickness, or their positions
# are in another unit.
_MOST_OVERLAP = 0.7
# Positions along z below this share of the largest one are 0.
_FLAT = 1e-3


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
    frame: str | None = None,
    phases_deg: Float64[np.ndarray, "frame"] | None = None,
  ):
    """Reads and checks a raw file.

    Args:
      path: ISMRMRD file; its readouts are the frames of each slice.
      acquisition: the pulse sequence, with one readout in each frame, and the
        sliding window.
      trajectory_unit: one of `TRAJECTORY_UNITS`; None is that which the file
        says, or else the only one in which the trajectory fills the band.
      frame: the counter that counts the frames, see `frames_of_slices`.
      phases_deg: phases to remove from the frames, [frame], degrees: those of
        the RF pulses, for a receiver that did not follow them.

    Raises:
      UserError: the file is damaged, lacks frames of the sequence or a
        trajectory, is three-dimensional, or its unit or the order of its
        frames is not known.
    """
    raw = load_raw_data(path)
    self.path = str(path)
    self.assumptions = list(raw.notes)
    self.field_strength_t = raw.field_strength_t
    self.simulated_by = raw.vendor if raw.vendor in _SIMULATORS else None
    self._acquisition, sequence = acquisition, acquisition.sequence
    self._phases_deg = phases_deg
    self._raw = raw
    grid = self._grid()
    self._slices = self._readouts_of_slices(sequence.n_frames, frame)
    self._trajectory = self._cycles_per_voxel(grid, trajectory_unit)
    self._check_samples()
    self._check_cells(grid)
    matrix, n_slices = grid.matrix[0], len(self._slices)
    self.affine = self._affine(grid)
    self.shape = (matrix, matrix, n_slices, acquisition.n_windows)

  def _grid(self) -> ImageGrid:
    """Voxels of the images, which must be square in number and be possible."""
    grid = self._raw.grid
    if grid is None:
      raise UserError(f"{self.path}: the header has no matrix size")
    matrix, n_slices = grid.matrix, 1 + int(self._raw.slices.max())
    # Some converters count the slices of a plane as voxels along z.
    if matrix[0] != matrix[1] or matrix[2] not in (1, n_slices):
      raise UserError(
        f"{self.path}: a matrix of {' × '.join(map(str, matrix))}; slices "
        "with as many voxels along x as along y are needed"
      )
    n_samples = self._raw.samples.size // n_slices
    if matrix[0] * matrix[1] > _MOST_VOXELS * n_samples:
      raise UserError(
        f"{self.path}: the header claims {matrix[0]:,} × {matrix[1]:,} "
        f"voxels, but a slice has {n_samples:,} samples"
      )
    return grid

  def _readouts_of_slices(
    self, n_frames: int, frame: str | None
  ) -> list[Int[np.ndarray, "frame"]]:
    """Numbers of the readouts of each slice, in order, one for each frame."""
    raw = self._raw
    for k, n_readouts in enumerate(np.bincount(raw.slices)):
      if n_readouts != n_frames:
        raise UserError(
          f"{self.path}: slice {k} has {n_readouts} acquisitions, but the "
          f"sequence has {n_frames} frames{self._surplus(k, n_frames)}"
        )
    order, sentence = frames_of_slices(
      raw.counters, raw.slices, path=self.path, frame=frame
    )
    if sentence:
      self.assumptions.append(sentence)
    return order

  def _surplus(self, number: int, n_frames: int) -> str:
    """What may explain another number of acquisitions than of frames."""
    chosen = self._raw.slices == number
    n_readouts = int(np.count_nonzero(chosen))
    if n_readouts < n_frames:
      return f" (--n_frames={n_readouts} if the file ends earlier)"
    counts = {
      name: len(np.unique(values[chosen]))
      for name, values in self._raw.counters.items()
    }
    parts = [
      f"{name} has {n} values"
      for name, n in counts.items()
      if 1 < n == n_readouts / n_frames
    ]
    if not parts:
      return ""
    return (
      f" ({' and '.join(parts)}: slices are numbered by slice, and repetitions "
      "or averages need a file each)"
    )

  def _check_samples(self) -> None:
    """Says how many acquisitions are empty; an error if all are."""
    is_empty = ~self._raw.samples.any((1, 2))
    if is_empty.all():
      raise UserError(f"{self.path}: all samples are 0")
    n_empty = np.count_nonzero(is_empty)
    if n_empty:
      self.assumptions.append(
        f"{n_empty:,} of {len(is_empty):,} acquisitions hold nothing but zeros"
      )

  def _check_cells(self, grid: ImageGrid) -> None:
    """Says whether all frames of a slice together leave k-space unsampled."""
    n_cells = np.array(grid.encoded_matrix, float)
    if grid.voxel_mm is not None and grid.encoded_voxel_mm is not None:
      fov_mm = np.multiply(grid.matrix, grid.voxel_mm)[:2]
      n_cells = fov_mm / grid.encoded_voxel_mm
    places = self._trajectory[self._slices[0]].reshape(-1, 2) * n_cells
    radius = float(np.linalg.norm(places, axis=1).max())
    n_reached = len(np.unique(np.round(places), axis=0))
    share = n_reached / (np.pi * radius**2)
    if share < _LEAST_CELLS:
      self.assumptions.append(
        f"the trajectories of all frames together reach {share:.0%} of "
        "k-space, so that the images are aliased: are the arms not turned?"
      )

  def _affine(self, grid: ImageGrid) -> Float64[np.ndarray, "4 4"] | None:
    """Position of the voxels; None if it is not known."""
    raw, n_slices = self._raw, len(self._slices)
    if raw.affine is not None and grid.voxel_mm is not None:
      apart, thickness = np.linalg.norm(raw.affine[:3, 2]), grid.voxel_mm[2]
      if apart < (1 - _MOST_OVERLAP) * thickness:
        self.assumptions.append(
          f"slices of {thickness:g} mm are {apart:.3g} mm apart: are their "
          "positions in another unit than mm?"
        )
    if raw.affine is not None or grid.voxel_mm is None:
      return raw.affine
    if n_slices > 1:
      # Their distance is not known, or not how their planes lie.
      self.assumptions.append(
        "the file does not say where its slices lie: without positions they "
        "are in the order of their numbers"
      )
      return None
    self.assumptions.append(
      "the file does not say where its slice lies: x to the right, y to the "
      "front, centred"
    )
    return plain_affine((*grid.matrix[:2], 1), np.array(grid.voxel_mm))

  def _cycles_per_voxel(
    self, grid: ImageGrid, unit: str | None
  ) -> Float32[np.ndarray, "readout sample 2"]:
    """Trajectory in cycles per voxel of the encoded space."""
    trajectory = self._raw.trajectory
    if trajectory is None:
      raise UserError(f"{self.path}: the acquisitions hold no trajectory")
    if trajectory.shape[2] == 3:
      largest_kz = float(np.abs(trajectory[..., 2]).max())
      if largest_kz > _FLAT * float(np.abs(trajectory[..., :2]).max()):
        raise UserError(
          f"{self.path}: the trajectory is three-dimensional, or its third "
          "column is a density; slices with a trajectory of two columns are "
          "needed"
        )
      trajectory = trajectory[..., :2]
    edges = trajectory_edges(grid.encoded_matrix, grid.encoded_voxel_mm)
    if unit is not None:
      check_one_of("--trajectory_unit", unit, edges)
    stated = self._raw.trajectory_unit
    if stated is not None:
      if unit not in (None, stated):
        raise UserError(
          f"{self.path}: the file says that its trajectory is in {stated}, "
          f"--trajectory_unit that it is in {unit}"
        )
      self.assumptions.append(
        f"the trajectory is in {stated}, as the file says"
      )
      unit = "cycles_per_voxel"  # as `load_raw_data` returns it
    elif unit is None:
      unit = self._unit_that_fits(trajectory, edges)
      self.assumptions.append(f"the trajectory is in {unit}")
    # In cycles per voxel the edge is at one half.
    scaled = trajectory * (0.5 / edges[unit]).astype(np.float32)
    largest = float(np.abs(scaled).max())
    reaches = np.abs(scaled).max((1, 2))
    n_still = np.count_nonzero(reaches < _NO_TRAJECTORY * largest)
    if n_still:
      raise UserError(
        f"{self.path}: the trajectory of {n_still:,} of {len(reaches):,} "
        "acquisitions stays in the centre of k-space; each needs its own"
      )
    if not _LEAST <= 2 * largest <= _EXTENTS[1]:
      raise UserError(
        f"{self.path}: the trajectory in {stated or unit} reaches "
        f"{2 * largest:.3g} times the edge of the band; it is not in this unit "
        "(--trajectory_unit), or the header has other voxels than the scan"
      )
    return np.clip(scaled, -0.5, 0.5).astype(np.float32)

  def _unit_that_fits(
    self,
    trajectory: Float32[np.ndarray, "readout sample 2"],
    edges: dict[str, Float64[np.ndarray, "2"]],
  ) -> str:
    """The only unit in which the trajectory fills the band."""
    # The band is a square: a trajectory may reach into its corners.
    radius = float(np.linalg.norm(trajectory, axis=-1).max())
    largest = np.abs(trajectory).max((0, 1)).astype(float)
    reach = {
      name: radius / edge.min()
      for name, edge in edges.items()
      if np.all(largest <= _EXTENTS[1] * edge)
    }
    fitting = [name for name in reach if reach[name] >= _EXTENTS[0]]
    if self.simulated_by and _UNIT_OF_SIMULATORS in fitting:
      return _UNIT_OF_SIMULATORS
    different = {
      tuple(np.round(edges[name], _EDGE_DIGITS)): name
      for name in reversed(fitting)
    }
    # Who scales a trajectory to its band does so to the very edge. A length in
    # the unit of another's k-space is not so round by chance.
    exact = [n for n in fitting if n in SCALED_UNITS and reach[n] >= _EXACT]
    if exact and len(different) > 1:
      others = [n for n in fitting if n != exact[0]]
      self.assumptions.append(
        f"the trajectory ends at the very edge of the band in {exact[0]}; it "
        f"would fit {' and '.join(others)}, too (--trajectory_unit)"
      )
      return exact[0]
    if len(different) != 1:
      shown = ", ".join(
        f"{name} (edge {edge.max():.4g})" for name, edge in edges.items()
      )
      choice = " or ".join(f"--trajectory_unit={n}" for n in fitting)
      raise UserError(
        f"{self.path}: the trajectory reaches {radius:.4g}, which fits "
        f"{' and '.join(fitting) or 'none'} of {shown}; "
        f"{choice or '--trajectory_unit'} sets the unit"
      )
    return fitting[0]

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
