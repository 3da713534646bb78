"""One scan of one subject, in memory and as an HDF5 file."""

import dataclasses
import math
import os
import pathlib
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64

from mrf_jax.errors import UserError, one_line
from mrf_jax.files import replacing
from mrf_jax.hdf5 import check_dataset, check_links
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.sequence import (
  FRAME_FIELDS,
  PREPARATION_FIELDS,
  Sequence,
  make_sequence,
)

_FORMAT = "mrf-subject"
_VERSION = 1
# Fields of a subject beside its true maps, and their names in the file.
_TRUE_FIELDS = {
  "true_b1": "truth/b1",
  "noise_sd": "truth/noise_sd",
  "lesion": "truth/lesion",
}
# Bytes of signals that are searched for NaN at once.
_CHECK_BYTES = 1 << 24


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
  """The masked voxels of one scan, with all that is known about them.

  Attributes:
    subject: name of the subject.
    mask: the voxels that are kept, [slice, y, x].
    signals: sliding-window signals of the masked voxels in C order,
      [voxel, window]; None where they were not loaded.
    affine: voxel indices (x, y, slice) to RAS, [4, 4], mm.
    sequence: the train that was played.
    window: frames that one sliding window averages.
    stride: frames from one window to the next.
    field_strength_t: main magnetic field, tesla.
    provenance: where the data come from; begins with "simulated" if they do.
    maps: acquired reference maps, [voxel], or None.
    truth: true maps of a simulated subject, [voxel], or None; for
      evaluation only.
    head_to_atlas: RAS mm of this head to RAS mm of the atlas it was made
      from, [4, 4]; simulated subjects only, or None.
    true_b1: factor on the flip angles, [voxel]; simulated subjects only, or
      None.
    noise_sd: standard deviation of the noise on the real and on the imaginary
      part of the signals, [voxel]; simulated subjects only, or None.
    lesion: volume share of lesion, [voxel]; simulated subjects that have some
      only, or None.
  """

  subject: str
  mask: Bool[np.ndarray, "slice y x"]
  signals: Complex64[np.ndarray, "voxel window"] | None
  affine: Float64[np.ndarray, "4 4"]
  sequence: Sequence
  window: int
  stride: int
  field_strength_t: float
  provenance: str
  maps: Maps | None = None
  truth: Maps | None = None
  head_to_atlas: Float64[np.ndarray, "4 4"] | None = None
  true_b1: Float32[np.ndarray, "voxel"] | None = None
  noise_sd: Float32[np.ndarray, "voxel"] | None = None
  lesion: Float32[np.ndarray, "voxel"] | None = None

  @property
  def is_simulated(self) -> bool:
    """Whether the data are, and are to be called, simulated."""
    return self.provenance.startswith("simulated")

  @property
  def n_voxels(self) -> int:
    """Number of masked voxels."""
    return int(np.count_nonzero(self.mask))

  @property
  def n_windows(self) -> int:
    """Number of sliding windows, T."""
    return self.sequence.n_windows(window=self.window, stride=self.stride)


def save_subject(subject: Subject, path: str | os.PathLike) -> None:
  """Writes a subject file, complete or not at all.

  The file is written under a temporary name beside `path` and renamed.

  Args:
    subject: the subject, with its signals.
    path: the HDF5 file; one that stands there is replaced.

  Raises:
    UserError: the subject is not one that `load_subject` would take, or the
      file cannot be written.
  """
  path = pathlib.Path(path)
  try:
    if subject.signals is None:
      raise UserError(f"subject {subject.subject} has no signals to save")
    signals = np.asarray(subject.signals, np.complex64)
    subject = _as_stored(subject, signals)
    _check(subject, signals.shape)
    _check_finite("signals", signals)
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  try:
    with replacing(path) as temporary:
      with h5py.File(temporary, "w") as file:
        _write(subject, file)
        file.flush()
      with open(temporary, "rb+") as stream:
        os.fsync(stream.fileno())
  # HDF5 reports some failed writes, and a bad string, by the other two.
  except (OSError, RuntimeError, ValueError) as error:
    raise UserError(f"{path}: cannot be written ({one_line(error)})") from error


def load_subject(
  path: str | os.PathLike, *, with_signals: bool = True
) -> Subject:
  """A checked subject from its file.

  Args:
    path: the HDF5 file.
    with_signals: read the signals, which are nearly all of the file; else
      only their shape and type are checked, and `signals` is None.

  Returns:
    The subject.

  Raises:
    UserError: there is no such file, or it is not a sound subject file.
  """
  try:
    with h5py.File(path, "r") as file:
      check_links(file)
      subject = _read(file)
      signals = _dataset(file, "signals", np.complex64)
      _check(subject, signals.shape)
      if with_signals:
        values = signals[()]
        _check_finite("signals", values)
        subject = dataclasses.replace(subject, signals=values)
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  except FileNotFoundError as error:
    raise UserError(f"{path}: there is no such file") from error
  except (OSError, RuntimeError, ValueError, KeyError) as error:
    raise UserError(
      f"{path}: not a readable HDF5 file, or cut short ({one_line(error)})"
    ) from error
  return subject


