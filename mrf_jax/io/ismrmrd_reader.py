"""Reads the raw k-space of ISMRMRD files with h5py.

The package `ismrmrd` was looked at: it copies each acquisition header into a C
structure byte by byte, which is wrong where a writer pads it differently, and
allocates the sizes that a header claims. Here fields are found by name, and
lists that claim more than the file holds are an error.
"""

import dataclasses
import math
import os
from xml.etree import ElementTree

import h5py
import numpy as np
from jaxtyping import Complex64, Float32, Float64, Int

from mrf_jax.checks import check_finite
from mrf_jax.errors import UserError
from mrf_jax.io.hdf5 import check_dataset, check_links, open_hdf5
from mrf_jax.io.ismrmrd_geometry import affine_of_slices, slice_numbers

# ISMRMRD numbers its flags from 1: ACQ_IS_NOISE_MEASUREMENT is flag 19.
_NOISE_FLAG = 1 << 18
# The sizes of an acquisition, which must be equal to store all in one array.
_SIZES = (
  "active_channels",
  "number_of_samples",
  "trajectory_dimensions",
  "discard_pre",
  "discard_post",
)
# Acquisitions whose variable-length fields are in memory at once.
_BLOCK = 256
_NAMESPACE = "{http://www.ismrm.org/ISMRMRD}"


@dataclasses.dataclass(frozen=True, eq=False)
class RawData:
  """The acquisitions of one scan in the order of the file.

  Attributes:
    samples: k-space, [acquisition, coil, sample], arbitrary units.
    trajectory: k-space positions in the units of the file (ISMRMRD sets
      none), [acquisition, sample, 2 or 3] (x, y, z); None if not stored.
    fov_mm: field of view of the image (x, y, z) as the header has it, mm by
      the standard (KomaMRI writes metres); None if absent.
    matrix: voxels of the image (x, y, z) as the header has it; None if
      absent.
    slices: slice number of each acquisition; 0 if absent.
    affine: voxel index (x, y, slice) to RAS, [4, 4], mm; None if absent.
    vendor: maker of the scanner, or the simulator; None if absent.
    field_strength_t: main magnetic field, tesla; None if absent.
  """

  samples: Complex64[np.ndarray, "acquisition coil sample"]
  trajectory: Float32[np.ndarray, "acquisition sample dimension"] | None
  fov_mm: tuple[float, float, float] | None
  matrix: tuple[int, int, int] | None
  slices: Int[np.ndarray, "acquisition"]
  affine: Float64[np.ndarray, "4 4"] | None
  vendor: str | None
  field_strength_t: float | None


def load_raw_data(path: str | os.PathLike) -> RawData:
  """Reads the k-space of an ISMRMRD file, without its noise measurements.

  Fields are found by their names in the compound type of `dataset/data`, so
  that the padding of the acquisition header, which differs between writers,
  does not matter. Samples that the header marks to be discarded are left out.

  Args:
    path: the HDF5 file (Inati 2017, the ISMRM raw data format).

  Returns:
    The acquisitions, which must all be of one size.

  Raises:
    UserError: there is no such file, or it is not a sound ISMRMRD file. If an
      acquisition is wrong, the error names it, counted from 0 in the file.
  """
  with open_hdf5(path, limited=True) as file:
    check_links(file)
    header = _read_header(file)
    samples, trajectory, heads = _read_acquisitions(file)
    affine = affine_of_slices(
      heads, fov_mm=header["fov_mm"], matrix=header["matrix"]
    )
  return RawData(
    samples=samples,
    trajectory=trajectory,
    slices=slice_numbers(heads),
    affine=affine,
    **header,
  )


def _read_acquisitions(file: h5py.File):
  """Samples, trajectory (or None) and headers of all but noise acquisitions."""
  dataset = file.get("dataset/data")
  if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1:
    raise UserError("no acquisitions in dataset/data")
  check_dataset(dataset)
  _check_fields(dataset.dtype)
  heads = dataset.fields("head")[()]
  kept = np.flatnonzero(heads["flags"] & np.uint64(_NOISE_FLAG) == 0)
  if not kept.size:
    raise UserError("no acquisitions in dataset/data, noise left out")
  n_coils, n_samples, n_dimensions, pre, post = _common_sizes(heads, kept)
  samples, trajectories = None, None
  rank = {int(index): row for row, index in enumerate(kept)}
  for start in range(0, len(dataset), _BLOCK):
    block = dataset.fields(["traj", "data"])[start : start + _BLOCK]
    for index, (positions, values) in enumerate(block, start):
      if index not in rank:
        continue
      values = _checked(
        index, "data", values, (n_coils, n_samples, 2), "coils × samples × 2"
      )
      positions = _checked(
        index,
        "trajectory",
        positions,
        (n_samples, n_dimensions),
        "samples × dimensions",
      )
      # Allocated only after the data have the sizes that the headers claim.
      if samples is None or trajectories is None:
        samples = np.empty((len(kept), *values.shape[:2]), np.complex64)
        trajectories = np.empty((len(kept), *positions.shape), np.float32)
      samples[rank[index]] = values.view(np.complex64)[..., 0]
      trajectories[rank[index]] = positions
  assert samples is not None and trajectories is not None
  used = slice(pre, n_samples - post)
  trajectory = trajectories[:, used] if n_dimensions else None
  return samples[..., used], trajectory, heads[kept]


