"""Files that crash their reader, or never end, are an error before reading."""

import h5py
import numpy as np
import pytest
import scipy.io

from mrf_jax import UserError, load_raw_data, load_sequence, load_subject
from mrf_jax.io import untrusted
from mrf_jax.io.untrusted import HDF5, MATLAB, trust, try_file
from tests.launcher import run_python


def write(path):
  with h5py.File(path, "w") as file:
    file.attrs["format"] = "mrf-subject"
    file.create_dataset("a/values", data=np.ones((20, 3)), chunks=(1, 3))


def heap(path, size):
  """Changes the size that the first text in a file claims."""
  data = bytearray(path.read_bytes())
  # Signature, version, size of the collection; then index, references, size.
  place = data.index(b"GCOL") + 16 + 8
  data[place : place + 8] = size.to_bytes(8, "little")
  path.write_bytes(data)


@pytest.mark.parametrize("size", [2**64 - 16, 2**40])
def test_endless_text_is_an_error(tmp_path, size):
  """HDF5 never returns from the first size."""
  path = tmp_path / "a.h5"
  write(path)
  try_file(path, HDF5)
  heap(path, size)
  with pytest.raises(ValueError):
    try_file(path, HDF5)
  for load in (load_subject, load_raw_data):
    with pytest.raises(UserError, match=r"a\.h5: not a readable HDF5 file"):
      load(path)


def test_claim_of_memory_is_an_error(tmp_path):
  """A text of 4 GB, by the length in the header that refers to it."""
  path = tmp_path / "a.h5"
  write(path)
  data = path.read_bytes()
  address = data.index(b"GCOL").to_bytes(8, "little")
  head = len("mrf-subject").to_bytes(4, "little") + address
  assert data.count(head) == 1
  path.write_bytes(data.replace(head, b"\xf0\xff\xff\xff" + address))
  with pytest.raises(ValueError):
    try_file(path, HDF5)


def test_crashing_reader_spares_the_caller(tmp_path, monkeypatch):
  crash = tmp_path / "crash.py"
  crash.write_text("import os\nos.abort()\n")
  path = tmp_path / "a.mat"
  scipy.io.savemat(path, {"FA": np.full(9, 30.0), "TR": np.full(9, 12.0)})
  assert load_sequence(path).n_frames == 9
  # Each sound file has one trial.
  monkeypatch.setattr(untrusted, "__file__", str(crash))
  assert load_sequence(path).n_frames == 9
  scipy.io.savemat(path, {"FA": np.full(10, 30.0), "TR": np.full(10, 12.0)})
  with pytest.raises(UserError, match=r"a\.mat: not a MATLAB file.*crashes"):
    load_sequence(path)
  trust(path)
  assert load_sequence(path).n_frames == 10


def test_failed_trial_is_an_error(tmp_path, monkeypatch):
  broken = tmp_path / "broken.py"
  broken.write_text("import nothing_of_this_name\n")
  path = tmp_path / "a.h5"
  write(path)
  monkeypatch.setattr(untrusted, "__file__", str(broken))
  with pytest.raises(ValueError, match=r"could not be tried: .*of_this_name"):
    try_file(path, HDF5)


def test_lower_limits_stay(tmp_path):
  """Limits below those of the trial, which must not raise them."""
  path = tmp_path / "a.mat"
  scipy.io.savemat(path, {"FA": np.full(9, 30.0)})
  lower = 1 << 30
  program = (
    "import resource, sys\n"
    f"resource.setrlimit(resource.RLIMIT_AS, ({lower}, {lower}))\n"
    "from mrf_jax.io.untrusted import MATLAB, try_file\n"
    "try_file(sys.argv[1], MATLAB)\n"
  )
  assert run_python(program, path).returncode == 0
  path.write_bytes(b"nothing" * 100)
  done = run_python(program, path)
  assert done.stderr.splitlines()[-1].startswith("ValueError: ")
  assert "could not be tried" not in done.stderr


def test_missing_file_passes(tmp_path):
  """Its reader reports it."""
  try_file(tmp_path / "gone", MATLAB)
