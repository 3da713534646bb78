"""Layout of a subject file: groups, datasets and attributes in HDF5."""

from typing import Any

import h5py
import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.io.hdf5 import check_dataset, check_unchanged, write_checked
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import (
  FRAME_FIELDS,
  PREPARATION_FIELDS,
  PULSE_FIELDS,
  Sequence,
  make_sequence,
)

FORMAT = "mrf-subject"
_VERSION = 1
# Fields of a simulated subject other than maps: name and type in the file.
TRUE_FIELDS: dict[str, tuple[str, type]] = {
  "head_to_atlas": ("truth/head_to_atlas", np.float64),
  "true_b1": ("truth/b1", np.float32),
  "true_b0_hz": ("truth/b0_hz", np.float32),
  "noise_sd": ("truth/noise_sd", np.float32),
  "lesion": ("truth/lesion", np.float32),
}


def write_fields(subject, file: h5py.File) -> None:
  """Writes all fields of a `Subject`, whose arrays have the stored types."""
  file.attrs["format"] = FORMAT
  file.attrs["version"] = _VERSION
  file.attrs["subject"] = subject.subject
  file.attrs["field_strength_t"] = float(subject.field_strength_t)
  file.attrs["provenance"] = subject.provenance
  write_checked(file, "mask", subject.mask)
  write_checked(file, "affine", subject.affine)
  assert subject.signals is not None
  write_checked(file, "signals", subject.signals)
  group = file.create_group("sequence")
  for name in FRAME_FIELDS:
    write_checked(group, name, getattr(subject.sequence, name))
  for name in (*PREPARATION_FIELDS, *PULSE_FIELDS):
    value = getattr(subject.sequence, name)
    if value is not None:
      group.attrs[name] = float(value)
  group.attrs["balanced"] = int(subject.sequence.balanced)
  group.attrs["window"] = int(subject.window)
  group.attrs["stride"] = int(subject.stride)
  for name in ("maps", "truth"):
    maps = getattr(subject, name)
    if maps is not None:
      for map_name in MAP_NAMES:
        write_checked(file, f"{name}/{map_name}", getattr(maps, map_name))
  if subject.b1 is not None:
    write_checked(file, "b1", subject.b1)
  for field, (name, _) in TRUE_FIELDS.items():
    if getattr(subject, field) is not None:
      write_checked(file, name, getattr(subject, field))


def read_fields(file: h5py.File) -> dict[str, Any]:
  """Fields of a `Subject` in a file without links, except its signals.

  Raises:
    UserError: a field is missing or has the wrong type.
  """
  if str(file.attrs.get("format")) != FORMAT:
    raise UserError(f"not an {FORMAT} file")
  version = _attribute(file, "version", int)
  if version != _VERSION:
    raise UserError(
      f"{FORMAT} version {version}; only version {_VERSION} is known"
    )
  acquisition = Acquisition(
    _read_sequence(file),
    window=_attribute(file["sequence"], "window", int),
    stride=_attribute(file["sequence"], "stride", int),
  )
  # The group may exist without true maps.
  others = {name.removeprefix("truth/") for name, _ in TRUE_FIELDS.values()}
  has_truth = "truth" in file and not set(file["truth"]) <= others
  return dict(
    subject=_attribute(file, "subject", str),
    mask=_values(file, "mask", np.bool_),
    affine=_values(file, "affine", np.float64),
    acquisition=acquisition,
    field_strength_t=_attribute(file, "field_strength_t", float),
    provenance=_attribute(file, "provenance", str),
    maps=_read_maps(file, "maps") if "maps" in file else None,
    truth=_read_maps(file, "truth") if has_truth else None,
    b1=_values(file, "b1", np.float32) if "b1" in file else None,
    **{
      field: _values(file, name, dtype)
      for field, (name, dtype) in TRUE_FIELDS.items()
      if name in file
    },
  )


def _read_sequence(file: h5py.File) -> Sequence:
  """The pulse sequence of a file, checked by `make_sequence`."""
  frames: dict[str, Any] = {}
  for name in FRAME_FIELDS:
    values = _values(file, f"sequence/{name}", np.float64)
    frames[name] = values
    if values.ndim != 1 or len(values) != len(frames[FRAME_FIELDS[0]]):
      raise UserError(
        f"sequence/{name} has shape {values.shape}, not one value a frame"
      )
  group = file["sequence"]
  settings = {
    name: _attribute(group, name, float)
    for name in (*PREPARATION_FIELDS, *PULSE_FIELDS)
    if name in group.attrs
  }
  balanced = "balanced" in group.attrs and _attribute(group, "balanced", int)
  return make_sequence(**frames, **settings, balanced=bool(balanced))


def _read_maps(file: h5py.File, name: str) -> Maps:
  """The maps in one group of a file."""
  return Maps(*(_values(file, f"{name}/{n}", np.float32) for n in MAP_NAMES))


def find_dataset(file: h5py.File, name: str, dtype: type) -> h5py.Dataset:
  """A dataset that exists and has the right type; its values are not read.

  Raises:
    UserError: it is missing, has another type, or claims more values than the
      file can hold.
  """
  dataset = file.get(name)
  if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
    raise UserError(f"{name} is missing")
  if dataset.dtype != np.dtype(dtype):
    raise UserError(f"{name} is {dataset.dtype}, not {np.dtype(dtype)}")
  check_dataset(dataset)
  return dataset


def _values(file: h5py.File, name: str, dtype: type) -> np.ndarray:
  """Values of a dataset, compared with their checksum."""
  dataset = find_dataset(file, name, dtype)
  values = dataset[()]
  check_unchanged(dataset, values)
  return values


def _attribute(group: h5py.Group, name: str, kind: type):
  """An attribute that is a text (str), a number (float) or a count (int)."""
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
