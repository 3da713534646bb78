"""One scan of one subject, in memory and as an HDF5 file."""

import dataclasses
import math
import os
import pathlib
from collections import abc
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64

from mrf_jax.dataset.subject_file import (
  FORMAT,
  TRUE_FIELDS,
  find_dataset,
  read_fields,
  write_fields,
)
from mrf_jax.errors import UserError, one_line, reason
from mrf_jax.io.atomic import check_room, replacing
from mrf_jax.io.hdf5 import check_links, check_unchanged
from mrf_jax.io.untrusted import HDF5, trust, try_file
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import Sequence, make_sequence

# What a file holds besides signals and maps, about.
_OTHER_BYTES = 1 << 15
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
    acquisition: the pulse sequence that was played, and its sliding window.
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
  acquisition: Acquisition
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
  def sequence(self) -> Sequence:
    """The pulse sequence that was played."""
    return self.acquisition.sequence

  @property
  def window(self) -> int:
    """Frames that one sliding window averages."""
    return self.acquisition.window

  @property
  def stride(self) -> int:
    """Frames from one window to the next."""
    return self.acquisition.stride

  @property
  def n_windows(self) -> int:
    """Number of sliding windows, T."""
    return self.acquisition.n_windows


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
      check_room(temporary.parent, _OTHER_BYTES + _n_bytes(subject))
      # From 1.10 on HDF5 has checksums of all that is not values.
      with h5py.File(temporary, "w", libver="v110") as file:
        write_fields(subject, file)
        file.flush()
    trust(path)
  # HDF5 reports some failed writes, and a bad string, by the other two.
  except (OSError, RuntimeError, ValueError) as error:
    raise UserError(f"{path}: cannot be written ({reason(error)})") from error


def is_subject_file(path: str | os.PathLike) -> bool:
  """Whether an HDF5 file is one of ours rather than another.

  Args:
    path: a file that is there.

  Raises:
    UserError: it is HDF5 and damaged.
  """
  if os.path.isdir(path) or not h5py.is_hdf5(path):
    return False
  try:
    try_file(path, HDF5)
    with h5py.File(path, "r") as file:
      return str(file.attrs.get("format")) == FORMAT
  except (OSError, RuntimeError, ValueError) as error:
    raise UserError(
      f"{path}: not a readable HDF5 file, or cut short ({one_line(error)})"
    ) from error


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
    try_file(path, HDF5)
    with h5py.File(path, "r") as file:
      check_links(file)
      subject = Subject(signals=None, **read_fields(file))
      signals = find_dataset(file, "signals", np.complex64)
      _check(subject, signals.shape)
      if with_signals:
        values = signals[()]
        _check_finite("signals", values)
        check_unchanged(signals, values)
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


def _n_bytes(subject: Subject) -> int:
  """Of all arrays of a subject."""
  maps = [m for m in (subject.maps, subject.truth) if m is not None]
  parts = [subject.sequence, *maps, subject]
  values = (value for part in parts for value in vars(part).values())
  return sum(v.nbytes for v in values if isinstance(v, np.ndarray))


def _as_stored(subject: Subject, signals: np.ndarray) -> Subject:
  """The same subject with the types of the file; right ones are not copied."""

  def maps_as_stored(maps):
    if maps is None:
      return None
    return Maps(*(np.asarray(getattr(maps, n), np.float32) for n in MAP_NAMES))

  atlas = subject.head_to_atlas
  true_fields: dict[str, Any] = {
    field: np.asarray(getattr(subject, field), np.float32)
    for field in TRUE_FIELDS
    if getattr(subject, field) is not None
  }
  return dataclasses.replace(
    subject,
    mask=np.asarray(subject.mask, bool),
    signals=signals,
    affine=np.asarray(subject.affine, np.float64),
    acquisition=dataclasses.replace(
      subject.acquisition, sequence=make_sequence(**vars(subject.sequence))
    ),
    maps=maps_as_stored(subject.maps),
    truth=maps_as_stored(subject.truth),
    head_to_atlas=None if atlas is None else np.asarray(atlas, np.float64),
    **true_fields,
  )


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
  for field, name in TRUE_FIELDS.items():
    values = getattr(subject, field)
    if values is not None:
      _check_voxels(name, values, n_voxels)
  if len(signals_shape) != 2 or signals_shape[0] != n_voxels:
    raise UserError(
      f"signals have shape {signals_shape}, but the mask has {n_voxels} voxels"
    )
  subject.acquisition.check_images(
    signals_shape[1], f"signals have {signals_shape[1]} columns"
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


def check_alike(subjects: abc.Sequence[Subject], paths: abc.Sequence) -> None:
  """Refuses subjects whose scans differ.

  Args:
    subjects: at least one.
    paths: their files, for the error.

  Raises:
    UserError: the acquisition of one is not that of the first.
  """
  first = subjects[0]
  for subject, path in zip(subjects, paths, strict=True):
    difference = subject.acquisition.difference(first.acquisition)
    if difference:
      own, other = difference
      raise UserError(f"{path}: {own}, but {paths[0]} has {other}")


def without_truth(subject: Subject) -> Subject:
  """What a method may know of it."""
  return dataclasses.replace(
    subject, truth=None, true_b1=None, noise_sd=None, lesion=None
  )


def reference_of(subject: Subject, path: str | os.PathLike) -> Maps:
  """Its reference maps.

  Args:
    subject: the subject.
    path: its file, for the error.

  Raises:
    UserError: it has none.
  """
  if subject.maps is None:
    raise UserError(f"{path}: has no reference maps")
  return subject.maps