def _common_sizes(heads: np.ndarray, kept: np.ndarray) -> tuple[int, ...]:
  """The `_SIZES` of all kept acquisitions, which must be equal."""
  first = {name: int(heads[name][kept[0]]) for name in _SIZES}
  for name in _SIZES:
    other = kept[heads[name][kept] != first[name]]
    if other.size:
      raise UserError(
        f"acquisition {other[0]}: {name} is {heads[name][other[0]]}, but "
        f"{first[name]} in acquisition {kept[0]}"
      )
  n_coils, n_samples, n_dimensions, pre, post = first.values()
  if n_dimensions not in (0, 2, 3):
    raise UserError(
      f"acquisition {kept[0]}: the trajectory has {n_dimensions} dimensions, "
      "not 0, 2 or 3"
    )
  if not n_coils or pre + post >= n_samples:
    raise UserError(
      f"acquisition {kept[0]}: nothing is left of {n_coils} coils and "
      f"{n_samples} samples, {pre} + {post} of them to discard"
    )
  return tuple(first.values())


def _check_fields(dtype: np.dtype) -> None:
  """Checks that the fields to read exist and have their types."""
  names = dtype.names or ()
  for name in ("head", "traj", "data"):
    if name not in names:
      raise UserError(f"dataset/data has no field {name}")
  for name in ("traj", "data"):
    if h5py.check_vlen_dtype(dtype[name]) != np.float32:
      raise UserError(f"field {name} of dataset/data holds no float32 lists")
  for name in ("flags", *_SIZES):
    if name not in (dtype["head"].names or ()):
      raise UserError(f"the headers in dataset/data have no field {name}")
    if dtype["head"][name].kind != "u":
      raise UserError(f"header field {name} of dataset/data is not a count")


def _checked(
  index: int, name: str, values, shape: tuple[int, ...], meaning: str
) -> np.ndarray:
  """Values of one acquisition in their shape, complete and finite."""
  values = np.ascontiguousarray(values, np.float32)
  if values.size != math.prod(shape):
    raise UserError(
      f"acquisition {index}: {values.size} values of {name}, but "
      f"{meaning} = {' × '.join(map(str, shape))}"
    )
  values = values.reshape(shape)
  check_finite(f"acquisition {index}: {name}", values)
  return values


def _read_header(file: h5py.File) -> dict:
  """The fields of `RawData` in the XML header, None where absent."""
  absent = ("fov_mm", "matrix", "vendor", "field_strength_t")
  if not isinstance(file.get("dataset/xml"), h5py.Dataset):
    return dict.fromkeys(absent)
  check_dataset(file["dataset/xml"])
  stored = np.ravel(file["dataset/xml"][()])
  if stored.size != 1 or not isinstance(stored[0], bytes):
    raise UserError("dataset/xml is not one text")
  try:
    text = stored[0].decode("utf-8")
    # A DOCTYPE can define entities, which can grow without bound.
    if "<!DOCTYPE" in text.upper():
      raise UserError("dataset/xml has a DOCTYPE, which is not read")
    root = ElementTree.fromstring(text)
  except (UnicodeDecodeError, ElementTree.ParseError) as error:
    raise UserError(f"dataset/xml is not sound XML ({error})") from error
  space = "encoding/reconSpace"
  system = "acquisitionSystemInformation"
  field_t = _numbers(root, system, ["systemFieldStrength_T"], float)
  vendor = root.findtext(_tags(f"{system}/systemVendor"))
  return {
    "fov_mm": _numbers(root, f"{space}/fieldOfView_mm", "xyz", float),
    "matrix": _numbers(root, f"{space}/matrixSize", "xyz", int),
    "vendor": vendor.strip() if vendor else None,
    "field_strength_t": field_t and field_t[0],
  }


def _numbers(root: ElementTree.Element, parent: str, names, kind: type):
  """Positive numbers below an element; None where one is absent."""
  texts = [root.findtext(_tags(f"{parent}/{name}")) for name in names]
  if any(text is None for text in texts):
    return None
  try:
    numbers = tuple(kind(text) for text in texts)
  except ValueError:
    numbers = ()
  if not numbers or not all(0 < number < math.inf for number in numbers):
    shown = ", ".join(repr(text) for text in texts)
    raise UserError(f"dataset/xml: {parent} is {shown}")
  return numbers


def _tags(path: str) -> str:
  """A path of the header's elements with their namespace."""
  return "/".join(_NAMESPACE + tag for tag in path.split("/"))
