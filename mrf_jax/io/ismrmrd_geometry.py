"""Slices of an ISMRMRD file by their positions, the image grid, the affine."""

import dataclasses

import numpy as np
from jaxtyping import Float64, Int

from mrf_jax.errors import UserError
from mrf_jax.io.ismrmrd_header import Encoding, Length

_DIRECTIONS = ("read_dir", "phase_dir", "slice_dir")
# Unit vectors at right angles, up to float32 and some sloppiness.
_TOLERANCE = 1e-2
# Positions that differ by less are one, mm. No slices are so close together.
_SAME_PLACE_MM = 0.05
# Neighbours along the normal belong to two slices if they are farther apart
# than this share of the widest gap.
_GAP = 0.1
# Two matrices of one resolution may differ by one voxel (KomaMRI rounds to an
# even number), but not by more than 2 %.
_ONE_RESOLUTION = 0.02
# A field of view below this is in metres; below the second one, it is that of a
# mouse, or in centimetres.
_SMALLEST_FOV_MM, _SMALL_FOV_MM = 5.0, 60.0
# The patient coordinates of ISMRMRD (left, posterior, superior) to RAS.
_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclasses.dataclass(frozen=True, eq=False)
class Slices:
  """The slice of each acquisition.

  Attributes:
    numbers: slice of each acquisition, from 0 to n − 1, along the normal if the
      file has positions, otherwise in the order of its slice numbers.
    placed: whether the headers say where each slice lies.
    notes: a sentence, if the order is not that of the slice numbers.
  """

  numbers: Int[np.ndarray, "acquisition"]
  placed: bool
  notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ImageGrid:
  """Voxels of the images, and of the encoded space they are made from.

  Attributes:
    matrix: voxels of an image (x, y, z).
    voxel_mm: their sizes; None if the header has no field of view.
    encoded_matrix: voxels of the encoded space along x and y.
    encoded_voxel_mm: their sizes along x and y, or None.
    notes: sentences, if the images are not those of the reconstruction space.
  """

  matrix: tuple[int, int, int]
  voxel_mm: tuple[float, float, float] | None
  encoded_matrix: tuple[int, int]
  encoded_voxel_mm: tuple[float, float] | None
  notes: tuple[str, ...] = ()


def image_grid(encoding: Encoding) -> ImageGrid | None:
  """Grid of the images of an encoding; None if it has no matrix.

  The trajectory belongs to the encoded space. Where the reconstruction space
  has voxels of the same size, it is the grid (readout oversampling doubles both
  matrix and field of view of the encoded space). Where its voxels have another
  size (zero filling), the images have those of the encoded space, in the field
  of view of the reconstruction space.

  Raises:
    UserError: the two spaces differ, but a field of view is missing.
  """
  matrix = encoding.matrix or encoding.encoded_matrix
  if matrix is None:
    return None
  fov_mm = encoding.fov_mm if encoding.matrix else encoding.encoded_fov_mm
  encoded = encoding.encoded_matrix or matrix
  encoded_fov_mm = (
    encoding.encoded_fov_mm if encoding.encoded_matrix else fov_mm
  )
  if fov_mm is None or encoded_fov_mm is None:
    if encoded != matrix:
      raise UserError(
        f"dataset/xml: the encoded space has {_times(encoded)} voxels, the "
        f"reconstruction space {_times(matrix)}, and one of them no field of "
        "view: how they lie to each other is not known"
      )
    fov_mm = encoded_fov_mm = fov_mm or encoded_fov_mm
  if fov_mm is None or encoded_fov_mm is None:
    return ImageGrid(matrix, None, encoded[:2], None)
  fov_mm, notes = _in_mm(fov_mm)
  encoded_fov_mm, _ = _in_mm(encoded_fov_mm)
  encoded_mm = (encoded_fov_mm[0] / encoded[0], encoded_fov_mm[1] / encoded[1])
  thickness = fov_mm[2] / matrix[2]
  common_mm = [min(fov_mm[i], encoded_fov_mm[i]) for i in range(2)]
  wanted = [max(1, round(common_mm[i] / encoded_mm[i])) for i in range(2)]
  if all(_one_resolution(wanted[i], matrix[i]) for i in range(2)):
    voxel_mm = (fov_mm[0] / matrix[0], fov_mm[1] / matrix[1], thickness)
    return ImageGrid(matrix, voxel_mm, encoded[:2], encoded_mm, notes)
  return ImageGrid(
    (wanted[0], wanted[1], matrix[2]),
    (*encoded_mm, thickness),
    encoded[:2],
    encoded_mm,
    (
      *notes,
      f"the reconstruction space has {_times(matrix[:2])} voxels, but the scan "
      f"encodes {_times(wanted)} in it: the images have those, of "
      f"{encoded_mm[0]:.4g} × {encoded_mm[1]:.4g} mm",
    ),
  )


