"""A complex MRF series: images over time, read piece by piece."""

import dataclasses
import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64

from mrf_jax.errors import UserError
from mrf_jax.importing.stored import Stored, open_stored

# Bytes of a series that are in memory at once.
_PIECE = 1 << 26
# Axes of arrays with so many of them, where nobody says: three are a single
# slice, a fifth are real and imaginary part.
_AXES = {3: "xyt", 4: "xyzt", 5: "xyztc"}
_ORDER = "xyzt"
# Half a turn, as scanners write it.
_FULL_PHASES = (np.pi, 180.0, 4096.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
  """Images of one scan over time, in one file or two.

  Attributes:
    shape: voxels along x, y, slices, and images.
    affine: voxel index (x, y, slice) to RAS, [4, 4], mm; None where the
      format has none.
    path: for messages.
    parts: the complex array, or its real and its imaginary part.
    axes: letter of each axis of the parts.
  """

  shape: tuple[int, int, int, int]
  affine: Float64[np.ndarray, "4 4"] | None
  path: str
  parts: tuple[Stored, ...]
  axes: str
  # No format of images says so.
  simulated_by: None = None

  def pieces(self) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Parts of the series, [x, y, slice, image], and where they belong."""
    first = self.parts[0]
    n_rows = first.shape[first.slowest]
    row_bytes = np.prod(first.shape, dtype=float) / n_rows * 8
    step = max(1, int(_PIECE // row_bytes))
    letter = self.axes[first.slowest]
    if letter == "c":
      step = n_rows
    parts = [part.pieces(step) for part in self.parts]
    start = 0
    for values in zip(*parts, strict=True):
      stop = start + values[0].shape[first.slowest]
      place = [slice(None)] * 4
      if letter in _ORDER:
        place[_ORDER.index(letter)] = slice(start, stop)
      yield tuple(place), _complex(*map(self._in_order, values))
      start = stop

  def _in_order(self, values: np.ndarray) -> np.ndarray:
    """Axes x, y, slice, image, and real and imaginary part where stored."""
    present = [letter for letter in (*_ORDER, "c") if letter in self.axes]
    values = values.transpose([self.axes.index(letter) for letter in present])
    return values if "z" in self.axes else np.expand_dims(values, 2)

  def mean_magnitude(self) -> Float32[np.ndarray, "x y slice"]:
    """Mean over the magnitudes of all images.

    Raises:
      UserError: a value is not finite, magnitude and phase were taken for real
        and imaginary part, or the file is damaged.
    """
    mean = np.zeros(self.shape[:3], np.float64)
    least_real, largest_imaginary = np.inf, 0.0
    for place, piece in self.pieces():
      mean[place[:3]] += np.abs(piece).sum(-1)
      least_real = min(least_real, float(piece.real.min()))
      largest = float(np.abs(piece.imag).max())
      largest_imaginary = max(largest_imaginary, largest)
    if not np.isfinite(mean).all():
      raise UserError(
        f"{self.path}: {np.count_nonzero(~np.isfinite(mean))} voxels have "
        "values that are NaN or infinite"
      )
    if least_real >= 0 and any(
      0.8 * full < largest_imaginary < 1.01 * full for full in _FULL_PHASES
    ):
      raise UserError(
        f"{self.path}: no real part is below 0, and the imaginary ones reach "
        f"{largest_imaginary:.4g}: are these magnitude and phase? Real and "
        "imaginary parts, or complex numbers, are wanted"
      )
    return (mean / self.shape[3]).astype(np.float32)

  def signals(
    self, mask: Bool[np.ndarray, "slice y x"]
  ) -> Complex64[np.ndarray, "voxel image"]:
    """The masked voxels in C order of the mask.

    Raises:
      UserError: the file is damaged.
    """
    rows = np.full(mask.shape, -1)
    rows[mask] = np.arange(np.count_nonzero(mask))
    rows = rows.transpose(2, 1, 0)  # [x, y, slice]
    signals = np.empty((np.count_nonzero(mask), self.shape[3]), np.complex64)
    for place, piece in self.pieces():
      found = rows[place[:3]]
      there = found >= 0
      signals[found[there], place[3]] = piece[there]
    return signals


def open_series(
  path: str | os.PathLike,
  *,
  imaginary_path: str | os.PathLike | None = None,
  variable: str | None = None,
  imaginary_variable: str | None = None,
  axes: str | None = None,
) -> Series:
  """The images of a scan, yet unread.

  Args:
    path: complex images, or their real part; see `open_stored`.
    imaginary_path: the imaginary part where it is a file of its own.
    variable: of a MATLAB or `.npz` file.
    imaginary_variable: of the imaginary part where it is a variable of its
      own.
    axes: a letter for each stored axis: x and y in the plane, z from slice to
      slice, t from image to image, c real and imaginary part. None is xyzt,
      without z for three axes, with c at the end for five.

  Returns:
    The series.

  Raises:
    UserError: a file is missing or damaged, axes do not fit, both parts are
      not alike, or the values are real with no imaginary part.
  """
  parts = [open_stored(path, variable=variable)]
  if imaginary_path is not None or imaginary_variable is not None:
    parts.append(
      open_stored(imaginary_path or path, variable=imaginary_variable)
    )
  first = parts[0]
  axes = _check_axes(first, axes)
  is_complex = first.dtype.kind == "c"
  if is_complex and (len(parts) > 1 or "c" in axes):
    raise UserError(
      f"{first.path}: holds complex numbers; an imaginary part beside them is "
      "one too many"
    )
  if not is_complex and len(parts) == 1 and "c" not in axes:
    raise UserError(
      f"{first.path}: holds real numbers ({first.dtype}); the phase matters, "
      "so that the imaginary part is needed too"
    )
  if len(parts) > 1 and "c" in axes:
    raise UserError(
      f"{first.path}: axes {axes} hold the imaginary part already"
    )
  for other in parts[1:]:
    if other.shape != first.shape or other.slowest != first.slowest:
      raise UserError(
        f"{other.path}: shape {other.shape}, but {first.path} has "
        f"{first.shape}, or is stored in another order"
      )
    if other.dtype.kind == "c":
      raise UserError(f"{other.path}: holds complex numbers, no imaginary part")
  return Series(
    shape=_shape(first.shape, axes),
    affine=_affine(first, axes),
    path=first.path,
    parts=tuple(parts),
    axes=axes,
  )


def _check_axes(stored: Stored, axes: str | None) -> str:
  """Letters of the axes, each once, as many as the array has."""
  n_axes = len(stored.shape)
  if axes is None:
    if n_axes not in _AXES:
      raise UserError(
        f"{stored.path}: shape {stored.shape}; three to five axes are wanted"
      )
    axes = _AXES[n_axes]
  if (
    len(set(axes)) != len(axes)
    or not set("xyt") <= set(axes) <= set("xyztc")
    or len(axes) != n_axes
  ):
    raise UserError(
      f"axes: {axes!r} does not fit the shape {stored.shape} of {stored.path}; "
      "it is a letter for each axis: x, y, t, and z and c where there are such"
    )
  if "c" in axes and stored.shape[axes.index("c")] != 2:
    raise UserError(
      f"{stored.path}: axis c of shape {stored.shape} ({axes}) has "
      f"{stored.shape[axes.index('c')]} values, not a real and an imaginary one"
    )
  return axes


def _shape(stored: tuple[int, ...], axes: str) -> tuple[int, int, int, int]:
  sizes = dict(zip(axes, stored, strict=True))
  return sizes["x"], sizes["y"], sizes.get("z", 1), sizes["t"]


def _affine(stored: Stored, axes: str) -> Float64[np.ndarray, "4 4"] | None:
  """The affine of a file with its columns in the order x, y, z."""
  if stored.affine is None:
    return None
  spatial = [axes.find(letter) for letter in "xyz"]
  # A single slice: the axis that is left over.
  if spatial[2] < 0:
    (spatial[2],) = {0, 1, 2} - set(spatial[:2])
  if not set(spatial) <= {0, 1, 2}:
    raise UserError(
      f"{stored.path}: the axes {axes} put space behind the first three axes, "
      "whose places the file states"
    )
  return stored.affine[:, [*spatial, 3]]


def _complex(
  values: np.ndarray, imaginary: np.ndarray | None = None
) -> Complex64[np.ndarray, "x y slice image"]:
  """One array of the parts, each [x, y, slice, image(, 2)]."""
  if values.dtype.kind == "c":
    return values.astype(np.complex64, copy=False)
  if imaginary is None:
    values, imaginary = values[..., 0], values[..., 1]
  whole = np.empty(values.shape, np.complex64)
  whole.real, whole.imag = values, imaginary
  return whole
