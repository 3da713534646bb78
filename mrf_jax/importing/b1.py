"""A measured B1 map of a scan, from a NIfTI file."""

import dataclasses
import os

import numpy as np

from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.importing.places import Grid
from mrf_jax.importing.volumes import read_map
from mrf_jax.units import check_b1


def with_b1(
  subject: Subject, path: str | os.PathLike, grid: Grid
) -> tuple[Subject, list[str]]:
  """A scan with the factors on the flip angles that a file has.

  Args:
    subject: the scan.
    path: NIfTI file [x, y, slice] of factors, 1 for the nominal flip angles;
      resampled to the scan if it has other voxels, see `read_map`.
    grid: of the scan's voxels.

  Returns:
    The subject, and sentences on what was assumed; its provenance has them too.

  Raises:
    UserError: the scan has a B1 map, the file does not lie on the scan, a voxel
      of the mask has no value above 0, or the values are no factors.
  """
  if subject.b1 is not None:
    raise UserError(
      f"--b1_map: {grid.path} is a subject file, which has its own B1 map"
    )
  said: list[str] = []
  b1 = read_map(path, grid, said).transpose(2, 1, 0)[subject.mask]
  bad = ~(np.isfinite(b1) & (b1 > 0))
  if bad.any():
    first = np.argwhere(subject.mask)[bad][0][::-1].tolist()
    raise UserError(
      f"{path}: {np.count_nonzero(bad):,} of {len(b1):,} masked voxels have no "
      f"B1 above 0, the first at voxel {first}"
    )
  check_b1(f"{path}: the median B1 in the mask", b1)
  said.append(
    f"B1 by {path}: {b1.min():.3g} to {b1.max():.3g}, median "
    f"{np.median(b1):.3g}"
  )
  provenance = "; ".join([subject.provenance, *said])
  return dataclasses.replace(subject, b1=b1, provenance=provenance), said
