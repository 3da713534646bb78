"""Maps of a scan as NIfTI files, as Python programs write them."""

import os

import numpy as np

from mrf_jax.checks import check_finite, check_shape
from mrf_jax.dataset.subject import Subject
from mrf_jax.io.atomic import writing_to
from mrf_jax.io.nifti import save_map
from mrf_jax.maps import MAP_NAMES, Maps


def save_maps(maps: Maps, subject: Subject, folder: str | os.PathLike) -> None:
  """Writes `pd.nii.gz`, `t1.nii.gz` and `t2.nii.gz` in the scan's own space.

  Times are in ms; voxels outside the mask are zero.

  Args:
    maps: of the masked voxels, [voxel] each.
    subject: the scan that they are of, for its mask and its place.
    folder: created if missing; its files of these names are replaced.

  Raises:
    UserError: the maps are not of this scan's voxels, a value is not finite, or
      the folder cannot be written to.
  """
  arrays = {name: np.asarray(getattr(maps, name)) for name in MAP_NAMES}
  for name, values in arrays.items():
    check_shape(f"save_maps: {name}", values, (subject.n_voxels,))
    check_finite(f"save_maps: {name}", values)
  with writing_to(folder) as path:
    for name, values in arrays.items():
      file = path / f"{name.removesuffix('_ms')}.nii.gz"
      save_map(file, values, subject.mask, subject.affine)
