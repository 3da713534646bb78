"""Relaxometry of NIfTI series: reads files, fits maps on the same grid."""

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator

import nibabel
import numpy as np
from jaxtyping import Bool, Float32

from mrf_jax.checks import check_finite
from mrf_jax.dataset.mask import otsu_threshold
from mrf_jax.errors import UserError
from mrf_jax.io.atomic import replacing, writing_to
from mrf_jax.io.nifti import read_volume, same_places
from mrf_jax.relaxometry.fits import (
  T1_BOUNDS_MS,
  T2_BOUNDS_MS,
  fit_t2,
  fit_vfa_t1,
)
from mrf_jax.units import check_b1


@dataclasses.dataclass(frozen=True)
class T1Maps:
  """M0 and T1 on the grid of the series they come from.

  Attributes:
    m0: equilibrium magnetisation, float32 image [x, y, slice], in units of
      the signals, zero outside the mask.
    t1_ms: longitudinal relaxation time, ms, an image of the same kind.
  """

  m0: nibabel.Nifti1Image
  t1_ms: nibabel.Nifti1Image

  def save(self, folder: str | os.PathLike) -> None:
    """Writes `m0.nii.gz` and `t1.nii.gz` to a folder, created if missing.

    Raises:
      UserError: the folder cannot be written to.
    """
    _save(folder, {"m0": self.m0, "t1": self.t1_ms})


@dataclasses.dataclass(frozen=True)
class T2Maps:
  """S0 and T2 on the grid of the series they come from.

  Attributes:
    s0: signal at TE = 0, float32 image [x, y, slice], in units of the
      signals, zero outside the mask.
    t2_ms: transverse relaxation time, ms, an image of the same kind.
  """

  s0: nibabel.Nifti1Image
  t2_ms: nibabel.Nifti1Image

  def save(self, folder: str | os.PathLike) -> None:
    """Writes `s0.nii.gz` and `t2.nii.gz` to a folder, created if missing.

    Raises:
      UserError: the folder cannot be written to.
    """
    _save(folder, {"s0": self.s0, "t2": self.t2_ms})


def vfa_t1_maps(
  series: str | os.PathLike | Iterable[str | os.PathLike],
  *,
  flip_angles_deg,
  tr_ms: float,
  b1: str | os.PathLike | None = None,
  mask: str | os.PathLike | None = None,
  method: str = "nonlinear",
  bounds_ms: tuple[float, float] = T1_BOUNDS_MS,
) -> T1Maps:
  """T1 and M0 maps of spoiled gradient echoes of several flip angles.

  Runs `fit_vfa_t1` in every voxel of the mask.

  Args:
    series: a file [x, y, slice, flip], or a file [x, y, slice] for each flip
      angle; magnitudes, registered to each other.
    flip_angles_deg: nominal flip angles in the order of the series, [flip],
      degrees.
    tr_ms: repetition time, ms.
    b1: file of the factors on the flip angles, on the grid of the series (1,
      not 100, is the nominal flip angle); None for 1 everywhere.
    mask: file that is not 0 in the voxels to fit, on the grid of the series;
      None for those above the threshold of Otsu (1979) in the logarithm of
      the mean image.
    method: "nonlinear" or "linear", see `fit_vfa_t1`.
    bounds_ms: least and greatest T1, ms.

  Raises:
    UserError: a file is missing, damaged or on another grid, a value in the
      mask is not finite or not possible, or values look like another unit, see
      `fit_vfa_t1`.
  """
  scan = _load_series("flip angles", series, flip_angles_deg)
  inside = _mask_of(scan, mask)
  factors = None if b1 is None else _load_b1(b1, scan, inside)
  with scan.named():
    m0, t1_ms = fit_vfa_t1(
      scan.volumes[inside],
      flip_angles_deg=flip_angles_deg,
      tr_ms=tr_ms,
      b1=factors,
      method=method,
      bounds_ms=bounds_ms,
    )
  return T1Maps(*(_image(values, inside, scan.image) for values in (m0, t1_ms)))


def t2_maps(
  series: str | os.PathLike | Iterable[str | os.PathLike],
  *,
  te_ms,
  mask: str | os.PathLike | None = None,
  bounds_ms: tuple[float, float] = T2_BOUNDS_MS,
) -> T2Maps:
  """T2 and S0 maps of echoes of several echo times.

  Runs `fit_t2` in every voxel of the mask.

  Args:
    series: a file [x, y, slice, echo], or a file [x, y, slice] for each echo;
      magnitudes.
    te_ms: echo times in the order of the series, [echo], ms.
    mask: file that is not 0 in the voxels to fit, on the grid of the series;
      None for those above the threshold of Otsu (1979) in the logarithm of
      the mean image.
    bounds_ms: least and greatest T2, ms.

  Raises:
    UserError: a file is missing, damaged or on another grid, a value in the
      mask is not finite or not possible, or values look like another unit, see
      `fit_t2`.
  """
  scan = _load_series("echo times", series, te_ms)
  inside = _mask_of(scan, mask)
  with scan.named():
    s0, t2_ms = fit_t2(scan.volumes[inside], te_ms=te_ms, bounds_ms=bounds_ms)
  return T2Maps(*(_image(values, inside, scan.image) for values in (s0, t2_ms)))


