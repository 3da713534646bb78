"""Simulated heads: deformed and resliced copies of the MNI152 tissue maps."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from mrf_jax.errors import UserError
from mrf_jax.simulation.fields import smooth_noise
from mrf_jax.simulation.nuclei import nearest_nuclei
from mrf_jax.simulation.tissue import TISSUES

# Distance of the points at which the atlas is read; the mean over the points of
# a voxel gives its partial volumes.
_SAMPLING_MM = 1.0
BRAIN_CENTRE_MM = np.array([0.0, -18.0, 8.0])  # in MNI space


@dataclasses.dataclass(frozen=True)
class SliceGrid:
  """Axial slices of a scan, stacked without gaps.

  Attributes:
    n_slices: number of slices.
    matrix: voxels along x and along y.
    fov_mm: field of view along x and along y, mm.
    slice_thickness_mm: thickness of the slices and distance of their centres,
      mm.
    centre_z_mm: height of the middle of the stack in MNI space, mm.
  """

  n_slices: int
  matrix: int
  fov_mm: float
  slice_thickness_mm: float
  centre_z_mm: float

  @property
  def voxel_mm(self) -> np.ndarray:
    """Size of a voxel along x, y and z, mm."""
    in_plane = self.fov_mm / self.matrix
    return np.array([in_plane, in_plane, self.slice_thickness_mm])

  @property
  def affine(self) -> Float64[np.ndarray, "4 4"]:
    """Voxel (x, y, slice) to RAS mm, as in NIfTI files."""
    size = np.array([self.matrix, self.matrix, self.n_slices])
    centre = np.array([*BRAIN_CENTRE_MM[:2], self.centre_z_mm])
    affine = np.diag([*self.voxel_mm, 1.0])
    affine[:3, 3] = centre - self.voxel_mm * (size - 1) / 2
    return affine

  def points_mm(
    self, offset_voxels=(0.0, 0.0, 0.0)
  ) -> Float32[np.ndarray, "slice y x 3"]:
    """Centres of the voxels, shifted by fractions of a voxel, in RAS mm."""
    axes = [
      (np.arange(n) + offset) * size + start
      for n, offset, size, start in zip(
        (self.matrix, self.matrix, self.n_slices),
        offset_voxels,
        self.voxel_mm,
        self.affine[:3, 3],
        strict=True,
      )
    ]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return np.stack([x, y, z], -1).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Head:
  """Tissue fractions of every voxel of a scan.

  Attributes:
    fractions: volume share of white matter, grey matter and CSF, and of deep
      grey nuclei if there are any, or of the head if it is one from maps,
      [tissue, slice, y, x]; the rest of a voxel gives no signal.
    mask: voxels that are at least half brain, [slice, y, x].
    head_to_atlas: RAS mm of the head to MNI mm, without the smooth
      displacement, [4, 4]; None of a head from maps.
    nuclei: number of the deep grey nucleus that is nearest to each voxel, see
      `nearest_nuclei`, [slice, y, x]; None is a head without them.
  """

  fractions: Float32[np.ndarray, "tissue slice y x"]
  mask: Bool[np.ndarray, "slice y x"]
  head_to_atlas: Float64[np.ndarray, "4 4"] | None
  nuclei: Int[np.ndarray, "slice y x"] | None = None


def make_head(
  rng: np.random.Generator,
  grid: SliceGrid,
  *,
  sharpness: float,
  warp_mm: float,
  rotation_deg: float,
  scaling: float,
  deep_grey: bool = False,
  partial_volume: bool = True,
  poses: Float64[np.ndarray, "slice 4 4"] | None = None,
) -> Head:
  """Random anatomy of a subject on the slices of a scan.

  Args:
    rng: random numbers of the subject.
    grid: the slices.
    sharpness: exponent of the tissue probabilities before they are scaled to
      sum one: MNI152 is an average of many heads and its sulci are blurred.
    warp_mm: standard deviation of the smooth displacement, mm.
    rotation_deg: standard deviation of the rotations about x, y, z, degrees.
    scaling: standard deviation of the scale along x, y, z.
    deep_grey: whether it has deep grey nuclei, instead of the white and grey
      matter that the atlas has there.
    partial_volume: whether voxels mix tissues; without, each is all of the
      tissue that it has most of.
    poses: where the head is while each slice is scanned, see `moved`; None is
      at rest.

  Returns:
    The head, averaged over each voxel.

  Raises:
    UserError: no voxel of the slices contains brain.
  """
  head_to_atlas = _random_affine(rng, rotation_deg, scaling)
  seeds = rng.spawn(3)
  counts = np.maximum(1, np.round(grid.voxel_mm / _SAMPLING_MM)).astype(int)
  shape = (grid.n_slices, grid.matrix, grid.matrix)
  fractions = np.zeros((len(TISSUES) + deep_grey, *shape), np.float32)
  # The displacement is smooth: one value serves all points of a voxel.
  centres = moved(grid.points_mm(), poses).reshape(-1, 3)
  shift = np.stack(
    [
      warp_mm * smooth_noise(seed, centres, correlation_mm=30.0)
      for seed in seeds
    ],
    -1,
  )
  linear = head_to_atlas[:3, :3].astype(np.float32)
  constant = head_to_atlas[:3, 3].astype(np.float32)
  for offset in np.ndindex(*counts):
    parts = (np.array(offset) + 0.5) / counts - 0.5
    points = moved(grid.points_mm(parts), poses).reshape(-1, 3) + shift
    atlas_points = points @ linear.T + constant
    tissues = _sample_atlas(atlas_points, sharpness)
    if deep_grey:
      tissues = _with_nuclei(tissues, atlas_points)
    fractions += tissues.reshape(fractions.shape)
  nuclei = None
  if deep_grey:
    numbers, _ = nearest_nuclei((centres + shift) @ linear.T + constant)
    nuclei = numbers.reshape(shape)
  fractions /= np.prod(counts)
  mask = fractions.sum(0) >= 0.5
  if not mask.any():
    raise UserError(
      f"data: no brain in the slices around z = {grid.centre_z_mm:g} mm"
    )
  if not partial_volume:
    most = fractions.argmax(0)
    numbers = np.arange(len(fractions))[:, None, None, None]
    fractions = ((most == numbers) & mask).astype(np.float32)
  return Head(fractions, mask, head_to_atlas, nuclei)


def _with_nuclei(
  tissues: Float32[np.ndarray, "tissue point"],
  atlas_points: Float32[np.ndarray, "point 3"],
) -> Float32[np.ndarray, "tissue_and_nuclei point"]:
  """Tissue at MNI points, where nuclei displace white and grey matter."""
  _, distances = nearest_nuclei(atlas_points)
  solid = [k for k, tissue in enumerate(TISSUES) if tissue != "csf"]
  displaced = np.zeros_like(tissues)
  displaced[solid] = np.where(distances <= 1, tissues[solid], 0)
  return np.concatenate([tissues - displaced, displaced.sum(0)[None]])


def random_poses(
  rng: np.random.Generator,
  grid: SliceGrid,
  *,
  between_scans_mm: float,
  between_scans_deg: float,
  between_slices_mm: float,
  between_slices_deg: float,
) -> Float64[np.ndarray, "slice 4 4"]:
  """Random poses of a head in the slices of a scan.

  All are relative to its pose in another scan. Each number is the standard
  deviation of the shift along, or of the rotation about, each of x, y and z;
  the slices' poses scatter about that of the scan.

  Raises:
    UserError: a shift is so large that the head leaves the field of view.
  """
  scan, slices = rng.spawn(2)
  steps = np.concatenate(
    [scan.normal(size=(1, 2, 3)), slices.normal(size=(grid.n_slices, 2, 3))]
  )
  shifts = between_scans_mm * steps[:1, 0] + between_slices_mm * steps[1:, 0]
  angles = between_scans_deg * steps[:1, 1] + between_slices_deg * steps[1:, 1]
  poses = np.stack([_about_centre(_rotation(a)) for a in np.deg2rad(angles)])
  poses[:, :3, 3] += shifts
  farthest = np.abs(shifts).max()
  if not farthest < grid.fov_mm / 4:
    raise UserError(
      f"data.motion: a head shifted by {farthest:.0f} mm is beyond the field "
      f"of view of {grid.fov_mm:g} mm"
    )
  return poses


def moved(
  points_mm: Float32[np.ndarray, "slice y x 3"],
  poses: Float64[np.ndarray, "slice 4 4"] | None,
) -> Float32[np.ndarray, "slice y x 3"]:
  """Places in the head at rest that are at points of the scanner.

  Args:
    points_mm: in the scanner, RAS mm.
    poses: from the head at rest to the head in each slice, RAS mm.
  """
  if poses is None:
    return points_mm
  back = np.linalg.inv(poses)
  turned = np.einsum("zij,zyxj->zyxi", back[:, :3, :3], points_mm)
  return (turned + back[:, None, None, :3, 3]).astype(np.float32)


def _rotation(angles: np.ndarray) -> np.ndarray:
  """Rotation about x, then y, then z, [3, 3]."""
  matrix = np.eye(3)
  for axis, angle in enumerate(angles):
    rotation = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    rotation[i, i] = rotation[j, j] = np.cos(angle)
    rotation[i, j], rotation[j, i] = -np.sin(angle), np.sin(angle)
    matrix = rotation @ matrix
  return matrix


def _random_affine(rng, rotation_deg, scaling) -> np.ndarray:
  """Small random rotation and scaling about the centre of the brain, [4, 4]."""
  angles = np.deg2rad(rotation_deg) * np.clip(rng.normal(size=3), -2, 2)
  scales = 1 + scaling * np.clip(rng.normal(size=3), -2, 2)
  return _about_centre(_rotation(angles) * scales)


def _about_centre(matrix: np.ndarray) -> np.ndarray:
  """The affine transform that keeps the centre of the brain, [4, 4]."""
  affine = np.eye(4)
  affine[:3, :3] = matrix
  affine[:3, 3] = BRAIN_CENTRE_MM - matrix @ BRAIN_CENTRE_MM
  return affine


@functools.cache
def _atlas() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Tissue probabilities of the MNI152 brain, cut out with a voxel around it.

  Returns:
    Probabilities [tissue, x, y, z]; mm to voxel of the whole template, [4, 4];
    the voxel of the template at which the cut starts, [3].
  """
  from nilearn import datasets

  grey = datasets.load_mni152_gm_template(resolution=1)
  white = datasets.load_mni152_wm_template(resolution=1)
  brain = datasets.load_mni152_brain_mask(resolution=1)
  # nilearn keeps the image that it made the mask from.
  datasets.load_mni152_template.cache_clear()
  gm, wm, mask = (
    np.asarray(image.dataobj, np.float32) for image in (grey, white, brain)
  )
  inside = np.argwhere(mask)
  start = np.maximum(inside.min(0) - 1, 0)
  cut = tuple(map(slice, start, inside.max(0) + 2))
  gm, wm, mask = gm[cut], wm[cut], mask[cut]
  # There is no CSF template: what is left of the brain counts as CSF.
  csf = np.clip(mask - gm - wm, 0, 1)
  return (
    np.stack([wm * mask, gm * mask, csf]),
    np.linalg.inv(grey.affine),
    start,
  )


def _sample_atlas(points_mm, sharpness) -> np.ndarray:
  """Sharpened tissue fractions at MNI points, [tissue, point]."""
  from scipy import ndimage

  atlas, to_voxel, start = _atlas()
  coordinates = (points_mm @ to_voxel[:3, :3].T + to_voxel[:3, 3]).T
  # Less an integer after rounding, which is exact within the brain.
  coordinates = (
    coordinates.astype(np.float32) - start.astype(np.float32)[:, None]
  )
  values = np.stack(
    [
      ndimage.map_coordinates(tissue, coordinates, order=1, prefilter=False)
      for tissue in atlas
    ]
  )
  inside = values.sum(0) >= 0.5
  sharp = values**sharpness
  return np.where(inside, sharp / np.maximum(sharp.sum(0), 1e-6), 0)
