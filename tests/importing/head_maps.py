"""A small head of three tissues as NIfTI maps, for tests."""

import pathlib

import nibabel
import numpy as np

VOXEL_MM = 4.0
SHAPE = (30, 36, 30)
# Where a scanner might place it.
AFFINE = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
AFFINE[:3, 3] = -51, -70, -40
# Of white and grey matter and CSF.
VALUES = {
  "t1": (700.0, 1150.0, 4200.0),
  "t2": (70.0, 90.0, 1900.0),
  "pd": (0.7, 0.8, 1.0),
}


def head_volumes(seed: int = 0) -> dict[str, np.ndarray]:
  """Values of `t1`, `t2` (ms) and `pd`, [i, j, k]; 0 outside.

  Fluid around grey matter around white matter, not in the middle of the volume,
  with values that vary from head to head and by a little from voxel to voxel.
  """
  rng = np.random.default_rng(seed)
  index = np.indices(SHAPE).transpose(1, 2, 3, 0)
  radius = np.linalg.norm((index - (14.2, 18.3, 15.4)) / (12, 15, 12), axis=-1)
  tissue = np.digitize(radius, (0.55, 0.85))
  volumes = {}
  for name, values in VALUES.items():
    own = np.array(values) * rng.normal(1, 0.02, 3)
    scatter = rng.normal(1, 0.01, SHAPE)
    volume = np.where(radius < 1, own[tissue] * scatter, 0)
    volumes[name] = volume.astype(np.float32)
  return volumes


def save_volume(path: pathlib.Path, values, affine=AFFINE) -> pathlib.Path:
  """Writes a NIfTI file, in a folder that is made if it is missing."""
  path.parent.mkdir(parents=True, exist_ok=True)
  nibabel.save(nibabel.Nifti1Image(values, affine), path)
  return path


def save_head(
  folder: pathlib.Path, *, seed: int = 0, affine=AFFINE, volumes=None
) -> pathlib.Path:
  """Writes the maps of a head under our names."""
  for name, values in (volumes or head_volumes(seed)).items():
    save_volume(folder / f"{name}.nii.gz", values, affine)
  return folder
