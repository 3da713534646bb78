"""A scan, a network for it, and flags."""

import collections
import dataclasses

import nibabel
import numpy as np
import pytest

from mrf_jax import load_subject, save_subject
from tests.inference.examples import volume_of

AFFINE = np.array(
  [[0, -7.9, 0.6, 110], [8.0, 0.1, 0, -130], [0.1, 0.6, 5, 2], [0, 0, 0, 1]]
)


def flags(**given):
  """Values of all flags: None, but for those given."""
  values = collections.defaultdict(lambda: None, given)
  if isinstance(values["model"], (str, bytes)):
    values["model"] = [values["model"]]
  return values


def maps_in(folder, mask, names=("pd", "t1", "t2")):
  """Values of saved maps in the mask [slice, y, x], by name."""
  return {
    name: nibabel.load(folder / f"{name}.nii.gz").get_fdata().T[mask]
    for name in names
  }


@pytest.fixture(scope="module")
def bundle(smoke):
  return str(smoke / "models/spatiotemporal/fold-0")


@pytest.fixture(scope="module")
def scan(smoke, tmp_path_factory):
  """The left-out subject, obliquely placed; its file, images and schedule."""
  folder = tmp_path_factory.mktemp("scan")
  subject = load_subject(smoke / "data/subject-00.h5")
  subject = dataclasses.replace(subject, affine=AFFINE)
  save_subject(subject, folder / "subject.h5")
  train = subject.sequence
  columns = np.stack([train.flip_angles_deg, train.tr_ms, train.te_ms], 1)
  np.savetxt(folder / "train.txt", columns, fmt="%.9g")
  mask = subject.mask.transpose(2, 1, 0).astype(np.uint8)
  nibabel.save(nibabel.Nifti1Image(mask, AFFINE), folder / "mask.nii.gz")
  return folder, subject, volume_of(subject).transpose(2, 1, 0, 3)
