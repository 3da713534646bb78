"""Import of a scan: its images, pulse sequence, maps and mask as a subject."""

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Complex64, Float32

from mrf_jax.dataset.mask import default_mask
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.importing.overlap import check_lies_on, check_mask
from mrf_jax.importing.places import Grid
from mrf_jax.importing.plausible import check_times, check_voxels
from mrf_jax.importing.raw import RawSeries
from mrf_jax.importing.series import Series
from mrf_jax.importing.volumes import read_map, read_mask
from mrf_jax.io.nifti import Place
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.units import to_ms

Images = RawSeries | Series
# Share of a mask without proton density that is more than noise.
_MUCH_WITHOUT_PD = 0.01
# Maps are one if they differ by less than this share.
_SAME = 1e-4


@dataclasses.dataclass(frozen=True)
class Imported:
  """An imported subject, and what was assumed or changed.

  Attributes:
    subject: the subject with its signals.
    assumptions: sentences for the user; the subject's provenance has them too.
  """

  subject: Subject
  assumptions: tuple[str, ...]


def import_scan(
  images: Images,
  place: Place,
  acquisition: Acquisition,
  *,
  name: str,
  field_strength_t: float,
  mask_path: str | os.PathLike | None = None,
  map_paths: Mapping[str, str | os.PathLike] | None = None,
  units: Mapping[str, str] | None = None,
  voxel_by_voxel: bool = False,
  leave_out_invalid: bool = False,
  align: bool = False,
  assumptions: Sequence[str] = (),
) -> Imported:
  """Makes a subject of its parts and checks that they are plausible.

  Args:
    images: series of images.
    place: where the voxels (x, y, slice) lie.
    acquisition: the pulse sequence and its sliding window.
    name: name of the subject.
    field_strength_t: main magnetic field, tesla.
    mask_path: NIfTI file; None for `default_mask`.
    map_paths: NIfTI files of the reference maps `pd`, `t1_ms` and `t2_ms`, all
      or none.
    units: units of `t1_ms` and `t2_ms` in the files, of `MAP_UNITS`. Default:
      ms.
    voxel_by_voxel: masks and maps have the scan's voxels, whatever their
      headers say of positions.
    leave_out_invalid: remove voxels from the mask whose T1 or T2 is not
      positive or whose maps are not finite, instead of raising an error.
    align: multiply fingerprints by a phase, see `align_phases`.
    assumptions: sentences on what was assumed before.

  Returns:
    The subject and what was assumed.

  Raises:
    UserError: there is not one image for each window, a file does not fit, or
      its values are not plausible.
  """
  assumptions = list(assumptions)
  acquisition.check_images(
    images.shape[3], f"{images.path}: {images.shape[3]} images"
  )
  try:
    check_voxels(place.affine)
  except UserError as error:
    raise UserError(
      f"{images.path}: {error}; --voxel_mm or --affine_from gives their size"
    ) from error
  if place.is_disputed:
    assumptions.append(
      f"{images.path}: its qform lies elsewhere than its sform, which counts"
    )
  grid = Grid(
    images.shape[:3], place.affine, place.code, images.path, voxel_by_voxel
  )
  magnitude = images.mean_magnitude()
  mask = _mask(mask_path, grid, magnitude, assumptions)
  maps = None
  if map_paths:
    stated = {*(units or {})}
    units = {"t1_ms": "ms", "t2_ms": "ms", **(units or {})}
    mask, maps = _read_maps(
      map_paths, units, grid, mask, magnitude, leave_out_invalid, assumptions
    )
    assumptions += check_times(maps, units, stated=stated, paths=map_paths)
  signals = images.signals(mask)
  if align:
    signals = align_phases(signals)
    assumptions.append(
      "every fingerprint is turned so that its largest part is real"
    )
  origin = f"imported from {images.path}"
  if images.simulated_by:
    # `Subject.is_simulated` looks for this first word.
    origin = f"simulated by {images.simulated_by}, {origin}"
  subject = Subject(
    subject=name,
    mask=mask,
    signals=signals,
    affine=place.affine,
    acquisition=acquisition,
    field_strength_t=field_strength_t,
    provenance="; ".join([origin, *assumptions]),
    maps=maps,
  )
  return Imported(subject, tuple(assumptions))