def _in_mm(fov: Length) -> tuple[Length, tuple[str, ...]]:
  """A field of view in mm, and a sentence if the header has it in metres."""
  shown = f"the field of view, {fov[0]:g} × {fov[1]:g}"
  if max(fov[:2]) > _SMALL_FOV_MM:
    return fov, ()
  if max(fov[:2]) >= _SMALLEST_FOV_MM:
    return fov, (
      f"{shown} mm, is small: is it in cm? (--voxel_mm gives the voxels)",
    )
  # Not the thickness, which KomaMRI sets to 1.
  return (1e3 * fov[0], 1e3 * fov[1], fov[2]), (f"{shown}, is in metres",)


def _one_resolution(wanted: int, matrix: int) -> bool:
  return abs(wanted - matrix) <= min(1, _ONE_RESOLUTION * matrix)


def _times(sizes) -> str:
  return " × ".join(f"{size:,}" for size in sizes)


def find_slices(heads: np.ndarray) -> Slices:
  """Slice of each acquisition, by position, or by number where there is none.

  Slice numbers whose order is that of the positions, up or down, order the
  slices; others, such as those of interleaved slices that are numbered in the
  order of time, do not. Numbers that appear once each, all at one position,
  count repetitions (as KomaMRI does), and make one slice.
  """
  names = heads.dtype.names or ()
  numbers = np.zeros(len(heads), int)
  if "idx" in names and "slice" in (heads.dtype["idx"].names or ()):
    numbers = heads["idx"]["slice"].astype(int)
  known, ranks = np.unique(numbers, return_inverse=True)
  ranks = ranks.ravel()
  if "position" not in names:
    return Slices(ranks, placed=False)
  positions = heads["position"].astype(float)
  if not np.isfinite(positions).all():
    raise UserError("the acquisitions have positions that are not finite")
  if np.ptp(positions, axis=0).max() <= _SAME_PLACE_MM:
    if len(known) == len(numbers):  # they count repetitions
      return Slices(np.zeros(len(heads), int), placed=True)
    return Slices(ranks, placed=len(known) == 1)
  along = positions @ _normal(heads, positions)
  groups = ranks
  notes: tuple[str, ...] = ()
  if not _one_place_each(along, ranks):
    groups = _clusters(along)
    notes = ("the slices are told by their positions, not by their numbers",)
  n_groups = int(groups.max()) + 1
  centres = np.array([along[groups == k].mean() for k in range(n_groups)])
  steps = np.diff(centres)
  if np.all(steps > 0) or np.all(steps < 0):
    return Slices(groups, placed=True, notes=notes)
  places = np.argsort(np.argsort(centres, kind="stable"), kind="stable")
  return Slices(
    places[groups],
    placed=True,
    notes=(
      "the slices are in the order of their positions, not of their numbers",
    ),
  )


def _normal(heads: np.ndarray, positions: np.ndarray) -> np.ndarray:
  """Unit vector along which the slices follow each other."""
  names = heads.dtype.names or ()
  if set(_DIRECTIONS) <= set(names):
    normal = heads["slice_dir"][0].astype(float)
    if not np.any(normal):
      normal = np.cross(heads["read_dir"][0], heads["phase_dir"][0])
    if np.isfinite(normal).all() and np.any(normal):
      return normal / np.linalg.norm(normal)
  # The direction in which the positions differ most, up rather than down.
  offsets = np.unique(positions, axis=0) - positions.mean(0)
  direction = np.linalg.svd(offsets, full_matrices=False)[2][0]
  return direction * np.sign(direction[np.argmax(np.abs(direction))])


