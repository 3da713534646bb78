"""Series of images from raw k-space: gridding, coils, sliding window."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64

from mrf_jax.dataset.mask import default_mask
from mrf_jax.errors import UserError
from mrf_jax.importing.arm_files import assign_arms, delayed, read_arms
from mrf_jax.importing.arms import Arms, arms_of_frames
from mrf_jax.importing.b0 import choose_factor, smoothed
from mrf_jax.importing.frames import frames_of_slices
from mrf_jax.importing.partitions import with_slices
from mrf_jax.importing.places import plain_affine
from mrf_jax.importing.raw_coils import compressed, read_noise, whitened
from mrf_jax.importing.raw_frames import (
  frame_samples,
  frame_trajectory,
  frame_weights,
)
from mrf_jax.importing.sharpness import sharpness
from mrf_jax.importing.trajectory import in_cycles_per_voxel, undersampling
from mrf_jax.io.ismrmrd_geometry import ImageGrid
from mrf_jax.io.ismrmrd_reader import RawData, load_noise, load_raw_data
from mrf_jax.io.ismrmrd_writer import VENDOR
from mrf_jax.kspace.coils import estimate_sensitivities
from mrf_jax.kspace.field_correction import (
  FieldCorrection,
  make_field_correction,
)
from mrf_jax.kspace.gridding import combined_windows, separate_windows
from mrf_jax.sequence.acquisition import Acquisition

# Simulators, which write their name in the field of the scanner's vendor.
_SIMULATORS = (VENDOR, "KomaMRI.jl")
# Most voxels of a slice for each of its samples, all frames and coils together.
# A scan has far fewer (KomaMRI's example 0.2); a damaged header may claim more.
_MOST_VOXELS = 16
# Slices overlap by at most this share of their thickness, or their positions
# are in another unit.
_MOST_OVERLAP = 0.7
# Share of bright voxels without a value in a map of the field that is named.
_MUCH_WITHOUT_FIELD = 0.1
# Noise in the file of a scan, in sentences.
_OWN = "its noise acquisitions"
# Images that sensitivities are estimated from, at most, so that those of all
# frames need not fit into memory.
_MOST_IMAGES = 48


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
    noise: str | os.PathLike | None = None,
    whiten: bool | None = None,
    coil_loss: float | None = None,
    sample_time_us: float | None = None,
    trajectory: str | os.PathLike | None = None,
    trajectory_variable: str | None = None,
    delay_us: float | None = None,
  ):
    """Reads and checks a raw file.

    Args:
      path: ISMRMRD file, with at least one acquisition for each frame of each
        slice.
      acquisition: the pulse sequence and the sliding window.
      trajectory_unit: one of `TRAJECTORY_UNITS`; None is that which the file
        says, or else the only one in which the trajectory fills the band.
      frame: the counter that counts the frames, see `frames_of_slices` and
        `arms_of_frames`.
      phases_deg: phases to remove from the frames, [frame], degrees: those of
        the RF pulses, for a receiver that did not follow them.
      noise: file of noise of the same coils, see `read_noise`; None is the
        noise in the file of the scan, if it has some.
      whiten: whether the coils are whitened; None is if there is noise.
      coil_loss: share of the energy that may be lost by fewer, virtual coils;
        None keeps all coils.
      sample_time_us: time from sample to sample; None is that of the file.
      trajectory: file of the arms, see `read_arms` and `assign_arms`; None is
        the trajectory in the file of the scan.
      trajectory_variable: of a MATLAB or `.npz` file of the arms.
      delay_us: time by which the gradients are late.

    Raises:
      UserError: the file is damaged, lacks frames of the sequence or a
        trajectory, is three-dimensional, its unit or the order of its frames is
        not known, or the noise is not that of its coils.
    """
    raw = load_raw_data(path)
    self.path = str(path)
    self.assumptions = list(raw.notes)
    if trajectory is not None:
      raw, unit = self._with_arms(raw, trajectory, trajectory_variable)
      trajectory_unit = trajectory_unit or unit
    raw, said = with_slices(raw, path=self.path, frame=frame)
    self.assumptions += said
    self.field_strength_t = raw.field_strength_t
    self.simulated_by = raw.vendor if raw.vendor in _SIMULATORS else None
    self._acquisition, sequence = acquisition, acquisition.sequence
    self._phases_deg = phases_deg
    self._sample_time_us = self._chosen_sample_time(raw, sample_time_us)
    self._b0_hz: Float32[np.ndarray, "slice y x"] | None = None
    self._raw = raw
    grid = self._grid()
    self._slices = self._readouts_of_slices(sequence.n_frames, frame)
    self._trajectory = in_cycles_per_voxel(
      raw,
      grid,
      self.assumptions,
      path=self.path,
      unit=trajectory_unit,
      is_simulated=self.simulated_by is not None,
    )
    self._check_samples()
    if delay_us:
      samples = delay_us / self._sample_time("a delay of the gradients")
      self._trajectory = delayed(self._trajectory, samples)
      self.assumptions.append(
        f"the gradients are taken to be late by {delay_us:.3g} µs"
      )
    self._samples = self._of_coils(noise, whiten, coil_loss)
    # They were written over.
    self._raw = dataclasses.replace(raw, samples=self._samples)
    sentence = undersampling(self._trajectories[0], grid)
    if sentence:
      self.assumptions.append(sentence)
    self.affine = self._affine(grid)
    self.shape = (*grid.matrix[:2], len(self._slices), acquisition.n_windows)

  def _with_arms(
    self, raw: RawData, path: str | os.PathLike, variable: str | None
  ) -> tuple[RawData, str | None]:
    """Raw data with the trajectory of another file, and its unit if known."""
    arms, unit = read_arms(
      path,
      n_samples=raw.samples.shape[2],
      discarded=raw.discarded,
      variable=variable,
    )
    step_1 = raw.counters.get("kspace_encode_step_1")
    numbers, sentence = assign_arms(arms, raw.slices, step_1, path=path)
    if raw.trajectory is not None:
      sentence += ", not that of the scan's file"
    self.assumptions.append(sentence)
    replaced = dataclasses.replace(
      raw, trajectory=arms[numbers], trajectory_unit=None
    )
    return replaced, unit

  def _chosen_sample_time(
    self, raw: RawData, given_us: float | None
  ) -> float | None:
    """Time from sample to sample, µs: that of a flag, or of the file."""
    own_us = raw.sample_time_us
    if given_us is None or own_us is None:
      return given_us or own_us
    if not math.isclose(given_us, own_us, rel_tol=1e-3):
      self.assumptions.append(
        f"--sample_time_us={given_us:g}, but the file says {own_us:g} µs"
      )
    return given_us

  def _sample_time(self, what: str) -> float:
    """Time from sample to sample, µs; an error if it is not known."""
    if self._sample_time_us is None:
      raise UserError(
        f"{self.path}: says no time from sample to sample, which {what} "
        "needs; --sample_time_us gives it"
      )
    return self._sample_time_us

  def _grid(self) -> ImageGrid:
    """Voxels of the images, which must be possible."""
    grid = self._raw.grid
    if grid is None:
      raise UserError(f"{self.path}: the header has no matrix size")
    matrix, n_slices = grid.matrix, 1 + int(self._raw.slices.max())
    # Some converters count the slices of a plane as voxels along z.
    if matrix[2] not in (1, n_slices):
      raise UserError(
        f"{self.path}: a matrix of {' × '.join(map(str, matrix))}, but "
        f"{n_slices} slices, and no kspace_encode_step_2 that counts partitions"
      )
    n_samples = self._raw.samples.size // n_slices
    # The square that holds the image is gridded.
    if max(matrix[:2]) ** 2 > _MOST_VOXELS * n_samples:
      raise UserError(
        f"{self.path}: the header claims {matrix[0]:,} × {matrix[1]:,} "
        f"voxels, but a slice has {n_samples:,} samples"
      )
    return grid

  def _readouts_of_slices(self, n_frames: int, frame: str | None) -> list[Arms]:
    """Numbers of the acquisitions of each frame of each slice."""
    raw, counts = self._raw, np.bincount(self._raw.slices)
    for k, n_readouts in enumerate(counts):
      if n_readouts < n_frames:
        raise UserError(
          f"{self.path}: slice {k} has {n_readouts} acquisitions, but the "
          f"sequence has {n_frames} frames (--n_frames={n_readouts} if the "
          "file ends earlier)"
        )
    if np.any(counts > n_frames):
      arms, said = arms_of_frames(
        raw.counters, raw.slices, n_frames, path=self.path, frame=frame
      )
      self.assumptions += said
      return arms
    order, sentence = frames_of_slices(
      raw.counters, raw.slices, path=self.path, frame=frame
    )
    if sentence:
      self.assumptions.append(sentence)
    return [readouts[:, None] for readouts in order]

  def _check_samples(self) -> None:
    """Says how many acquisitions are empty; an error if all are."""
    is_empty = np.asarray(~self._raw.samples.any((1, 2)))
    if is_empty.all():
      raise UserError(f"{self.path}: all samples are 0")
    n_empty = np.count_nonzero(is_empty)
    if n_empty:
      self.assumptions.append(
        f"{n_empty:,} of {len(is_empty):,} acquisitions hold nothing but zeros"
      )

  def _of_coils(
    self,
    noise_path: str | os.PathLike | None,
    whiten: bool | None,
    coil_loss: float | None,
  ) -> Complex64[np.ndarray, "acquisition coil sample"]:
    """Samples of the coils, whitened if there is noise, maybe of fewer."""
    samples = self._raw.samples
    noise: np.ndarray | None
    try:
      if noise_path is not None:
        noise, name = read_noise(noise_path), str(noise_path)
      else:
        noise, name = None if whiten is False else load_noise(self.path), _OWN
      if whiten and noise is None:
        raise UserError(
          f"{self.path}: has no noise acquisitions to whiten by; --noise gives "
          "a file of them"
        )
      if noise is not None:
        samples, sentence = whitened(samples, noise, name=name, path=self.path)
        self.assumptions.append(sentence)
    except UserError as error:
      if noise_path is not None or whiten:
        raise
      # Nobody has asked for it.
      self.assumptions.append(f"the coils are not whitened: {error}")
    if coil_loss is not None:
      samples, sentence = compressed(samples, loss=coil_loss)
      self.assumptions.append(sentence)
    return samples

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

  @functools.cached_property
  def _trajectories(self) -> list[Float32[np.ndarray, "frame sample 2"]]:
    """Positions of the samples of each frame, slice by slice."""
    return [frame_trajectory(self._trajectory, arms) for arms in self._slices]

  @functools.cached_property
  def _weights(self) -> list[Float32[np.ndarray, "frame sample"]]:
    """Density compensation of each slice; most slices share one trajectory."""
    known: dict[tuple[bytes, bytes], np.ndarray] = {}
    slice_weights = []
    for arms, positions in zip(self._slices, self._trajectories, strict=True):
      key = positions.tobytes(), (arms < 0).tobytes()
      if key not in known:
        known[key] = frame_weights(positions, arms, matrix=self._side)
      slice_weights.append(known[key])
    return slice_weights

  @property
  def _side(self) -> int:
    """Voxels along x and y of the square that is gridded."""
    return max(self.shape[:2])

  @property
  def _inside(self) -> tuple[slice, slice]:
    """Where the images, whose voxel (n // 2) is the centre, lie in it: y, x."""
    starts = [self._side // 2 - n // 2 for n in self.shape[:2]]
    along_x, along_y = (
      slice(start, start + n)
      for start, n in zip(starts, self.shape[:2], strict=True)
    )
    return along_y, along_x

  @functools.cached_property
  def _coils_and_magnitudes(self) -> list[tuple[np.ndarray, np.ndarray]]:
    """Coil sensitivities of the square, and mean magnitude of each slice."""
    n_frames = self._acquisition.sequence.n_frames
    coils_and_magnitudes = []
    for arms, trajectory, weights in zip(
      self._slices, self._trajectories, self._weights, strict=True
    ):
      images = separate_windows(
        frame_samples(self._samples, arms),
        trajectory,
        matrix=self._side,
        window=max(self._acquisition.window, -(-n_frames // _MOST_IMAGES)),
        phases_deg=self._phases_deg,
        weights=weights,
      )
      coils = estimate_sensitivities(images)
      combined = np.einsum("cyx,icyx->iyx", coils.conj(), images)
      magnitude = np.abs(combined).mean(0)[self._inside]
      coils_and_magnitudes.append((coils, magnitude))
    return coils_and_magnitudes

  def mean_magnitude(self) -> Float32[np.ndarray, "x y slice"]:
    """Mean magnitude of the windows that do not overlap."""
    magnitudes = [image.T for _, image in self._coils_and_magnitudes]
    return np.stack(magnitudes, -1)

  def signals(
    self, mask: Bool[np.ndarray, "slice y x"]
  ) -> Complex64[np.ndarray, "voxel image"]:
    """Sliding-window signals of the masked voxels in C order."""
    signals = []
    for number, inside in enumerate(mask):
      if not inside.any():
        continue
      in_square = np.zeros((self._side, self._side), bool)
      in_square[self._inside] = inside
      signals.append(
        combined_windows(
          frame_samples(self._samples, self._slices[number]),
          self._trajectories[number],
          self._coils_and_magnitudes[number][0],
          in_square,
          window=self._acquisition.window,
          stride=self._acquisition.stride,
          phases_deg=self._phases_deg,
          weights=self._weights[number],
          field=self._field(number),
        )
      )
    return np.concatenate(signals)

  def correct_field(
    self,
    values: Float32[np.ndarray, "slice y x"],
    *,
    path: str | os.PathLike,
    field_t: float,
    unit: str | None = None,
    sign: int | None = None,
  ) -> str:
    """Corrects the signals for a map of the field; see `choose_factor`.

    Args:
      values: of the map, 0 where it has none.
      path: of the map, for messages.
      field_t: main magnetic field, tesla.
      unit: of the map.
      sign: of the map.

    Returns:
      A sentence on how it was taken.

    Raises:
      UserError: the time of the samples is not known, or unit and sign of the
        map do not seem right.
    """
    sample_us = self._sample_time("the correction of a field")
    number = int(np.argmax(np.count_nonzero(values, axis=(1, 2))))
    factor, sentence = choose_factor(
      self._sharpness_of(number, smoothed(values)[number]),
      path=path,
      largest=float(np.percentile(np.abs(values[values != 0]), 99)),
      field_t=field_t,
      unit=unit,
      sign=sign,
    )
    self._b0_hz = np.float32(factor) * values
    bright = default_mask(self.mean_magnitude())
    without = float(np.mean(values[bright] == 0))
    if without > _MUCH_WITHOUT_FIELD:
      sentence += f"; {without:.0%} of the bright voxels have no value"
    reads_ms = 1e-3 * sample_us * self._samples.shape[2]
    return f"{sentence} (readouts of {reads_ms:.3g} ms)"

  def _field(self, number: int) -> FieldCorrection | None:
    """Correction of a slice for its field; None without a map."""
    if self._b0_hz is None:
      return None
    return self._correction(self._b0_hz[number], self._slices[number].shape[1])

  def _correction(
    self, b0_hz: Float32[np.ndarray, "y x"], n_readouts: int
  ) -> FieldCorrection | None:
    """Correction for a field during some readouts, one after another."""
    in_square = np.zeros((self._side, self._side), np.float32)
    in_square[self._inside] = b0_hz
    sample_us = self._sample_time("the correction of a field")
    times_s = 1e-6 * sample_us * np.arange(self._samples.shape[2])
    return make_field_correction(in_square, times_s, n_readouts=n_readouts)

  def _sharpness_of(
    self, number: int, values: Float32[np.ndarray, "y x"]
  ) -> Callable[[float], float]:
    """Sharpness of a slice by a map of its field times a factor.

    Of the mean of the last frames, within the map.
    """
    n_frames = self._acquisition.sequence.n_frames
    last = slice(n_frames - max(self._acquisition.window, n_frames // 4), None)
    arms = self._slices[number][last]
    samples = frame_samples(self._samples, arms)
    if self._phases_deg is not None:
      turns = np.exp(-1j * np.deg2rad(self._phases_deg[last]))
      samples *= turns.astype(np.complex64)[:, None, None]
    # All frames as one.
    samples = samples.swapaxes(0, 1).reshape(1, samples.shape[1], -1)
    trajectory = self._trajectories[number][last].reshape(1, -1, 2)
    weights = self._weights[number][last].reshape(1, -1)
    coils = self._coils_and_magnitudes[number][0]
    inside = np.zeros((self._side, self._side), bool)
    inside[self._inside] = values != 0

    def sharpness_by(factor: float) -> float:
      field = self._correction(np.float32(factor) * values, arms.size)
      (image,) = combined_windows(
        samples,
        trajectory,
        coils,
        inside,
        window=1,
        weights=weights,
        field=field,
      ).T
      whole = np.zeros(inside.shape, np.complex64)
      whole[inside] = image
      return sharpness(whole, inside)

    return sharpness_by
