"""HDF5 files that lead to other files, or claim what no file can hold."""

import h5py
import numpy as np
import pytest

from mrf_jax import UserError, load_raw_data, load_sequence, load_subject
from mrf_jax.importing.series import open_series

READERS = {
  "subject.h5": (load_subject, "signals"),
  "raw.mrd": (load_raw_data, "dataset/data"),
  "series.mat": (open_series, "scan"),
  "train.mat": (load_sequence, "FA"),
}


def external_link(file, name, secret):
  file[name] = h5py.ExternalLink(secret, "values")


def soft_link(file, name, secret):
  file["elsewhere"] = np.zeros(3)
  file[name] = h5py.SoftLink("/elsewhere")


def virtual(file, name, secret):
  layout = h5py.VirtualLayout(shape=(4, 5, 6, 7), dtype="c8")
  layout[:] = h5py.VirtualSource(secret, "values", shape=(4, 5, 6, 7))
  file.create_virtual_dataset(name, layout)


def external_storage(file, name, secret):
  file.create_dataset(
    name, (4, 5, 6, 7), "c8", external=[(secret, 0, h5py.h5f.UNLIMITED)]
  )


def huge(file, name, secret):
  file.create_dataset(name, (1 << 20,) * 2, "c8", chunks=(64, 64))


TRICKS = (external_link, soft_link, virtual, external_storage, huge)


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("reader", READERS)
def test_it_is_refused_in_one_line(reader, trick, tmp_path):
  function, name = READERS[reader]
  secret = tmp_path / "secret.h5"
  with h5py.File(secret, "w") as file:
    file["values"] = np.ones((4, 5, 6, 7), np.complex64)
  path = tmp_path / reader
  with h5py.File(path, "w") as file:
    file.attrs["format"], file.attrs["version"] = "mrf-subject", 1
    trick(file, name, str(secret))
  with pytest.raises(UserError) as error:
    function(path)
  said = str(error.value)
  assert said.startswith(str(path)) and "\n" not in said
  words = {
    "external_link": "link to another file",
    "soft_link": "is a link",
  }
  assert words.get(trick.__name__, "") in said


def test_a_group_in_another_file_is_not_entered(tmp_path):
  with h5py.File(tmp_path / "other.h5", "w") as file:
    file["sequence/flip_angles_deg"] = np.ones(3)
  with h5py.File(tmp_path / "a.h5", "w") as file:
    file.attrs["format"], file.attrs["version"] = "mrf-subject", 1
    file["sequence"] = h5py.ExternalLink("other.h5", "sequence")
  with pytest.raises(UserError, match="sequence is a link to another file"):
    load_subject(tmp_path / "a.h5")


def test_a_group_that_holds_itself_is_no_trap(tmp_path):
  with h5py.File(tmp_path / "a.h5", "w") as file:
    file.create_group("a")["again"] = file["/"]
  with pytest.raises(UserError, match="not an mrf-subject"):
    load_subject(tmp_path / "a.h5")
