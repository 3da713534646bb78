"""A subject from a series, a schedule, and maps and a mask where there are."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64

from mrf_jax.dataset.mask import default_mask
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.importing.plausible import (
  UNITS_MS,
  check_mask,
  check_times,
  check_voxels,
)
from mrf_jax.importing.volumes import Grid, read_mask, read_on_grid
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.sequence.acquisition import Acquisition


class Images(Protocol):
  """What a scan is imported from: a `Series` or a `RawSeries`."""

  @property
  def path(self) -> str:
    """The file."""

  @property
  def shape(self) -> tuple[int, int, int, int]:
    """Voxels along x, y and slices, and images."""

  @property
  def affine(self) -> Float64[np.ndarray, "4 4"] | None:
    """Voxel index (x, y, slice) to RAS, mm; None where the file has none."""

  @property
  def simulated_by(self) -> str | None:
    """Name of the simulator that made it, if one did."""

  def mean_magnitude(self) -> Float32[np.ndarray, "x y slice"]:
    """Mean magnitude of the images."""

  def signals(
    self, mask: Bool[np.ndarray, "slice y x"]
  ) -> Complex64[np.ndarray, "voxel image"]:
    """The masked voxels in C order."""


@dataclasses.dataclass(frozen=True)
class Imported:
  """A subject, and what was assumed or changed on the way.

  Attributes:
    subject: with its signals.
    assumptions: sentences for the user, kept in the subject's provenance.
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
  """Puts a subject together and checks that it can be right.

  Args:
    images: the series.
    affine: voxel index (x, y, slice) to RAS, mm.
    acquisition: the pulse sequence and its sliding window.
    name: of the subject.
    field_strength_t: main magnetic field, tesla.
    mask_path: NIfTI; None for `default_mask`.
    map_paths: NIfTI files of reference maps by name, `pd`, `t1_ms` and `t2_ms`,
      all or none.
    units: of `t1_ms` and `t2_ms` in the files, keys of `UNITS_MS`; ms where
      not given.
    leave_out_invalid: voxels whose T1 or T2 is not positive, or whose maps are
      not finite, leave the mask; else they are an error.
    align: turn every fingerprint so that its largest part is real.
    assumptions: sentences on what was assumed before.

  Returns:
    The subject and what was assumed.

  Raises:
    UserError: there is not one image for each window, a file does
      not fit, or what it holds is not plausible.
  """
  assumptions = list(assumptions)
  acquisition.check_images(
    images.shape[3], f"{images.path}: {images.shape[3]} images"
  )
  check_voxels(affine)
  grid = Grid(images.shape[:3], affine)
  magnitude = images.mean_magnitude()
  bright = default_mask(magnitude)
  mask = bright
  if mask_path is None:
    assumptions.append(
      f"no mask: the largest bright object, {np.count_nonzero(mask):,} voxels"
    )
  else:
    mask, resampled = read_mask(mask_path, grid)
    if resampled:
      assumptions.append(f"{mask_path}: resampled to the scan (nearest voxel)")
    overlap = check_mask(mask, magnitude, bright)
    assumptions.append(
      f"the mask and the bright voxels overlap by {overlap:.2f} (Dice)"
    )
  maps = None
  if map_paths:
    units = {"t1_ms": "ms", "t2_ms": "ms", **(units or {})}
    mask, maps = _read_maps(
      map_paths, units, grid, mask, leave_out_invalid, assumptions
    )
    check_times(maps, units)
  signals = images.signals(mask)
  if align:
    signals = align_phases(signals)
    assumptions.append(
      "every fingerprint is turned so that its largest part is real"
    )
  origin = f"imported from {images.path}"
  if images.simulated_by:
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


def _read_maps(paths, units, grid, mask, leave_out_invalid, assumptions):
  """Reference maps in the mask, and the mask, which may lose voxels."""
  missing = [name for name in MAP_NAMES if name not in paths]
  if missing:
    raise UserError(f"maps: {', '.join(missing)} missing; all three, or none")
  volumes = {}
  for name in MAP_NAMES:
    volume, resampled = read_on_grid(paths[name], grid)
    if resampled:
      assumptions.append(f"{paths[name]}: resampled to the scan (linear)")
    factor = UNITS_MS[units[name]] if name in units else 1.0
    volumes[name] = (volume * np.float32(factor)).transpose(2, 1, 0)
  for name, volume in volumes.items():
    low = 0.0 if name != "pd" else -np.inf
    bad = mask & ~(np.isfinite(volume) & (volume > low))
    n_bad, n_voxels = np.count_nonzero(bad), np.count_nonzero(mask)
    if not n_bad:
      continue
    what = f"{n_bad:,} of {n_voxels:,} masked voxels have no valid {name}"
    if not leave_out_invalid:
      place = np.argwhere(bad)[0][::-1].tolist()
      raise UserError(
        f"{paths[name]}: {what}, the first at voxel {place}; "
        "--leave_out_invalid takes them out of the mask"
      )
    mask = mask & ~bad
    if not mask.any():
      raise UserError(f"{paths[name]}: {what}")
    assumptions.append(f"{what} and are left out")
  return mask, Maps(*(volumes[name][mask] for name in MAP_NAMES))


def align_phases(
  signals: Complex64[np.ndarray, "voxel image"],
) -> Complex64[np.ndarray, "voxel image"]:
  """Fingerprints turned so that the largest part of each is real.

  The phase φ = ½ arg Σ s² leaves most energy in the real part; of its two
  signs the one is taken whose second half, behind any inversion, is positive.

  Args:
    signals: complex images over time.
  """
  phase = 0.5 * np.angle(np.sum(signals.astype(np.complex128) ** 2, 1))
  turned = signals * np.exp(-1j * phase)[:, None].astype(np.complex64)
  late = turned[:, signals.shape[1] // 2 :].real.sum(1)
  turned[late < 0] *= -1
  return turned