@dataclasses.dataclass(frozen=True)
class _Series:
  """The volumes of a series, its first image, and its files."""

  volumes: Float32[np.ndarray, "x y slice sample"]
  image: nibabel.Nifti1Image
  paths: tuple[str, ...]

  def path(self, sample: int) -> str:
    """Name of a sample's volume, for messages."""
    if len(self.paths) > 1:
      return self.paths[sample]
    return f"{self.paths[0]}, volume {sample}"

  @contextlib.contextmanager
  def named(self) -> Iterator[None]:
    """Puts the series' name into errors of a fit."""
    try:
      yield
    except UserError as error:
      raise UserError(f"{self.paths[0]}: {error}") from error


def _load_series(name: str, series, samples) -> _Series:
  """Reads a series, which needs one volume for each of the samples."""
  n_samples = np.size(samples)
  if isinstance(series, str | os.PathLike):
    volumes, image = read_volume(series)
    if volumes.ndim != 4:
      raise UserError(
        f"{series}: the series has shape {volumes.shape}, "
        "not [x, y, slice, volume]"
      )
    if volumes.shape[3] != n_samples:
      raise UserError(
        f"{series}: {volumes.shape[3]} volumes for {n_samples} {name}"
      )
    return _Series(volumes, image, (str(series),))
  paths = tuple(str(path) for path in series)
  if len(paths) != n_samples or not paths:
    raise UserError(f"series: {len(paths)} files for {n_samples} {name}")
  first, image = read_volume(paths[0])
  if first.ndim != 3:
    raise UserError(f"{paths[0]}: shape {first.shape}, not [x, y, slice]")
  volumes = np.empty((*first.shape, n_samples), np.float32)
  volumes[..., 0] = first
  for k, path in enumerate(paths[1:], 1):
    volumes[..., k] = _load_on_grid(path, image, paths[0])
  return _Series(volumes, image, paths)


def _load_on_grid(path, like: nibabel.Nifti1Image, like_path) -> np.ndarray:
  """Reads a volume [x, y, slice], which needs the grid of another one."""
  volume, image = read_volume(path)
  shape = like.shape[:3]
  if volume.shape != shape:
    raise UserError(
      f"{path}: shape {volume.shape}, but {like_path} has {shape}"
    )
  if not same_places(shape, image.affine, like.affine):
    raise UserError(
      f"{path}: affine {_rows(image.affine)}, but {like_path} has "
      f"{_rows(like.affine)}"
    )
  return volume


def _mask_of(scan: _Series, path) -> Bool[np.ndarray, "x y slice"]:
  """Voxels to fit, all of whose signals are finite."""
  if path is None:
    _check_signals(scan, np.ones(scan.volumes.shape[:3], bool))
    mean = scan.volumes.mean(-1)
    least, greatest = mean.min(), mean.max()
    if greatest <= 0 or least == greatest:
      raise UserError(
        f"{scan.paths[0]}: the mean image spans {least:g} to {greatest:g}, "
        "which shows no object; a mask is needed"
      )
    return mean >= otsu_threshold(mean)
  values = _load_on_grid(path, scan.image, scan.paths[0])
  check_finite(f"{path}: the mask", values)
  inside = values != 0
  if not inside.any():
    raise UserError(f"{path}: the mask has no voxels")
  _check_signals(scan, inside)
  return inside


def _check_signals(
  scan: _Series, inside: Bool[np.ndarray, "x y slice"]
) -> None:
  """Raises `UserError` if a series is not finite in the mask."""
  for k in range(scan.volumes.shape[3]):
    values = np.where(inside, scan.volumes[..., k], 0)
    check_finite(f"{scan.path(k)}: the voxels to fit", values)


def _load_b1(path, scan: _Series, inside) -> Float32[np.ndarray, "voxel"]:
  """Reads the factors on the flip angles in the mask."""
  volume = _load_on_grid(path, scan.image, scan.paths[0])
  bad = np.argwhere(inside & ~(np.isfinite(volume) & (volume > 0)))
  if len(bad):
    index = bad[0].tolist()
    raise UserError(
      f"{path}: {len(bad)} values of B1 in the mask are not positive, the "
      f"first {volume[tuple(index)]:g} at {index}"
    )
  check_b1(f"{path}: the median B1 in the mask", volume[inside])
  return volume[inside]


def _image(values, inside, like: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
  """Values of the mask as a volume with the affine of the series."""
  volume = np.zeros(inside.shape, np.float32)
  volume[inside] = values
  image = nibabel.Nifti1Image(volume, like.affine)
  # Only the positions of the voxels: the rest of the header describes the
  # series.
  image.header.set_zooms(like.header.get_zooms()[:3])
  image.header.set_xyzt_units(xyz=like.header.get_xyzt_units()[0])
  image.set_sform(*like.get_sform(coded=True))
  image.set_qform(*like.get_qform(coded=True))
  return image


def _save(folder, images: dict[str, nibabel.Nifti1Image]) -> None:
  """Writes each image as `{name}.nii.gz`."""
  with writing_to(folder) as folder:
    for name, image in images.items():
      with replacing(folder / f"{name}.nii.gz") as temporary:
        nibabel.save(image, temporary)


def _rows(affine: np.ndarray) -> str:
  """An affine in one line."""
  return str([[round(float(v), 4) for v in row] for row in affine[:3]])