def _as_stored(subject: Subject, signals: np.ndarray) -> Subject:
  """The same subject with the types of the file; right ones are not copied."""

  def maps_as_stored(maps):
    if maps is None:
      return None
    return Maps(*(np.asarray(getattr(maps, n), np.float32) for n in MAP_NAMES))

  atlas = subject.head_to_atlas
  true_fields: dict[str, Any] = {
    field: np.asarray(getattr(subject, field), np.float32)
    for field in _TRUE_FIELDS
    if getattr(subject, field) is not None
  }
  return dataclasses.replace(
    subject,
    mask=np.asarray(subject.mask, bool),
    signals=signals,
    affine=np.asarray(subject.affine, np.float64),
    sequence=make_sequence(**vars(subject.sequence)),
    maps=maps_as_stored(subject.maps),
    truth=maps_as_stored(subject.truth),
    head_to_atlas=None if atlas is None else np.asarray(atlas, np.float64),
    **true_fields,
  )


def _write(subject: Subject, file: h5py.File) -> None:
  """Fills an empty file."""
  file.attrs["format"] = _FORMAT
  file.attrs["version"] = _VERSION
  file.attrs["subject"] = subject.subject
  file.attrs["field_strength_t"] = float(subject.field_strength_t)
  file.attrs["provenance"] = subject.provenance
  file["mask"] = subject.mask
  file["affine"] = subject.affine
  file["signals"] = subject.signals
  group = file.create_group("sequence")
  for name in FRAME_FIELDS:
    group[name] = getattr(subject.sequence, name)
  for name in PREPARATION_FIELDS:
    time_ms = getattr(subject.sequence, name)
    if time_ms is not None:
      group.attrs[name] = float(time_ms)
  group.attrs["balanced"] = int(subject.sequence.balanced)
  group.attrs["window"] = int(subject.window)
  group.attrs["stride"] = int(subject.stride)
  for name in ("maps", "truth"):
    maps = getattr(subject, name)
    if maps is not None:
      for map_name in MAP_NAMES:
        file[f"{name}/{map_name}"] = getattr(maps, map_name)
  if subject.head_to_atlas is not None:
    file["truth/head_to_atlas"] = subject.head_to_atlas
  for field, name in _TRUE_FIELDS.items():
    if getattr(subject, field) is not None:
      file[name] = getattr(subject, field)


def _read(file: h5py.File) -> Subject:
  """All of a file but its signals, types checked."""
  if str(file.attrs.get("format")) != _FORMAT:
    raise UserError(f"not an {_FORMAT} file")
  version = _attribute(file, "version", int)
  if version != _VERSION:
    raise UserError(
      f"{_FORMAT} version {version}; only version {_VERSION} is known"
    )
  sequence = _read_sequence(file)
  atlas = None
  if "truth/head_to_atlas" in file:
    atlas = _dataset(file, "truth/head_to_atlas", np.float64)[()]
  # A transform, or B1, noise and lesions, alone make no true maps.
  others = {"head_to_atlas", "b1", "noise_sd", "lesion"}
  has_truth = "truth" in file and not set(file["truth"]) <= others
  return Subject(
    subject=_attribute(file, "subject", str),
    mask=_dataset(file, "mask", np.bool_)[()],
    signals=None,
    affine=_dataset(file, "affine", np.float64)[()],
    sequence=sequence,
    window=_attribute(file["sequence"], "window", int),
    stride=_attribute(file["sequence"], "stride", int),
    field_strength_t=_attribute(file, "field_strength_t", float),
    provenance=_attribute(file, "provenance", str),
    maps=_read_maps(file, "maps") if "maps" in file else None,
    truth=_read_maps(file, "truth") if has_truth else None,
    head_to_atlas=atlas,
    **{
      field: _dataset(file, name, np.float32)[()]
      for field, name in _TRUE_FIELDS.items()
      if name in file
    },
  )


