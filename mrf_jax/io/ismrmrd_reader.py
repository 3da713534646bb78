"""Reads the raw k-space of ISMRMRD files with h5py.

The package `ismrmrd` was looked at: it copies each acquisition header into a C
structure byte by byte, which is wrong where a writer pads it differently, and
allocates the sizes that a header claims. Here fields are found by name, and
lists that claim more than the file holds are an error.
"""

import dataclasses
import math
import os

import h5py
import numpy as np
from jaxtyping import Complex64, Float32, Float64, Int

from mrf_jax.checks import check_finite
from mrf_jax.errors import UserError
from mrf_jax.io.hdf5 import check_dataset, check_links, open_hdf5
from mrf_jax.io.ismrmrd_geometry import (
  ImageGrid,
  affine_of_slices,
  find_slices,
  image_grid,
)
from mrf_jax.io.ismrmrd_header import UNIT_PARAMETER, Encoding, Header
from mrf_jax.io.ismrmrd_selection import (
  has_images,
  image_acquisitions,
  noise_acquisitions,
  one_encoding,
)
from mrf_jax.io.ismrmrd_trajectory import trajectory_edges

# The sizes that acquisitions must have in common to be stored in one array.
_SIZES = ("active_channels", "trajectory_dimensions")
_COUNTS = (*_SIZES, "number_of_samples", "discard_pre", "discard_post")
# Counters of the header outside of `idx`, which tell the order in time.
_CLOCKS = ("acquisition_time_stamp", "scan_counter")
# Acquisitions whose variable-length fields are in memory at once.
_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class Partitions:
  """The encoding of a slab along z.

  Attributes:
    count: places along z.
    centre: number of the place in the centre.
    fov_mm: their field of view, mm; None if absent.
  """

  count: int
  centre: int
  fov_mm: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class RawData:
  """The acquisitions of one scan in the order of the file.

  Attributes:
    samples: k-space, [acquisition, coil, sample], arbitrary units.
    trajectory: k-space positions, [acquisition, sample, 2 or 3] (x, y, z), in
      the units of the file, or in cycles per voxel of the encoded space where
      `trajectory_unit` is known; None if not stored.
    fov_mm: field of view of the image (x, y, z) as the header has it, mm by
      the standard (KomaMRI writes metres); None if absent.
    matrix: voxels of the image (x, y, z) as the header has it; None if
      absent.
    slices: slice of each acquisition, from 0, in the order of their positions;
      in that of their numbers where the file has no positions.
    affine: voxel index (x, y, slice) of `grid` to RAS, [4, 4], mm; None if
      absent.
    vendor: maker of the scanner, or the simulator; None if absent.
    field_strength_t: main magnetic field, tesla; None if absent.
    grid: voxels of the images; None if the header has no matrix.
    trajectory_unit: unit that the file says its trajectory has; None if it
      says none (ISMRMRD sets none).
    counters: counters and time stamps of each acquisition by their names in
      the header; those of `idx.user` are user_0, user_1, …
    discarded: samples before and behind those of every acquisition; None if
      acquisitions differ.
    partitions: of a slab; None where the header has one voxel along z.
    sample_time_us: time from sample to sample; None if the headers have none,
      or several.
    notes: sentences on what was left out or is not as the header has it.
  """

  samples: Complex64[np.ndarray, "acquisition coil sample"]
  trajectory: Float32[np.ndarray, "acquisition sample dimension"] | None
  fov_mm: tuple[float, float, float] | None
  matrix: tuple[int, int, int] | None
  slices: Int[np.ndarray, "acquisition"]
  affine: Float64[np.ndarray, "4 4"] | None
  vendor: str | None
  field_strength_t: float | None
  grid: ImageGrid | None
  trajectory_unit: str | None
  counters: dict[str, Int[np.ndarray, "acquisition"]]
  discarded: tuple[int, int] | None
  partitions: Partitions | None
  sample_time_us: float | None
  notes: tuple[str, ...]