def _one_place_each(along: np.ndarray, groups: np.ndarray) -> bool:
  """Whether each group has one place of its own along the normal."""
  n_groups = int(groups.max()) + 1
  parts = [along[groups == k] for k in range(n_groups)]
  spread = max(float(np.ptp(part)) for part in parts)
  centres = np.sort([part.mean() for part in parts])
  apart = float(np.diff(centres).min()) if n_groups > 1 else 0.0
  return apart > _SAME_PLACE_MM and spread <= _GAP * apart


def _clusters(along: np.ndarray) -> np.ndarray:
  """Number of the slice of each place along the normal, from 0."""
  order = np.argsort(along, kind="stable")
  gaps = np.diff(along[order])
  widest = max(float(gaps.max(initial=0)), _SAME_PLACE_MM)
  numbers = np.concatenate([[0], np.cumsum(gaps > _GAP * widest)])
  clusters = np.empty(len(along), int)
  clusters[order] = numbers
  return clusters


def affine_of_slices(
  heads: np.ndarray, slices: Slices, grid: ImageGrid | None
) -> Float64[np.ndarray, "4 4"] | None:
  """Affine of the slices: voxel index (x, y, slice) to RAS, mm.

  x is along the read direction, y along the phase direction, and the position
  of an acquisition is that of voxel (nx // 2, ny // 2).

  Args:
    heads: acquisition headers.
    slices: the slice of each of them.
    grid: voxels of the images.

  Returns:
    The affine; None if the headers do not have what it needs.

  Raises:
    UserError: the directions are not at right angles, or the slices are not
      equally spaced along one line.
  """
  names = heads.dtype.names or ()
  if grid is None or grid.voxel_mm is None or not slices.placed:
    return None
  if not {"position", *_DIRECTIONS} <= set(names):
    return None
  frames = np.stack([heads[name] for name in _DIRECTIONS], 1).astype(float)
  first = frames[0]  # [direction, xyz]
  if not np.any(first):
    return None
  finite = np.isfinite(frames).all()
  if not finite or not np.allclose(first @ first.T, np.eye(3), atol=_TOLERANCE):
    raise UserError(
      "the read, phase and slice directions of the acquisitions are not unit "
      f"vectors at right angles: {np.round(first, 3).tolist()}"
    )
  if not np.allclose(frames, first, atol=_TOLERANCE):
    raise UserError("the acquisitions are in planes of several directions")
  centres = _centres(heads["position"].astype(float), slices.numbers, grid)
  if len(centres) > 1:
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    line = centres[0] + np.arange(len(centres))[:, None] * step
    spacing = np.linalg.norm(step)
    if not spacing or np.abs(centres - line).max() > _TOLERANCE * spacing:
      raise UserError(
        "the slices are not equally spaced along one line: positions "
        f"{np.round(centres[:3], 2).tolist()} mm, …"
      )
  else:
    step = first[2] * grid.voxel_mm[2]
  affine = np.eye(4)
  for axis in range(2):
    affine[:3, axis] = first[axis] * grid.voxel_mm[axis]
  affine[:3, 2] = step
  middle = np.array([grid.matrix[0] // 2, grid.matrix[1] // 2, 0])
  affine[:3, 3] = centres[0] - affine[:3, :3] @ middle
  affine[:3] = _TO_RAS @ affine[:3]
  return affine


def _centres(
  positions: np.ndarray, numbers: np.ndarray, grid: ImageGrid
) -> Float64[np.ndarray, "slice 3"]:
  """Position of each slice, which must be one."""
  assert grid.voxel_mm is not None
  centres = []
  for number in range(int(numbers.max()) + 1):
    own = positions[numbers == number]
    if np.ptp(own, axis=0).max() > 0.5 * min(grid.voxel_mm[:2]):
      raise UserError(
        f"slice {number} has acquisitions at several positions, from "
        f"{np.round(own.min(0), 2).tolist()} to "
        f"{np.round(own.max(0), 2).tolist()} mm"
      )
    centres.append(own.mean(0))
  return np.array(centres)
