"""Series of complex images over time, read piece by piece from files."""

import dataclasses
import math
import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64

from mrf_jax.errors import UserError
from mrf_jax.importing.formats import Stored, open_stored
from mrf_jax.importing.phases import (
  common_offset,
  full_turn,
  looks_like_phase,
)
from mrf_jax.io.nifti import Place

# Bytes of a series that are in memory at once.
_PIECE_BYTES = 1 << 26
# Default axes by their number: three for a single slice, five where the last
# axis is real and imaginary part.
_AXES = {3: "xyt", 4: "xyzt", 5: "xyztc"}
_ORDER = "xyzt"
# Voxels whose signals show whether they are magnitude and phase.
_N_SAMPLED = 4096
# Values of a file of phases that show their unit.
_N_VALUES = 1 << 20
# A magnitude may be below 0 by this share of the largest, from rounding.
_ROUNDED = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
  """Images of one scan over time, in one file or two.

  Attributes:
    shape: number of voxels along x, y and slices, and of images.
    place: where the voxels (x, y, slice) lie; None if the file format does
      not have it.
    path: name of the file, for messages.
    parts: the complex array, its real and its imaginary part, or its
      magnitude and its phase.
    axes: letter of each axis of the parts.
    turn: value of a full turn, if the second part is the phase.
  """

  shape: tuple[int, int, int, int]
  place: Place | None
  path: str
  parts: tuple[Stored, ...]
  axes: str
  turn: float | None = None
  # No image format records a simulator.
  simulated_by: None = None

  def pieces(self) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Yields pieces [x, y, slice, image] of the series with their positions."""
    first = self.parts[0]
    n_rows = first.shape[first.slowest]
    row_bytes = np.prod(first.shape, dtype=float) / n_rows * 8  # complex64
    step = max(1, int(_PIECE_BYTES // row_bytes))
    letter = self.axes[first.slowest]
    if letter == "c":
      step = n_rows  # a piece needs both its real and its imaginary part
    parts = [part.pieces(step) for part in self.parts]
    start = 0
    for values in zip(*parts, strict=True):
      stop = start + values[0].shape[first.slowest]
      place = [slice(None)] * 4
      if letter in _ORDER:
        place[_ORDER.index(letter)] = slice(start, stop)
      arrays = list(map(self._in_order, values))
      if self.turn is not None:
        arrays = self._polar(*arrays)
      yield tuple(place), _complex(*arrays)
      start = stop

  def _polar(self, magnitude: np.ndarray, phase: np.ndarray) -> list:
    """Real and imaginary part of magnitude and phase."""
    assert self.turn is not None
    if magnitude.size and magnitude.min() < -_ROUNDED * magnitude.max():
      raise UserError(
        f"{self.path}: with --phase, this is the magnitude, but it has values "
        f"down to {magnitude.min():g}"
      )
    angle = phase * (2 * np.pi / self.turn)
    return [magnitude * np.cos(angle), magnitude * np.sin(angle)]

  def _in_order(self, values: np.ndarray) -> np.ndarray:
    """Values with axes x, y, slice, image, and real and imaginary part."""
    present = [letter for letter in (*_ORDER, "c") if letter in self.axes]
    values = values.transpose([self.axes.index(letter) for letter in present])
    return values if "z" in self.axes else np.expand_dims(values, 2)

  def mean_magnitude(self) -> Float32[np.ndarray, "x y slice"]:
    """Mean magnitude of all images.

    Raises:
      UserError: a value is not finite, the values look like magnitude and
        phase instead of real and imaginary parts, or the file is damaged.
    """
    mean = np.zeros(self.shape[:3], np.float64)
    least = np.array([np.inf, np.inf])
    largest = 0.0
    rng = np.random.default_rng(0)
    n_voxels = math.prod(self.shape[:3])
    chosen = rng.permutation(n_voxels)[:_N_SAMPLED]
    rows = np.full(n_voxels, -1)
    rows[chosen] = np.arange(len(chosen))
    rows = rows.reshape(self.shape[:3])
    sample = np.empty((len(chosen), self.shape[3]), np.complex64)
    for place, piece in self.pieces():
      magnitude = np.abs(piece)
      mean[place[:3]] += magnitude.sum(-1)
      largest = max(largest, float(magnitude.max()))
      least = np.minimum(least, (piece.real.min(), piece.imag.min()))
      _pick(piece, place, rows, sample)
    if not np.isfinite(mean).all():
      raise UserError(
        f"{self.path}: {np.count_nonzero(~np.isfinite(mean))} voxels have "
        "values that are NaN or infinite"
      )
    if self.turn is None:
      self._check_parts(sample, least, -_ROUNDED * largest)
    return (mean / self.shape[3]).astype(np.float32)

  def _check_parts(
    self, sample: Complex64[np.ndarray, "voxel image"], least, bound: float
  ) -> None:
    """Raises `UserError` for magnitude and phase instead of the two parts."""
    names, parts = ("real", "imaginary"), (sample.real, sample.imag)
    offset = common_offset(*parts) if min(least) >= 0 else None
    if offset is not None:
      raise UserError(
        f"{self.path}: real and imaginary parts lie about {offset:.6g}, not 0: "
        "are they unsigned numbers without their offset (scl_inter)?"
      )
    for k in range(2):
      phase = parts[1 - k]
      if least[k] >= bound and looks_like_phase(parts[k], phase):
        raise UserError(
          f"{self.path}: no {names[k]} part is below 0, and the {names[1 - k]} "
          f"ones, {phase.min():.4g} to {phase.max():.4g}, are spread like "
          "angles: are these magnitude and phase? --scan=MAGNITUDE "
          "--phase=PHASE takes two files of them; otherwise real and imaginary "
          "parts, or complex numbers, are needed"
        )

  def signals(
    self, mask: Bool[np.ndarray, "slice y x"]
  ) -> Complex64[np.ndarray, "voxel image"]:
    """Signals of the masked voxels in C order.

    Raises:
      UserError: the file is damaged.
    """
    rows = np.full(mask.shape, -1)
    rows[mask] = np.arange(np.count_nonzero(mask))
    rows = rows.transpose(2, 1, 0)  # [x, y, slice]
    signals = np.empty((np.count_nonzero(mask), self.shape[3]), np.complex64)
    for place, piece in self.pieces():
      _pick(piece, place, rows, signals)
    return signals


def open_series(
  path: str | os.PathLike,
  *,
  imaginary_path: str | os.PathLike | None = None,
  variable: str | None = None,
  imaginary_variable: str | None = None,
  axes: str | None = None,
  phase_path: str | os.PathLike | None = None,
  phase_turn: float | None = None,
) -> Series:
  """Opens a series of images; its values are read later.

  Args:
    path: complex images, their real part, or their magnitude; see
      `open_stored`.
    imaginary_path: file of the imaginary part, if it is another one.
    variable: name in a MATLAB or `.npz` file.
    imaginary_variable: name of the imaginary part, or of the phase, if it is
      another variable.
    axes: a letter for each stored axis: x and y in the plane, z from slice to
      slice, t from image to image, c real and imaginary part. Default: xyzt,
      without z for three axes, with c at the end for five.
    phase_path: file of the phase, if `path` is the magnitude.
    phase_turn: value of a full turn in it. Default: found from its range.

  Returns:
    The series.

  Raises:
    UserError: a file is missing or damaged, the axes do not fit, the two parts
      differ in shape or order, there is no imaginary part, or the range of the
      phases does not tell their unit.
  """
  parts = [open_stored(path, variable=variable)]
  if phase_path is not None:
    if imaginary_path is not None:
      raise UserError("--imaginary and --phase: only one of them can be given")
    parts.append(open_stored(phase_path, variable=imaginary_variable))
  elif imaginary_path is not None or imaginary_variable is not None:
    parts.append(
      open_stored(imaginary_path or path, variable=imaginary_variable)
    )
  first = parts[0]
  axes = _check_axes(first, axes)
  is_complex = first.dtype.kind == "c"
  if is_complex and (len(parts) > 1 or "c" in axes):
    raise UserError(
      f"{first.path}: holds complex numbers; another imaginary part, or phase, "
      "is one too many"
    )
  if not is_complex and len(parts) == 1 and "c" not in axes:
    raise UserError(
      f"{first.path}: holds real numbers ({first.dtype}); the imaginary part "
      "is needed too (--imaginary), or the phase of magnitudes (--phase)"
    )
  if len(parts) > 1 and "c" in axes:
    raise UserError(
      f"{first.path}: its axes {axes} include the imaginary part already"
    )
  for other in parts[1:]:
    if other.shape != first.shape or other.slowest != first.slowest:
      raise UserError(
        f"{other.path}: shape {other.shape}, but {first.path} has "
        f"{first.shape}, or is stored in another order"
      )
    if other.dtype.kind == "c":
      raise UserError(f"{other.path}: holds complex numbers, no imaginary part")
  turn = None
  if phase_path is not None:
    sample = _sample(parts[1])
    turn = full_turn(parts[1].path, sample, given=phase_turn)
  sizes = dict(zip(axes, first.shape, strict=True))
  return Series(
    shape=(sizes["x"], sizes["y"], sizes.get("z", 1), sizes["t"]),
    place=_place(first, axes),
    path=first.path,
    parts=tuple(parts),
    axes=axes,
    turn=turn,
  )


def _sample(stored: Stored) -> Float64[np.ndarray, "sample"]:
  """Some values of an array, and the smallest and the largest of all."""
  step = max(1, math.prod(stored.shape) // _N_VALUES)
  rows = max(
    1, stored.shape[stored.slowest] * _N_VALUES // math.prod(stored.shape)
  )
  found: list[np.ndarray] = []
  for values in stored.pieces(rows):
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
      raise UserError(f"{stored.path}: has phases that are NaN or infinite")
    found += [np.array([low, high]), values.ravel()[::step]]
  return np.concatenate(found).astype(np.float64)


def _pick(
  piece: Complex64[np.ndarray, "x y slice image"],
  place: tuple[slice, ...],
  rows: np.ndarray,
  signals: Complex64[np.ndarray, "voxel n"],
) -> None:
  """Copies a piece of a series to the rows of its voxels; none for row -1."""
  piece_rows = rows[place[:3]]
  inside = piece_rows >= 0
  signals[piece_rows[inside], place[3]] = piece[inside]


def _check_axes(stored: Stored, axes: str | None) -> str:
  """Letters of the axes, checked against the shape of the array."""
  n_axes = len(stored.shape)
  if axes is None:
    if n_axes not in _AXES:
      raise UserError(
        f"{stored.path}: shape {stored.shape}; three to five axes are needed"
      )
    axes = _AXES[n_axes]
  if (
    len(set(axes)) != len(axes)
    or not set("xyt") <= set(axes) <= set("xyztc")
    or len(axes) != n_axes
  ):
    raise UserError(
      f"axes: {axes!r} does not fit the shape {stored.shape} of {stored.path}; "
      "needs a letter for each axis: x, y, t, and z and c if they exist"
    )
  if "c" in axes and stored.shape[axes.index("c")] != 2:
    raise UserError(
      f"{stored.path}: axis c of shape {stored.shape} ({axes}) has "
      f"{stored.shape[axes.index('c')]} values, not a real and an imaginary one"
    )
  return axes


def _place(stored: Stored, axes: str) -> Place | None:
  """Place of a file, its affine's columns in the order x, y, z."""
  if stored.place is None:
    return None
  spatial = [axes.find(letter) for letter in "xyz"]
  # Without an axis z, the affine's third column is that of the slice.
  if spatial[2] < 0:
    (spatial[2],) = {0, 1, 2} - set(spatial[:2])
  if not set(spatial) <= {0, 1, 2}:
    raise UserError(
      f"{stored.path}: the axes {axes} have x, y or z after the third axis, "
      "but the affine of the file is for the first three"
    )
  return dataclasses.replace(
    stored.place, affine=stored.place.affine[:, [*spatial, 3]]
  )


def _complex(
  values: np.ndarray, imaginary: np.ndarray | None = None
) -> Complex64[np.ndarray, "x y slice image"]:
  """Complex array of stored values, each [x, y, slice, image(, 2)]."""
  if values.dtype.kind == "c":
    return values.astype(np.complex64, copy=False)
  if imaginary is None:
    values, imaginary = values[..., 0], values[..., 1]
  whole = np.empty(values.shape, np.complex64)
  whole.real, whole.imag = values, imaginary
  return whole