def _read_sequence(file: h5py.File) -> Sequence:
  """The train, checked by `make_sequence`."""
  frames: dict[str, Any] = {}
  for name in FRAME_FIELDS:
    values = _dataset(file, f"sequence/{name}", np.float64)[()]
    frames[name] = values
    if values.ndim != 1 or len(values) != len(frames[FRAME_FIELDS[0]]):
      raise UserError(
        f"sequence/{name} has shape {values.shape}, not one value a frame"
      )
  group = file["sequence"]
  preparation = {
    name: _attribute(group, name, float)
    for name in PREPARATION_FIELDS
    if name in group.attrs
  }
  balanced = "balanced" in group.attrs and _attribute(group, "balanced", int)
  return make_sequence(**frames, **preparation, balanced=bool(balanced))


def _read_maps(file: h5py.File, name: str) -> Maps:
  """The maps of one group."""
  return Maps(
    *(_dataset(file, f"{name}/{n}", np.float32)[()] for n in MAP_NAMES)
  )


def _dataset(file: h5py.File, name: str, dtype: type) -> h5py.Dataset:
  """A dataset of the wanted type, unread."""
  dataset = file.get(name)
  if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
    raise UserError(f"{name} is missing")
  if dataset.dtype != np.dtype(dtype):
    raise UserError(f"{name} is {dataset.dtype}, not {np.dtype(dtype)}")
  check_dataset(dataset)
  return dataset


def _attribute(group: h5py.Group, name: str, kind: type):
  """An attribute that must be text, a number (float) or a count (int)."""
  label = f"attribute {group.name}/{name}".replace("//", "/")
  if name not in group.attrs:
    raise UserError(f"{label} is missing")
  value = group.attrs[name]
  accepted: tuple[type, ...] = {
    str: (str,),
    float: (int, float, np.integer, np.floating),
    int: (int, np.integer),
  }[kind]
  if not isinstance(value, accepted):
    raise UserError(f"{label} is not of type {kind.__name__}")
  return kind(value)


def _check(subject: Subject, signals_shape: tuple[int, ...]) -> None:
  """Raises `UserError` where the parts of a subject do not fit together."""
  field_t = subject.field_strength_t
  if not 0 < field_t < math.inf:
    raise UserError(f"the field strength is {field_t} T")
  if subject.mask.ndim != 3:
    raise UserError(f"mask has shape {subject.mask.shape}, not [slice, y, x]")
  n_voxels = subject.n_voxels
  if not n_voxels:
    raise UserError("the mask has no voxels")
  for name in ("affine", "head_to_atlas"):
    if getattr(subject, name) is not None:
      _check_affine(name, getattr(subject, name))
  for name in ("maps", "truth"):
    maps = getattr(subject, name)
    for map_name in MAP_NAMES if maps is not None else ():
      _check_voxels(f"{name}/{map_name}", getattr(maps, map_name), n_voxels)
  for field, name in _TRUE_FIELDS.items():
    values = getattr(subject, field)
    if values is not None:
      _check_voxels(name, values, n_voxels)
  n_frames = subject.sequence.n_frames
  window, stride = subject.window, subject.stride
  if not 1 <= window <= n_frames or stride < 1:
    raise UserError(
      f"window {window} and stride {stride} do not fit {n_frames} frames"
    )
  if len(signals_shape) != 2 or signals_shape[0] != n_voxels:
    raise UserError(
      f"signals have shape {signals_shape}, but the mask has {n_voxels} voxels"
    )
  n_windows = subject.n_windows
  if signals_shape[1] != n_windows:
    raise UserError(
      f"signals have {signals_shape[1]} columns, but {n_frames} frames in "
      f"windows of {window} with stride {stride} make {n_windows}"
    )


def _check_voxels(name: str, values: np.ndarray, n_voxels: int) -> None:
  """One finite value a voxel."""
  if values.shape != (n_voxels,):
    raise UserError(
      f"{name} has shape {values.shape}, but the mask has {n_voxels} voxels"
    )
  _check_finite(name, values)


def _check_affine(name: str, matrix: np.ndarray) -> None:
  """A finite, invertible [4, 4] matrix with the last row 0, 0, 0, 1."""
  if matrix.shape != (4, 4):
    raise UserError(f"{name} has shape {matrix.shape}, not (4, 4)")
  _check_finite(name, matrix)
  if np.any(matrix[3] != (0, 0, 0, 1)) or np.linalg.det(matrix) == 0:
    raise UserError(f"{name} is not an invertible affine matrix")


def _check_finite(name: str, values: np.ndarray) -> None:
  """No NaN and no infinity, sought block by block to save memory."""
  rows = max(1, _CHECK_BYTES // max(1, values[0].nbytes))
  n_bad = 0
  for start in range(0, len(values), rows):
    block = values[start : start + rows]
    n_bad += block.size - int(np.count_nonzero(np.isfinite(block)))
  if n_bad:
    raise UserError(f"{name}: {n_bad} values are NaN or infinite")
