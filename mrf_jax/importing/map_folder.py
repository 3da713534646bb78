"""T1, T2 and PD of a whole head, from the NIfTI files of a folder.

They are on a grid of their own, the same for all: a simulation scans them.
"""

import dataclasses
import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Mapping

import nibabel
import numpy as np
from jaxtyping import Bool, Float32, Float64

from mrf_jax.errors import UserError
from mrf_jax.importing.plausible import check_times, check_voxels
from mrf_jax.importing.scan import check_different_maps
from mrf_jax.importing.volumes import Volume, read_single
from mrf_jax.io.bids_folder import SUFFIXES
from mrf_jax.io.nifti import Place, same_places
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.units import check_b1, to_ms

# Names of the files without their endings: ours, whose times are in ms, and the
# last parts of those of BIDS, whose times are in s.
_OURS = {"pd": "pd", "t1_ms": "t1", "t2_ms": "t2"}
_BIDS = {
  "pd": (SUFFIXES["pd"], "M0map"),
  "t1_ms": (SUFFIXES["t1_ms"],),
  "t2_ms": (SUFFIXES["t2_ms"],),
}
_B1 = "b1"
_ENDINGS = (".nii.gz", ".nii")
# Values of T1 and PD whose magnitude is below this share of the largest (of
# their 99th percentile) are a background of 0 that was interpolated.
_NEXT_TO_0 = 1e-3
# T2 may be longer than T1 by what rounding makes of equal ones.
_ROUNDED = 1.01
# Median PD of simulated MNI152 heads, in which CSF has about 1.
_MEDIAN_PD = 0.8
# Files of other names that a message lists.
_LISTED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class HeadMaps:
  """Maps of a head on a grid of their own.

  Attributes:
    folder: where they were read from.
    affine: voxel (i, j, k) to RAS, [4, 4], mm.
    mask: voxels that have a T1 and PD, [i, j, k].
    maps: of the masked voxels in C order, [voxel]; PD relative to water.
    b1: factor on the flip angles, [voxel], or None.
    notes: sentences on what was assumed.
    made_by: what they are, in words, if they were not read from a folder.
    anchor_mm: `centre_mm` of maps of some slices only, RAS mm, or None.
  """

  folder: str
  affine: Float64[np.ndarray, "4 4"]
  mask: Bool[np.ndarray, "i j k"]
  maps: Maps
  b1: Float32[np.ndarray, "voxel"] | None = None
  notes: tuple[str, ...] = ()
  made_by: str | None = None
  anchor_mm: Float64[np.ndarray, "3"] | None = None

  @property
  def origin(self) -> str:
    """What they are, in words, with the checksum of their content."""
    names = "T1, T2 and PD" if self.b1 is None else "T1, T2, PD and B1"
    origin = self.made_by or f"the {names} maps in {self.name}"
    return f"{origin} (content {self.digest})"

  @property
  def name(self) -> str:
    """Name of the folder, without the folders that it is in."""
    return pathlib.Path(os.path.abspath(self.folder)).name

  @functools.cached_property
  def places_mm(self) -> Float32[np.ndarray, "voxel 3"]:
    """Centres of the masked voxels, RAS mm."""
    index = np.argwhere(self.mask)
    return nibabel.affines.apply_affine(self.affine, index).astype(np.float32)

  @functools.cached_property
  def centre_mm(self) -> Float64[np.ndarray, "3"]:
    """The mean place of the masked voxels, or the anchor, RAS mm."""
    if self.anchor_mm is not None:
      return self.anchor_mm
    return self.places_mm.mean(0, dtype=np.float64)

  @functools.cached_property
  def digest(self) -> str:
    """Checksum of what a simulation takes of the maps, 16 hexadecimal digits.

    It is that of the values, not of files: packing them again leaves it.
    """
    sha = hashlib.sha256()
    parts = [self.affine, self.mask, self.maps.stack()]
    for part in parts if self.b1 is None else [*parts, self.b1]:
      sha.update(f"{part.dtype.str} {part.shape};".encode())
      sha.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()[:16]


