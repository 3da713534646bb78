"""Files that crash their reader, or never end, are an error before reading."""

import os
import pathlib

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


@pytest.fixture
def new_server(tmp_path, monkeypatch):
  """Lets files be tried by another program from now on."""

  def start(code):
    program = tmp_path / "program.py"
    program.write_text(code)
    server = untrusted._Server()
    monkeypatch.setattr(untrusted, "__file__", str(program))
    monkeypatch.setattr(untrusted, "_server_of", lambda pid: server)
    return server

  return start


# The server itself, with a reader that crashes on one file.
CRASHING = f"""
import importlib.util, os
spec = importlib.util.spec_from_file_location("own", {untrusted.__file__!r})
own = importlib.util.module_from_spec(spec)
spec.loader.exec_module(own)
read = own._open
own._open = lambda kind, library, path: (
  os.abort() if path.endswith("a.mat") else read(kind, library, path)
)
own._serve()
"""


def test_crashing_reader_spares_the_caller(tmp_path, new_server):
  path = tmp_path / "a.mat"
  scipy.io.savemat(path, {"FA": np.full(9, 30.0), "TR": np.full(9, 12.0)})
  assert load_sequence(path).n_frames == 9
  # Each sound file has one trial.
  new_server(CRASHING)
  assert load_sequence(path).n_frames == 9
  scipy.io.savemat(path, {"FA": np.full(10, 30.0), "TR": np.full(10, 12.0)})
  with pytest.raises(UserError, match=r"a\.mat: not a MATLAB file.*crashes"):
    load_sequence(path)
  trust(path)
  assert load_sequence(path).n_frames == 10
  # The same process tries the next one.
  scipy.io.savemat(tmp_path / "b.mat", {"FA": np.full(9, 30.0)})
  try_file(tmp_path / "b.mat", MATLAB)


def test_one_process_tries_all_files(tmp_path):
  path = tmp_path / "a.h5"
  numbers = set()
  for size in range(3):
    with h5py.File(path, "w") as file:
      file["values"] = np.ones(1000 * size)
    try_file(path, HDF5)
    numbers.add(untrusted._server_of(os.getpid())._process.pid)
  assert len(numbers) == 1


def test_a_server_that_is_gone_is_started_again(tmp_path, new_server):
  server = new_server(pathlib.Path(untrusted.__file__).read_text())
  paths = [tmp_path / name for name in ("a.h5", "b.h5")]
  for path in paths:
    write(path)
  try_file(paths[0], HDF5)
  server._process.kill()
  server._process.wait()
  with pytest.raises(ValueError, match="could not be tried: no message"):
    try_file(paths[1], HDF5)
  try_file(paths[1], HDF5)


def test_a_fork_has_a_server_of_its_own(tmp_path):
  path = tmp_path / "a.h5"
  write(path)
  try_file(path, HDF5)
  ours = untrusted._server_of(os.getpid())
  process = ours._process
  ours._owner = 0  # As if this process had forked from another one.
  ours._end()
  assert process.poll() is None
  ours._owner, ours._process = os.getpid(), process


def test_failed_trial_is_an_error(tmp_path, new_server):
  path = tmp_path / "a.h5"
  write(path)
  new_server("import nothing_of_this_name")
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
