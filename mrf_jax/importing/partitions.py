"""Stacks of trajectories: a Fourier transform along z makes slices of them."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64, Int

from mrf_jax.errors import UserError
from mrf_jax.importing.frames import COUNTERS, PLACES
from mrf_jax.io.ismrmrd_reader import RawData

_PARTITION = "kspace_encode_step_2"
# Counters that tell acquisitions of one partition apart, and those that are
# looked at if they do not suffice.
_COUNTERS = tuple(
  name for name in (*COUNTERS, *PLACES) if name not in (_PARTITION, "slice")
)
_OWN = tuple(name for name in _COUNTERS if name.startswith("user_"))
# Share of the partitions that a volume needs.
_LEAST = 0.5
# Trajectories of the partitions of a stack differ by less, relative to their
# largest position.
_SAME = 1e-3


def with_slices(
  raw: RawData, *, path: str, frame: str | None = None
) -> tuple[RawData, list[str]]:
  """Raw data whose partitions are slices; the same if there are none.

  Args:
    raw: the acquisitions.
    path: of the file, for errors.
    frame: what counts the frames, see `frames_of_slices`: not partitions, if it
      names their counter.

  Returns:
    The data, and sentences on what was done.

  Raises:
    UserError: there are several slabs, many partitions or the centre of k-space
      are missing, or they have trajectories of their own.
  """
  steps = raw.counters.get(_PARTITION)
  # Files of slices may count them, or their frames, so.
  if steps is None or raw.partitions is None or _PARTITION in (frame or ""):
    return raw, []
  slices = raw.slices
  if all(np.ptp(steps[slices == k]) == 0 for k in np.unique(slices)):
    return raw, []
  if slices.max() > 0:
    raise UserError(
      f"{path}: {_PARTITION} counts partitions of several slabs; store each "
      "slab in a file of its own"
    )
  assert raw.grid is not None
  table = _table(raw, steps, path)
  _check_trajectory(raw, table, path)
  n_slices, thickness_mm = _slices_of(raw)
  samples = _transformed(raw, table, n_slices)
  n_groups = len(table)
  first = table.max(1)  # an acquisition of each group
  every = np.repeat(first, n_slices)
  counters = {name: values[every] for name, values in raw.counters.items()}
  counters[_PARTITION] = np.zeros(len(every), np.int64)
  counters |= _earliest(raw, table, n_slices)
  grid = raw.grid
  voxel_mm = None
  if grid.voxel_mm is not None and thickness_mm is not None:
    voxel_mm = (*grid.voxel_mm[:2], thickness_mm)
  said = [f"{table.shape[1]} partitions are transformed to {n_slices} slices"]
  n_missing = int(np.count_nonzero(table < 0))
  if n_missing:
    said[0] += (
      f"; {n_missing:,} of {table.size:,} are missing and are taken to be 0"
    )
  return dataclasses.replace(
    raw,
    samples=samples,
    trajectory=None if raw.trajectory is None else raw.trajectory[every, :, :2],
    slices=np.tile(np.arange(n_slices), n_groups),
    counters=counters,
    affine=_affine(raw, n_slices, thickness_mm),
    grid=dataclasses.replace(
      grid, matrix=(*grid.matrix[:2], n_slices), voxel_mm=voxel_mm
    ),
    partitions=None,
  ), said


def _table(
  raw: RawData, steps: Int[np.ndarray, "acquisition"], path: str
) -> Int[np.ndarray, "group partition"]:
  """The acquisition of each partition, -1 where it is missing.

  Those of a group differ by their partition alone.
  """
  assert raw.partitions is not None
  n_partitions = raw.partitions.count
  if steps.min() < 0 or steps.max() >= n_partitions:
    raise UserError(
      f"{path}: {_PARTITION} goes from {steps.min()} to {steps.max()}, but the "
      f"header has {n_partitions} voxels along z"
    )
  known = [
    name
    for name in _COUNTERS
    if name in raw.counters and not _follows(raw.counters[name], steps)
  ]
  for names in ([name for name in known if name not in _OWN], known):
    rows = np.stack([np.zeros_like(steps), *(raw.counters[n] for n in names)])
    groups = np.unique(rows, axis=1, return_inverse=True)[1].ravel()
    pairs = np.unique(np.stack([groups, steps]), axis=1)
    if pairs.shape[1] == len(steps):
      break
  else:
    raise UserError(
      f"{path}: several acquisitions of one partition that no counter tells "
      "apart"
    )
  table = np.full((groups.max() + 1, n_partitions), -1)
  table[groups, steps] = np.arange(len(steps))
  _check_missing(table >= 0, raw.partitions.centre, path)
  # In the order of the file.
  first = np.where(table < 0, len(steps), table).min(1)
  return table[np.argsort(first, kind="stable")]


def _follows(
  values: Int[np.ndarray, "acquisition"],
  steps: Int[np.ndarray, "acquisition"],
) -> bool:
  """Whether a counter changes, and its value is that of the partition."""
  pairs = np.unique(np.stack([steps, values]), axis=1)
  return bool(np.ptp(values)) and pairs.shape[1] == len(np.unique(steps))


def _check_missing(
  there: Bool[np.ndarray, "group partition"], centre: int, path: str
) -> None:
  """Raises `UserError` unless only an end of the partitions is missing.

  Others that are taken to be 0 make ghosts of the slices.
  """
  n_partitions = there.shape[1]
  counts = np.count_nonzero(there, axis=1)
  if counts.min() < _LEAST * n_partitions:
    raise UserError(
      f"{path}: {counts.min()} of {n_partitions} partitions are there of some "
      f"frames; {int(np.ceil(_LEAST * n_partitions))} are needed"
    )
  first = there.argmax(1)
  last = n_partitions - 1 - there[:, ::-1].argmax(1)
  has_gaps = last - first + 1 > counts
  if np.any(has_gaps | (first > centre) | (last < centre)):
    raise UserError(
      f"{path}: partitions are missing between others, or in the centre "
      f"({centre}); only scans without the first or the last ones are read"
    )


def _check_trajectory(raw: RawData, table: np.ndarray, path: str) -> None:
  """Raises `UserError` if partitions have trajectories of their own."""
  if raw.trajectory is None:
    return
  plane = raw.trajectory[..., :2]
  largest = float(np.abs(plane).max())
  first = table.max(1)
  for acquisitions in table.T:
    there = acquisitions >= 0
    apart = np.abs(plane[acquisitions[there]] - plane[first[there]])
    if apart.size and apart.max() > _SAME * largest:
      raise UserError(
        f"{path}: partitions of one frame have trajectories of their own; "
        "stacks of one trajectory are read"
      )


def _slices_of(raw: RawData) -> tuple[int, float | None]:
  """Number of the slices, and their thickness, mm; None if it is not known.

  Those of the field of view of the reconstruction; oversampled ones are cut.
  """
  assert raw.partitions is not None
  count, encoded_mm = raw.partitions.count, raw.partitions.fov_mm
  if encoded_mm is None:
    return count, None
  thickness_mm = encoded_mm / count
  if raw.fov_mm is None:
    return count, thickness_mm
  wanted = round(raw.fov_mm[2] / thickness_mm)
  return min(max(1, wanted), count), thickness_mm


def _transformed(raw: RawData, table: np.ndarray, n_slices: int) -> np.ndarray:
  """Samples of the slices, [group × slice, coil, sample]."""
  assert raw.partitions is not None
  n_partitions, centre = raw.partitions.count, raw.partitions.centre
  n_coils, n_samples = raw.samples.shape[1:]
  out = np.empty((len(table), n_slices, n_coils, n_samples), np.complex64)
  # Slice n // 2 is the centre, of the volume and of what is left of it.
  start = n_partitions // 2 - n_slices // 2
  for group, acquisitions in enumerate(table):
    there = np.flatnonzero(acquisitions >= 0)
    k_space = np.zeros((n_partitions, n_coils, n_samples), np.complex64)
    k_space[(there - centre) % n_partitions] = raw.samples[acquisitions[there]]
    volume = np.fft.fftshift(np.fft.ifft(k_space, axis=0), axes=0)
    out[group] = volume[start : start + n_slices]
  return out.reshape(-1, n_coils, n_samples)


def _earliest(
  raw: RawData, table: np.ndarray, n_slices: int
) -> dict[str, np.ndarray]:
  """Time stamps of the groups: those of their first partitions in time."""
  earliest: dict[str, np.ndarray] = {}
  for name in ("acquisition_time_stamp", "scan_counter"):
    if name in raw.counters:
      values = raw.counters[name]
      latest = values.max()
      own = np.where(table >= 0, values[table], latest).min(1)
      earliest[name] = np.repeat(own, n_slices)
  return earliest


def _affine(
  raw: RawData, n_slices: int, thickness_mm: float | None
) -> Float64[np.ndarray, "4 4"] | None:
  """The affine of the slices of a slab, whose position is its centre."""
  if raw.affine is None or thickness_mm is None:
    return None
  affine = raw.affine.copy()
  affine[:3, 2] *= thickness_mm / np.linalg.norm(affine[:3, 2])
  affine[:3, 3] -= affine[:3, 2] * (n_slices // 2)
  return affine