def read_head_maps(folder: str | os.PathLike) -> HeadMaps:
  """Reads the maps of a head, and checks that they are plausible.

  The files are `t1`, `t2` and `pd`, and `b1` if there is one, with T1 and T2 in
  ms; or `*_T1map`, `*_T2map` and `*_PDmap` or `*_M0map` with T1 and T2 in s, as
  in BIDS, in the folder or in `anat` in it. All end in `.nii` or `.nii.gz`.

  The head is where T1 and PD are above 0; 0 or NaN is outside. PD may have any
  scale: it is divided such that its median is 0.8, as in a brain whose CSF has
  1. T2 that rounding made longer than T1 is T1.

  Args:
    folder: the folder.

  Raises:
    UserError: a map is missing, damaged or not of three axes, they are not on
      one grid, a value is negative or infinite, a voxel of the head has no T2,
      T2 is longer than T1, or the values are those of another unit, of another
      map, or all the same.
  """
  files = _find(folder)
  volumes, place = _read(files)
  notes = []
  if place.is_disputed:
    notes.append(
      f"{files['t1_ms']}: its qform lies elsewhere than its sform, which counts"
    )
  for name in MAP_NAMES:
    _check_range(files[name], volumes[name])
  check_different_maps(files, {name: volumes[name] for name in MAP_NAMES})
  mask = _is_above(volumes["t1_ms"]) & _is_above(volumes["pd"])
  if not mask.any():
    raise UserError(
      f"{files['t1_ms']}: no head: T1 and PD are above 0 in no voxel"
    )
  maps = Maps(*(volumes[name][mask] for name in MAP_NAMES))
  _check_each(files["t2_ms"], "T2", mask, maps.t2_ms)
  for name in ("t1_ms", "t2_ms"):
    _check_varies(files[name], getattr(maps, name))
  units = {name: "s" if _is_bids(files[name]) else "ms" for name in _OURS}
  scale = np.float32(_MEDIAN_PD / np.median(maps.pd))
  maps = dataclasses.replace(maps, pd=scale * maps.pd)
  paths = {name: files[name] for name in MAP_NAMES}
  notes += check_times(maps, units, paths=paths, with_flags=False)
  _check_order(files["t2_ms"], mask, maps)
  if np.ptp(maps.pd) == 0:
    notes.append(f"{files['pd']}: PD is the same in all voxels")
  b1 = None
  if _B1 in volumes:
    b1 = volumes[_B1][mask]
    _check_each(files[_B1], "B1", mask, b1)
    check_b1(f"{files[_B1]}: the median B1 in the head", b1)
  maps = dataclasses.replace(maps, t2_ms=np.minimum(maps.t2_ms, maps.t1_ms))
  return HeadMaps(os.fspath(folder), place.affine, mask, maps, b1, tuple(notes))


def _find(folder: str | os.PathLike) -> dict[str, pathlib.Path]:
  """Files of the maps, and of B1 if there is one."""
  root = pathlib.Path(folder)
  if not root.is_dir():
    what = "is not a folder" if root.exists() else "there is no such folder"
    raise UserError(f"{root}: {what}; it is to have t1, t2 and pd (NIfTI)")
  files = {}
  for name in (*MAP_NAMES, _B1):
    ours = _OURS.get(name, name)
    ends = tuple(f"_{suffix}" for suffix in _BIDS.get(name, ()))
    found = [
      path
      for part in (root, root / "anat")
      for path in sorted(part.glob("*"))
      if _stem(path) == ours or (_stem(path) or "").endswith(ends or ("\0",))
    ]
    if len(found) > 1:
      names = ", ".join(str(path.relative_to(root)) for path in found)
      raise UserError(f"{root}: {names} are several maps of {ours}; keep one")
    if found:
      files[name] = found[0]
    elif name != _B1:
      named = " or ".join([f"{ours}.nii.gz", *(f"*{e}.nii.gz" for e in ends)])
      raise UserError(
        f"{root}: there is no map of {ours}, {named}; {_listed(root)}"
      )
  return files


def _stem(path: pathlib.Path) -> str | None:
  """Name of a NIfTI file without its ending; None of others."""
  # Files of macOS beside others, `._t1.nii.gz`, have the same endings.
  if path.name.startswith("."):
    return None
  for ending in _ENDINGS:
    if path.name.endswith(ending):
      return path.name.removesuffix(ending)
  return None


def _is_bids(path: pathlib.Path) -> bool:
  return _stem(path) not in _OURS.values()


def _listed(root: pathlib.Path) -> str:
  """What a folder has."""
  names = sorted(p.name for p in root.iterdir() if not p.name.startswith("."))
  more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
  return (
    f"it has {', '.join(names[:_LISTED])}{more}" if names else "it is empty"
  )