def _mask(
  path: str | os.PathLike | None,
  grid: Grid,
  magnitude: Float32[np.ndarray, "x y slice"],
  assumptions: list[str],
) -> Bool[np.ndarray, "slice y x"]:
  """Mask of a file, or the default one; adds to the assumptions."""
  if not magnitude.any():
    raise UserError(f"{grid.path}: all images are 0")
  try:
    bright = default_mask(magnitude)
  except UserError as error:
    raise UserError(f"{grid.path}: {error}") from error
  if path is None:
    n_voxels = np.count_nonzero(bright)
    assumptions.append(
      f"no mask: the largest bright object, {n_voxels:,} voxels"
    )
    return bright
  mask = read_mask(path, grid, assumptions)
  try:
    assumptions.append(check_mask(mask, magnitude, bright))
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  return mask


def _read_maps(
  paths: Mapping[str, str | os.PathLike],
  units: Mapping[str, str],
  grid: Grid,
  mask: Bool[np.ndarray, "slice y x"],
  magnitude: Float32[np.ndarray, "x y slice"],
  leave_out_invalid: bool,
  assumptions: list[str],
) -> tuple[Bool[np.ndarray, "slice y x"], Maps]:
  """The mask, which may lose voxels, and its reference maps in ms."""
  missing = [name for name in MAP_NAMES if name not in paths]
  if missing:
    raise UserError(
      f"maps: {', '.join(missing)} missing; all three maps or none are needed"
    )
  volumes = {}
  for name in MAP_NAMES:
    volume = read_map(paths[name], grid, assumptions)
    if name in units:
      volume = to_ms(volume, units[name])
    volumes[name] = volume.transpose(2, 1, 0)
  check_different_maps(paths, volumes)
  _check_maps_place(paths["t1_ms"], volumes["t1_ms"], magnitude)
  for name, volume in volumes.items():
    low = 0.0 if name != "pd" else -np.inf
    bad = mask & ~(np.isfinite(volume) & (volume > low))
    n_bad, n_voxels = np.count_nonzero(bad), np.count_nonzero(mask)
    if not n_bad:
      continue
    problem = f"{n_bad:,} of {n_voxels:,} masked voxels have no valid {name}"
    if not leave_out_invalid:
      first = np.argwhere(bad)[0][::-1].tolist()
      raise UserError(
        f"{paths[name]}: {problem}, the first at voxel {first}; "
        "--leave_out_invalid removes them from the mask"
      )
    mask = mask & ~bad
    if not mask.any():
      raise UserError(f"{paths[name]}: {problem}")
    assumptions.append(f"{problem} and are left out")
  empty = float(np.mean(volumes["pd"][mask] <= 0))
  if empty > _MUCH_WITHOUT_PD:
    assumptions.append(
      f"{paths['pd']}: pd is not above 0 in {empty:.0%} of the mask"
    )
  return mask, Maps(*(volumes[name][mask] for name in MAP_NAMES))


def check_different_maps(
  paths: Mapping[str, str | os.PathLike],
  volumes: Mapping[str, Float32[np.ndarray, "..."]],
) -> None:
  """Raises `UserError` if two of the maps are one."""
  for one, other in itertools.combinations(volumes, 2):
    a, b = volumes[one], volumes[other]
    some = np.isfinite(a) & (a > 0)
    varies = some.any() and np.ptp(a[some]) > 0
    if varies and np.allclose(a[some], b[some], rtol=_SAME, atol=0):
      raise UserError(f"{paths[other]}: has the values of {one}, {paths[one]}")


def _check_maps_place(
  path: str | os.PathLike,
  t1_ms: Float32[np.ndarray, "slice y x"],
  magnitude: Float32[np.ndarray, "x y slice"],
) -> None:
  """Checks that the voxels with a T1 lie on the object, if some have none."""
  valid = np.isfinite(t1_ms) & (t1_ms > 0)
  if valid.any():
    bright = default_mask(magnitude)
    check_lies_on(valid, magnitude, bright, name=f"{path}: the map")


def align_phases(
  signals: Complex64[np.ndarray, "voxel image"],
) -> Complex64[np.ndarray, "voxel image"]:
  """Fingerprints multiplied by a phase that makes their largest part real.

  The phase φ = ½ arg Σ s² puts most energy of exp(−iφ) s into the real part.
  It leaves the sign open: the second half, after the effect of an inversion,
  is made positive.
  """
  phase = 0.5 * np.angle(np.sum(signals.astype(np.complex128) ** 2, 1))
  aligned = signals * np.exp(-1j * phase)[:, None].astype(np.complex64)
  second_half = aligned[:, signals.shape[1] // 2 :].real.sum(1)
  aligned[second_half < 0] *= -1
  return aligned
