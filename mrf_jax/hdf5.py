"""What an HDF5 file of a stranger may not do: lead elsewhere, or claim much."""

import math
import os

import h5py

from mrf_jax.errors import UserError
from mrf_jax.files import COMPRESSION


def check_links(file: h5py.File) -> None:
  """Refuses a file whose names lead out of it, or around in it.

  Args:
    file: an open file; names are looked at two levels deep, as deep as files
      of ours, of ISMRMRD and of MATLAB are read.

  Raises:
    UserError: there is a soft or an external link.
  """
  for group in (file, *_groups(file)):
    for name in group:
      link = group.get(name, getlink=True)
      if isinstance(link, h5py.ExternalLink):
        raise UserError(
          f"{name} is a link to another file ({link.filename!r}), which is not "
          "followed"
        )
      if isinstance(link, h5py.SoftLink):
        raise UserError(f"{name} is a link ({link.path!r}), not followed")


def _groups(file: h5py.File):
  for name in file:
    link = file.get(name, getlink=True)
    if isinstance(link, h5py.HardLink) and file.get(name, getclass=True) is (
      h5py.Group
    ):
      yield file[name]


def check_dataset(dataset: h5py.Dataset) -> None:
  """Refuses values that lie in other files, or more than this one can hold.

  Args:
    dataset: not read yet.

  Raises:
    UserError: it does one of these.
  """
  name = dataset.name
  if dataset.is_virtual or dataset.external:
    raise UserError(f"{name} takes its values from other files; not followed")
  claimed = math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize
  held = os.path.getsize(dataset.file.filename)
  if claimed > COMPRESSION * held:
    raise UserError(
      f"{name} claims {claimed:,} bytes, more than a file of {held:,} can hold"
    )
