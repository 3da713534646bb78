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

from mrf_jax.checks import check_finite, check_shape
from mrf_jax.dataset.signal_rows import empty_signals
from mrf_jax.dataset.subject_file import (
  FORMAT,
  TRUE_FIELDS,
  find_dataset,
  read_fields,
  write_fields,
)
from mrf_jax.errors import UserError, reason
from mrf_jax.io.atomic import check_room, replacing
from mrf_jax.io.hdf5 import check_links, open_hdf5, read_checked
from mrf_jax.io.untrusted import trust
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.sequence.acquisition import Acquired, Acquisition
from mrf_jax.sequence.sequence import make_sequence

# Bytes of a file besides its arrays, about.
_OTHER_BYTES = 1 << 15


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Subject(Acquired):
  """The masked voxels of one scan, and everything that is known about them.

  The fields from `truth` to `lesion` are known for simulated subjects only, and
  are None otherwise.

  Attributes:
    subject: name of the subject.
    mask: the voxels that are kept, [slice, y, x].
    signals: sliding-window signals of the masked voxels in C order,
      [voxel, window]; None if they were not loaded.
    affine: voxel indices (x, y, slice) to RAS, [4, 4], mm.
    acquisition: the pulse sequence and its sliding window.
    field_strength_t: main magnetic field, tesla.
    provenance: where the data come from; starts with "simulated" for
      simulated data.
    maps: acquired reference maps, [voxel], or None.
    truth: true maps, [voxel], for evaluation only.
    head_to_atlas: RAS mm of this head to RAS mm of the atlas that it was made
      from, [4, 4].
    true_b1: factor on the flip angles, [voxel].
    true_b0_hz: offset of the main field, [voxel], Hz; None if it has none.
    noise_sd: standard deviation of the noise on the real and on the imaginary
      part of the signals, [voxel].
    lesion: volume share of lesion, [voxel]; None in a head without lesions.
    b1: acquired map of the factor on the flip angles, [voxel], or None.
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
  true_b0_hz: Float32[np.ndarray, "voxel"] | None = None
  noise_sd: Float32[np.ndarray, "voxel"] | None = None
  lesion: Float32[np.ndarray, "voxel"] | None = None
  b1: Float32[np.ndarray, "voxel"] | None = None

  @property
  def is_simulated(self) -> bool:
    """True for simulated data, which every output must call simulated."""
    return self.provenance.startswith("simulated")

  @property
  def n_voxels(self) -> int:
    """Number of masked voxels."""
    return int(np.count_nonzero(self.mask))

  def __repr__(self) -> str:
    """Name, size and origin in three lines, without arrays."""
    shape = " × ".join(map(str, np.shape(self.mask)[::-1]))
    signals = "" if self.signals is not None else ", not loaded"
    maps = "reference maps" if self.maps is not None else "no reference maps"
    # Sentences on what was assumed follow where the data come from.
    origin, *more = self.provenance.split("; ")
    if more:
      origin += " (provenance says what was assumed)"
    return (
      f"Subject {self.subject}: {self.n_voxels:,} voxels of {shape}, {maps}, "
      f"{self.field_strength_t:g} T\n"
      f"  {self.acquisition.images_in_words()}{signals}\n"
      f"  {origin}"
    )


def save_subject(subject: Subject, path: str | os.PathLike) -> None:
  """Writes a subject file, completely or not at all.

  The file is written under a temporary name in the same folder and renamed.

  Args:
    subject: the subject, with its signals.
    path: the HDF5 file; an existing one is replaced.

  Raises:
    UserError: `load_subject` would not accept the subject, or the file cannot
      be written.
  """
  path = pathlib.Path(path)
  try:
    subject = checked(subject)
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  try:
    with replacing(path) as temporary:
      check_room(temporary.parent, _OTHER_BYTES + _n_bytes(subject))
      # HDF5 1.10 added checksums of everything but the values.
      with h5py.File(temporary, "w", libver="v110") as file:
        write_fields(subject, file)
        file.flush()
    # Spares the next reader the trial of a file of unknown origin.
    trust(path)
  # HDF5 raises the last two for some failed writes, and for invalid strings.
  except (OSError, RuntimeError, ValueError) as error:
    raise UserError(f"{path}: cannot be written ({reason(error)})") from error


def checked(subject: Subject) -> Subject:
  """The subject with array types of its file, whose fields fit together.

  Raises:
    UserError: it has no signals, or its fields do not fit together.
  """
  if subject.signals is None:
    raise UserError(f"subject {subject.subject} has no signals")
  signals = np.asarray(subject.signals, np.complex64)
  subject = _as_stored(subject, signals)
  _check(subject, signals.shape)
  check_finite("signals", signals)
  return subject


def is_subject_file(path: str | os.PathLike) -> bool:
  """True if a file is a subject file, rather than one of another format.

  Raises:
    UserError: it is a damaged HDF5 file.
  """
  if os.path.isdir(path) or not h5py.is_hdf5(path):
    return False
  with open_hdf5(path) as file:
    return str(file.attrs.get("format")) == FORMAT


def load_subject(
  path: str | os.PathLike, *, with_signals: bool = True
) -> Subject:
  """Reads and checks a subject file.

  Args:
    path: the HDF5 file.
    with_signals: read the signals, which are most of the file; otherwise only
      their shape and type are checked, and `signals` is None.

  Returns:
    The subject.

  Raises:
    UserError: the file does not exist, is damaged, or is no subject file.
  """
  with open_hdf5(path) as file:
    check_links(file)
    subject = Subject(signals=None, **read_fields(file))
    signals = find_dataset(file, "signals", np.complex64)
    _check(subject, signals.shape)
    if not with_signals:
      return subject
    values = empty_signals(*signals.shape)
    read_checked(signals, values, name="signals")
    return dataclasses.replace(subject, signals=values)


def _n_bytes(subject: Subject) -> int:
  """Number of bytes of all arrays of a subject."""
  maps = [m for m in (subject.maps, subject.truth) if m is not None]
  parts = [subject.sequence, *maps, subject]
  values = (value for part in parts for value in vars(part).values())
  return sum(v.nbytes for v in values if isinstance(v, np.ndarray))


def _as_stored(subject: Subject, signals: np.ndarray) -> Subject:
  """The subject with array types of the file; copies only what must change."""

  def maps_as_stored(maps):
    if maps is None:
      return None
    return Maps(*(np.asarray(getattr(maps, n), np.float32) for n in MAP_NAMES))

  true_fields: dict[str, Any] = {
    field: np.asarray(getattr(subject, field), dtype)
    for field, (_, dtype) in TRUE_FIELDS.items()
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
    b1=None if subject.b1 is None else np.asarray(subject.b1, np.float32),
    **true_fields,
  )


def _check(subject: Subject, signals_shape: tuple[int, ...]) -> None:
  """Raises `UserError` unless the fields of a subject fit together."""
  field_t = subject.field_strength_t
  if not 0 < field_t < math.inf:
    raise UserError(f"the field strength is {field_t} T")
  if subject.mask.ndim != 3:
    raise UserError(f"mask has shape {subject.mask.shape}, not [slice, y, x]")
  n_voxels = subject.n_voxels
  if not n_voxels:
    raise UserError("the mask has no voxels")
  check_affine("affine", subject.affine)
  for name in ("maps", "truth"):
    maps = getattr(subject, name)
    for map_name in MAP_NAMES if maps is not None else ():
      _check_voxels(f"{name}/{map_name}", getattr(maps, map_name), n_voxels)
  if subject.b1 is not None:
    _check_voxels("b1", subject.b1, n_voxels)
    if np.any(subject.b1 <= 0):
      raise UserError("b1 is not above 0 everywhere")
  for field, (name, _) in TRUE_FIELDS.items():
    values = getattr(subject, field)
    if values is not None and field == "head_to_atlas":
      check_affine(field, values)
    elif values is not None:
      _check_voxels(name, values, n_voxels)
  if len(signals_shape) != 2 or signals_shape[0] != n_voxels:
    raise UserError(
      f"signals have shape {signals_shape}, but the mask has {n_voxels} voxels"
    )
  subject.acquisition.check_images(
    signals_shape[1], f"signals have {signals_shape[1]} columns"
  )


def _check_voxels(name: str, values: np.ndarray, n_voxels: int) -> None:
  """Raises `UserError` unless there is one finite value for each voxel."""
  if values.shape != (n_voxels,):
    raise UserError(
      f"{name} has shape {values.shape}, but the mask has {n_voxels} voxels"
    )
  check_finite(name, values)


def check_affine(name: str, matrix: np.ndarray) -> None:
  """Raises `UserError` unless a [4, 4] matrix is an invertible affine one."""
  check_shape(name, matrix, (4, 4))
  check_finite(name, matrix)
  if np.any(matrix[3] != (0, 0, 0, 1)) or np.linalg.matrix_rank(matrix) < 4:
    raise UserError(f"{name} is not an invertible affine matrix")


def check_alike(subjects: abc.Sequence[Subject], paths: abc.Sequence) -> None:
  """Raises `UserError` if a subject's acquisition is not that of the first."""
  first = subjects[0]
  for subject, path in zip(subjects, paths, strict=True):
    difference = subject.acquisition.difference(first.acquisition)
    if difference:
      own, other = difference
      raise UserError(f"{path}: {own}, but {paths[0]} has {other}")


def without_truth(subject: Subject) -> Subject:
  """The subject without its true values, which no method may use."""
  # Where the head lies is no true value of a voxel.
  fields = TRUE_FIELDS.keys() - {"head_to_atlas"}
  known: dict[str, Any] = dict.fromkeys(fields)
  return dataclasses.replace(subject, truth=None, **known)


def reference_of(subject: Subject, path: str | os.PathLike) -> Maps:
  """Reference maps of a subject; raises `UserError` if it has none."""
  if subject.maps is None:
    raise UserError(f"{path}: has no reference maps")
  return subject.maps
