"""HDF5 files with links to other files, false claims or changed values."""

import h5py
import numpy as np
import pytest

from mrf_jax import UserError, load_raw_data, load_sequence, load_subject
from mrf_jax.importing.series import open_series
from mrf_jax.io.hdf5 import check_dataset, check_unchanged, write_checked
from tests.faults.edits import patched

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
def test_tricks_are_one_line(reader, trick, tmp_path):
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
  message = str(error.value)
  assert message.startswith(str(path)) and "\n" not in message
  words = {external_link: "link to another file", soft_link: "is a link"}
  assert words.get(trick, "") in message


def test_group_in_another_file(tmp_path):
  with h5py.File(tmp_path / "other.h5", "w") as file:
    file["sequence/flip_angles_deg"] = np.ones(3)
  with h5py.File(tmp_path / "a.h5", "w") as file:
    file.attrs["format"], file.attrs["version"] = "mrf-subject", 1
    file["sequence"] = h5py.ExternalLink("other.h5", "sequence")
  with pytest.raises(UserError, match="sequence is a link to another file"):
    load_subject(tmp_path / "a.h5")


def test_group_that_contains_itself(tmp_path):
  with h5py.File(tmp_path / "a.h5", "w") as file:
    file.create_group("a")["again"] = file["/"]
  with pytest.raises(UserError, match="not an mrf-subject"):
    load_subject(tmp_path / "a.h5")


def test_every_changed_byte_is_found(tmp_path):
  path = tmp_path / "a.h5"
  values = np.arange(12, dtype=np.float32).reshape(3, 4)
  with h5py.File(path, "w") as file:
    write_checked(file, "deep/values", values)
  with h5py.File(path) as file:
    check_unchanged(file["deep/values"], file["deep/values"][()])
  data = path.read_bytes()
  start = data.index(values.tobytes())
  for offset in range(start, start + values.nbytes):
    path.write_bytes(data)
    patched(offset, bytes([data[offset] ^ 1]))(path)
    with h5py.File(path) as file:
      dataset = file["deep/values"]
      with pytest.raises(UserError, match="/deep/values was changed after it"):
        check_unchanged(dataset, dataset[()])


def test_values_without_checksum(tmp_path):
  with h5py.File(tmp_path / "a.h5", "w") as file:
    file["values"] = np.ones(3)
    check_unchanged(file["values"], np.zeros(3))
    file["values"].attrs["crc32"] = "text"
    with pytest.raises(UserError, match="delete its attribute crc32"):
      check_unchanged(file["values"], np.ones(3))


def lists(path, kind):
  """Writes lists of 5 numbers, as in ISMRMRD, or texts of 5 letters."""
  with h5py.File(path, "w") as file:
    if kind == "text":
      file["values"] = ["fives", "eight"]
      return
    numbers = h5py.vlen_dtype(np.float32)
    dtype = {
      "plain": numbers,
      "chunked": numbers,
      "compound": np.dtype([("head", "u2"), ("data", numbers)]),
      "nested": np.dtype([("head", [("x", "u2"), ("data", numbers)])]),
    }[kind]
    chunks = None if kind == "plain" else (1,)
    dataset = file.create_dataset("values", (2,), dtype, chunks=chunks)
    for row in range(2):
      values = np.ones(5, np.float32)
      dataset[row] = {"compound": (3, values), "nested": ((3, values),)}.get(
        kind, values
      )


@pytest.mark.parametrize(
  "kind", ["plain", "chunked", "compound", "nested", "text"]
)
def test_lists_that_claim_too_much(kind, tmp_path):
  path = tmp_path / "a.h5"
  lists(path, kind)
  with h5py.File(path) as file:
    check_dataset(file["values"])
  data = path.read_bytes()
  # A length of 5, the address of the heap, the first object in it.
  heap = data.index(b"GCOL").to_bytes(8, "little")
  head = (5).to_bytes(4, "little") + heap
  assert head in data
  path.write_bytes(data.replace(head, b"\xff\xff\xff\x7f" + heap, 1))
  with (
    h5py.File(path) as file,
    pytest.raises(UserError, match=r"/values claims lists of [28],\d{3},"),
  ):
    check_dataset(file["values"])


def test_lists_behind_filters(tmp_path):
  with h5py.File(tmp_path / "a.h5", "w") as file:
    numbers = h5py.vlen_dtype(np.float32)
    file.create_dataset("a", (2,), numbers, chunks=(1,), compression="gzip")
    with pytest.raises(UserError, match="h5repack -f NONE"):
      check_dataset(file["a"])


def test_lists_in_headers_or_arrays(tmp_path):
  numbers = h5py.vlen_dtype(np.float32)
  with h5py.File(tmp_path / "a.h5", "w") as file:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    kind = h5py.h5t.py_create(numbers, logical=True)
    space = h5py.h5s.create_simple((2,))
    h5py.h5d.create(file.id, b"compact", kind, space, layout)
    file.create_dataset("array", (2,), np.dtype((numbers, (3,))), chunks=(1,))
    for name, words in (("compact", "h5repack -l"), ("array", "arrays of")):
      with pytest.raises(UserError, match=words):
        check_dataset(file[name])
