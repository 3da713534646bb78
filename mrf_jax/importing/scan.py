"""Import of a scan: its images, pulse sequence, maps and mask as a subject."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64

from mrf_jax.dataset.mask import default_mask
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.importing.plausible import (
  check_mask,
  check_times,
  check_voxels,
)
from mrf_jax.importing.raw import RawSeries
from mrf_jax.importing.series import Series
from mrf_jax.importing.volumes import Grid, read_mask, read_on_grid
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.units import to_ms

Images = RawSeries | Series


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
  affine: Float64[np.ndarray, "4 4"],
  acquisition: Acquisition,
  *,
  name: str,
  field_strength_t: float,
  mask_path: str | os.PathLike | None = None,
  map_paths: Mapping[str, str | os.PathLike] | None = None,
  units: Mapping[str, str] | None = None,
  leave_out_invalid: bool = False,
  align: bool = False,
  assumptions: Sequence[str] = (),
) -> Imported:
  """Makes a subject of its parts and checks that they are plausible.

  Args:
    images: series of images.
    affine: voxel index (x, y, slice) to RAS, mm.
    acquisition: the pulse sequence and its sliding window.
    name: name of the subject.
    field_strength_t: main magnetic field, tesla.
    mask_path: NIfTI file; None for `default_mask`.
    map_paths: NIfTI files of the reference maps `pd`, `t1_ms` and `t2_ms`, all
      or none.
    units: units of `t1_ms` and `t2_ms` in the files, of `MAP_UNITS`. Default:
      ms.
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
  check_voxels(affine)
  grid = Grid(images.shape[:3], affine)
  mask = _mask(mask_path, grid, images.mean_magnitude(), assumptions)
  maps = None
  if map_paths:
    stated = {*(units or {})}
    units = {"t1_ms": "ms", "t2_ms": "ms", **(units or {})}
    mask, maps = _read_maps(
      map_paths, units, grid, mask, leave_out_invalid, assumptions
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
    affine=affine,
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
  bright = default_mask(magnitude)
  if path is None:
    n_voxels = np.count_nonzero(bright)
    assumptions.append(
      f"no mask: the largest bright object, {n_voxels:,} voxels"
    )
    return bright
  mask, resampled = read_mask(path, grid)
  if resampled:
    assumptions.append(f"{path}: resampled to the scan (nearest voxel)")
  overlap = check_mask(mask, magnitude, bright)
  assumptions.append(
    f"the mask and the bright voxels overlap by {overlap:.2f} (Dice)"
  )
  return mask


def _read_maps(
  paths: Mapping[str, str | os.PathLike],
  units: Mapping[str, str],
  grid: Grid,
  mask: Bool[np.ndarray, "slice y x"],
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
    volume, resampled = read_on_grid(paths[name], grid)
    if resampled:
      assumptions.append(f"{paths[name]}: resampled to the scan (linear)")
    if name in units:
      volume = to_ms(volume, units[name])
    volumes[name] = volume.transpose(2, 1, 0)
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
  return mask, Maps(*(volumes[name][mask] for name in MAP_NAMES))


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