def _read(
  files: Mapping[str, pathlib.Path],
) -> tuple[dict[str, Volume], Place]:
  """Volumes with times in ms, which have one grid, and the place of T1's."""
  read = {name: read_single(path) for name, path in files.items()}
  first, place = read["t1_ms"]
  if not place.code:
    raise UserError(
      f"{files['t1_ms']}: its axes have no directions (sform_code and "
      "qform_code are 0)"
    )
  try:
    check_voxels(place.affine)
  except UserError as error:
    raise UserError(f"{files['t1_ms']}: {error}") from error
  for name, (volume, other) in read.items():
    if volume.shape != first.shape:
      raise UserError(
        f"{files[name]}: shape {volume.shape}, but {files['t1_ms']} has "
        f"{first.shape}; the maps of a head need one grid"
      )
    if not same_places(first.shape, other.affine, place.affine):
      raise UserError(
        f"{files[name]}: its voxels lie elsewhere than those of "
        f"{files['t1_ms']} (another affine); the maps of a head need one grid"
      )
  volumes = {name: volume for name, (volume, _) in read.items()}
  for name in ("t1_ms", "t2_ms"):
    if _is_bids(files[name]):
      volumes[name] = to_ms(volumes[name], "s")
  return volumes, place


def _level(volume: Volume) -> float:
  """The greatest magnitude that is a background of 0, interpolated."""
  above = volume[volume > 0]
  return float(_NEXT_TO_0 * np.percentile(above, 99)) if above.size else 0.0


def _is_above(volume: Volume) -> Bool[np.ndarray, "i j k"]:
  """Voxels with a value above 0; NaN is none."""
  return volume > _level(volume)


def _check_range(path: pathlib.Path, volume: Volume) -> None:
  """Raises `UserError` for infinite and for negative values."""
  for words, bad in (
    ("infinite", np.isinf(volume)),
    ("negative", volume < -_level(volume)),
  ):
    if bad.any():
      place = tuple(np.argwhere(bad)[0].tolist())
      raise UserError(
        f"{path}: {np.count_nonzero(bad):,} values are {words}, the first is "
        f"{volume[place]:g} at voxel {list(place)}; outside of the head 0 or "
        "NaN is needed"
      )


def _check_each(
  path: pathlib.Path,
  what: str,
  mask: Bool[np.ndarray, "i j k"],
  values: Float32[np.ndarray, "voxel"],
) -> None:
  """Raises `UserError` if a voxel of the head has no value above 0."""
  bad = ~(values > 0) | np.isinf(values)
  if bad.any():
    raise UserError(
      f"{path}: {np.count_nonzero(bad):,} of {len(bad):,} voxels that have T1 "
      f"and PD have no {what} above 0, the first is {values[bad][0]:g} at "
      f"voxel {_first(mask, bad)}; outside of the head T1 or PD is to be 0"
    )


def _check_varies(
  path: pathlib.Path, times_ms: Float32[np.ndarray, "voxel"]
) -> None:
  """Raises `UserError` if a map has one value."""
  if len(times_ms) > 1 and np.ptp(times_ms) == 0:
    raise UserError(
      f"{path}: the same value, {times_ms[0]:g} ms, in all {len(times_ms):,} "
      "voxels of the head"
    )


def _check_order(
  path: pathlib.Path, mask: Bool[np.ndarray, "i j k"], maps: Maps
) -> None:
  """Raises `UserError` if T2 is longer than T1 by more than rounding."""
  bad = maps.t2_ms > _ROUNDED * maps.t1_ms
  if bad.any():
    raise UserError(
      f"{path}: T2 is longer than T1 in {np.count_nonzero(bad):,} of "
      f"{len(bad):,} voxels of the head, the first {maps.t2_ms[bad][0]:g} and "
      f"{maps.t1_ms[bad][0]:g} ms at voxel {_first(mask, bad)}; no tissue has "
      "that"
    )


def _first(
  mask: Bool[np.ndarray, "i j k"], bad: Bool[np.ndarray, "voxel"]
) -> list[int]:
  """Index of the first bad voxel of the masked ones."""
  return list(map(int, np.argwhere(mask)[int(np.argmax(bad))]))


def check_different_heads(heads: Mapping[str, str]) -> None:
  """Raises `UserError` if two folders have the same maps.

  What is learned from one head would be tested on itself in the other.

  Args:
    heads: folder to `HeadMaps.digest`.
  """
  for (one, digest), (other, its) in itertools.combinations(heads.items(), 2):
    if digest == its:
      raise UserError(f"{other}: has the maps of {one}; name each head once")