def load_raw_data(path: str | os.PathLike) -> RawData:
  """Reads the k-space of the images in an ISMRMRD file.

  Fields are found by their names in the compound type of `dataset/data`, so
  that the padding of the acquisition header, which differs between writers,
  does not matter. Samples that the header marks to be discarded are left out,
  and so are acquisitions that their flags call noise, navigators, dummies and
  the like, or that name another encoding than most.

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
    measurement, before = _measurement(file)
    header = Header(file, measurement)
    dataset, heads = _open_acquisitions(file, measurement)
    kept, notes = image_acquisitions(heads)
    notes = before + notes
    kept, encoding = one_encoding(heads, kept, header, notes)
    samples, trajectory = _read_acquisitions(dataset, heads, kept)
    heads = heads[kept]
    slices, grid = find_slices(heads), image_grid(encoding)
    notes += [*(grid.notes if grid else ()), *slices.notes]
    return RawData(
      samples=samples,
      trajectory=_in_cycles_per_voxel(trajectory, encoding, grid),
      fov_mm=encoding.fov_mm,
      matrix=encoding.matrix,
      slices=slices.numbers,
      affine=affine_of_slices(heads, slices, grid),
      vendor=header.vendor,
      field_strength_t=header.field_strength_t,
      grid=grid,
      trajectory_unit=encoding.trajectory_unit,
      counters=_counters(heads),
      discarded=_discarded(heads),
      partitions=_partitions(encoding),
      sample_time_us=_sample_time_us(heads),
      notes=tuple(notes),
    )


def load_noise(
  path: str | os.PathLike,
) -> Complex64[np.ndarray, "coil noise_sample"] | None:
  """Reads the samples that are flagged as noise, of all measurements in a file.

  Returns:
    The samples; None if no acquisition is flagged.

  Raises:
    UserError: there is no such file, it is not a sound ISMRMRD file, or an
      acquisition of noise has other coils than the others, or values that are
      not finite.
  """
  parts: list[np.ndarray] = []
  with open_hdf5(path, limited=True) as file:
    check_links(file)
    for measurement in _measurements(file):
      dataset, heads = _open_acquisitions(file, measurement)
      for index in noise_acquisitions(heads):
        values = dataset.fields(["data"])[index]["data"]
        sizes = (
          int(heads["active_channels"][index]),
          int(heads["number_of_samples"][index]),
          2,
        )
        values = _shaped(index, "data", values, sizes, "coils × samples × 2")
        check_finite(f"noise acquisition {index}: data", values)
        if parts and len(values) != len(parts[0]):
          raise UserError(
            f"noise acquisition {index}: {len(values)} coils, but "
            f"{len(parts[0])} in others"
          )
        parts.append(np.ascontiguousarray(values).view(np.complex64)[..., 0])
  return np.concatenate(parts, 1) if parts else None


def _measurements(file: h5py.File) -> list[str]:
  """Names of the groups that hold acquisitions; `dataset` if none does."""
  names = [
    name
    for name in file
    if isinstance(file[name], h5py.Group)
    and isinstance(file[name].get("data"), h5py.Dataset)
    and {"head", "traj", "data"} <= set(file[name]["data"].dtype.names or ())
  ]
  return names or ["dataset"]


def _measurement(file: h5py.File) -> tuple[str, list[str]]:
  """Name of the group to read, and a sentence on others that it is not.

  Converters write each measurement of a file to a group of its own (dataset,
  dataset_1, …), among them those of noise alone.
  """
  names = _measurements(file)
  if len(names) < 2:
    return names[0], []
  images = [
    name for name in names if has_images(_open_acquisitions(file, name)[1])
  ]
  if len(images) != 1:
    raise UserError(
      f"{len(images)} measurements with acquisitions of images "
      f"({', '.join(images or names)}); store the one to read in a file of its "
      "own"
    )
  return images[0], [
    f"{images[0]} is read, the only measurement of {len(names)} with images"
  ]


def _open_acquisitions(
  file: h5py.File, measurement: str
) -> tuple[h5py.Dataset, np.ndarray]:
  """The dataset of all acquisitions, and their headers."""
  dataset = file.get(f"{measurement}/data")
  if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1:
    raise UserError("no acquisitions in dataset/data")
  check_dataset(dataset)
  _check_fields(dataset.dtype)
  return dataset, _heads(dataset)


def _heads(dataset: h5py.Dataset) -> np.ndarray:
  """The headers of all acquisitions.

  Reading the field alone, HDF5 reads the samples beside it, too, and never
  frees them: as much memory as the scan has, at each time. Chunks hold headers
  as they are, and their samples elsewhere in the file.
  """
  whole = dataset.id.get_type()
  number = whole.get_member_index(b"head")
  dtype = whole.get_member_type(number).dtype
  first = whole.get_member_offset(number)
  is_plain = dataset.id.get_create_plist().get_nfilters() == 0
  if not dataset.chunks or not is_plain:
    return _heads_of_rows(dataset)
  heads = np.empty(len(dataset), dtype)
  n_rows, size = dataset.chunks[0], whole.get_size()
  for start in range(0, len(dataset), n_rows):
    try:
      _, chunk = dataset.id.read_direct_chunk((start,))
    # It was never written.
    except RuntimeError:
      return _heads_of_rows(dataset)
    rows = np.frombuffer(chunk, np.uint8).reshape(-1, size)
    rows = rows[: len(dataset) - start, first : first + dtype.itemsize]
    heads[start : start + n_rows] = np.ascontiguousarray(rows).view(dtype)[:, 0]
  return heads


def _heads_of_rows(dataset: h5py.Dataset) -> np.ndarray:
  """The headers of all acquisitions, which are read with their samples."""
  blocks = range(0, len(dataset), _BLOCK)
  parts = [dataset[start : start + _BLOCK]["head"] for start in blocks]
  return np.concatenate([np.empty(0, dataset.dtype["head"]), *parts])


def _read_acquisitions(
  dataset: h5py.Dataset, heads: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
  """Samples and trajectory (or None) of some acquisitions."""
  n_coils, n_dimensions = _common_sizes(heads, kept)
  counts = {name: heads[name].astype(int) for name in _COUNTS[2:]}
  samples, trajectories = None, None
  rank = {int(index): row for row, index in enumerate(kept)}
  for start in range(0, len(dataset), _BLOCK):
    block = dataset.fields(["traj", "data"])[start : start + _BLOCK]
    for index, (positions, values) in enumerate(block, start):
      if index not in rank:
        continue
      n_samples = counts["number_of_samples"][index]
      used = slice(
        counts["discard_pre"][index], n_samples - counts["discard_post"][index]
      )
      values = _shaped(
        index, "data", values, (n_coils, n_samples, 2), "coils × samples × 2"
      )[:, used]
      positions = _shaped(
        index,
        "trajectory",
        positions,
        (n_samples, n_dimensions),
        "samples × dimensions",
      )[used]
      check_finite(f"acquisition {index}: data", values)
      check_finite(f"acquisition {index}: trajectory", positions)
      # Allocated only after the data have the sizes that the headers claim.
      if samples is None or trajectories is None:
        samples = np.empty((len(kept), *values.shape[:2]), np.complex64)
        trajectories = np.empty((len(kept), *positions.shape), np.float32)
      values = np.ascontiguousarray(values)
      samples[rank[index]] = values.view(np.complex64)[..., 0]
      trajectories[rank[index]] = positions
  assert samples is not None and trajectories is not None
  return samples, trajectories if n_dimensions else None


def _common_sizes(heads: np.ndarray, kept: np.ndarray) -> tuple[int, int]:
  """Coils and dimensions of all kept acquisitions, which must be equal.

  So must be the number of samples that are not to be discarded.
  """
  counts = {name: heads[name][kept].astype(int) for name in _COUNTS}
  left = counts["number_of_samples"] - (
    counts["discard_pre"] + counts["discard_post"]
  )
  what = {name: counts[name] for name in _SIZES}
  what["number_of_samples"] = left
  for name, values in what.items():
    if np.any(values != values[0]):
      other = np.argmax(values != values[0])
      discarded = "" if name in _SIZES else " without those to discard"
      raise UserError(
        f"acquisition {kept[other]}: {name} is {values[other]}{discarded}, but "
        f"{values[0]} in acquisition {kept[0]}"
      )
  n_coils, n_dimensions = (int(counts[name][0]) for name in _SIZES)
  if n_dimensions not in (0, 2, 3):
    raise UserError(
      f"acquisition {kept[0]}: the trajectory has {n_dimensions} dimensions, "
      "not 0, 2 or 3"
    )
  if not n_coils or left[0] <= 0:
    raise UserError(
      f"acquisition {kept[0]}: nothing is left of {n_coils} coils and "
      f"{counts['number_of_samples'][0]} samples, {counts['discard_pre'][0]} + "
      f"{counts['discard_post'][0]} of them to discard"
    )
  return n_coils, n_dimensions


def _counters(heads: np.ndarray) -> dict[str, np.ndarray]:
  """Counters and time stamps of the headers, by name."""
  names = heads.dtype.names or ()
  stored = {name: heads[name] for name in _CLOCKS if name in names}
  if "idx" in names:
    for name in heads.dtype["idx"].names or ():
      values = heads["idx"][name]
      if values.ndim == 2:
        for number in range(values.shape[1]):
          stored[f"{name}_{number}"] = values[:, number]
      else:
        stored[name] = values
  return {
    name: values.astype(np.int64)
    for name, values in stored.items()
    if values.ndim == 1 and values.dtype.kind in "iu"
  }


def _discarded(heads: np.ndarray) -> tuple[int, int] | None:
  """Samples to discard before and behind the others, if all agree."""
  rows = np.stack([heads["discard_pre"], heads["discard_post"]])
  known = np.unique(rows, axis=1)
  return (int(known[0, 0]), int(known[1, 0])) if known.shape[1] == 1 else None


def _partitions(encoding: Encoding) -> Partitions | None:
  """The encoding along z, if the header has several voxels there."""
  matrix = encoding.encoded_matrix or encoding.matrix
  if matrix is None or matrix[2] < 2:
    return None
  fov_mm = encoding.encoded_fov_mm or encoding.fov_mm
  centre = encoding.centre_z
  return Partitions(
    matrix[2],
    # Limits that were not filled in have a centre of 0.
    centre or matrix[2] // 2,
    None if fov_mm is None else fov_mm[2],
  )


def _sample_time_us(heads: np.ndarray) -> float | None:
  """Time from sample to sample, if it is one and above 0."""
  if "sample_time_us" not in (heads.dtype.names or ()):
    return None
  times = np.unique(heads["sample_time_us"])
  time_us = float(times[0])
  return time_us if len(times) == 1 and 0 < time_us < math.inf else None


def _in_cycles_per_voxel(
  trajectory: np.ndarray | None, encoding: Encoding, grid: ImageGrid | None
) -> np.ndarray | None:
  """The trajectory, converted if the file says its unit."""
  unit = encoding.trajectory_unit
  if trajectory is None or unit is None or grid is None:
    return trajectory
  edges = trajectory_edges(grid.encoded_matrix, grid.encoded_voxel_mm)
  if unit not in edges:
    raise UserError(
      f"dataset/xml: {UNIT_PARAMETER} is {unit!r}, which is not one of "
      + ", ".join(edges)
    )
  trajectory[..., :2] *= (0.5 / edges[unit]).astype(np.float32)
  return trajectory


def _check_fields(dtype: np.dtype) -> None:
  """Checks that the fields to read exist and have their types."""
  names = dtype.names or ()
  for name in ("head", "traj", "data"):
    if name not in names:
      raise UserError(f"dataset/data has no field {name}")
  for name in ("traj", "data"):
    if h5py.check_vlen_dtype(dtype[name]) != np.float32:
      raise UserError(f"field {name} of dataset/data holds no float32 lists")
  for name in ("flags", *_COUNTS):
    if name not in (dtype["head"].names or ()):
      raise UserError(f"the headers in dataset/data have no field {name}")
    if dtype["head"][name].kind != "u":
      raise UserError(f"header field {name} of dataset/data is not a count")


def _shaped(
  index: int, name: str, values, shape: tuple[int, ...], meaning: str
) -> np.ndarray:
  """Values of one acquisition in their shape, all of them."""
  values = np.ascontiguousarray(values, np.float32)
  if values.size != math.prod(shape):
    raise UserError(
      f"acquisition {index}: {values.size} values of {name}, but "
      f"{meaning} = {' × '.join(map(str, shape))}"
    )
  return values.reshape(shape)
