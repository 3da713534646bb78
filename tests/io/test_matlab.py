"""MATLAB files: variables, pieces, and damaged files of both kinds."""

import h5py
import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.io.matlab import open_matlab
from tests.io.matlab_files import mark_empty, save_v5, save_v73

SAVE = pytest.mark.parametrize("save", [save_v5, save_v73])


@pytest.fixture
def path(tmp_path):
  return tmp_path / "a.mat"


def arrays():
  rng = np.random.default_rng(0)
  pairs = rng.normal(size=(2, 3, 4, 5))
  return {
    "complex": pairs[0] + 1j * pairs[1],
    "single": pairs[0].astype(np.float32),
    "bytes": np.array([[12], [200]], np.uint8),
    "one": np.array([[18.0]]),
  }


@SAVE
def test_variables_of_both_versions(path, save):
  save(path, arrays())
  file = open_matlab(path)
  assert set(file.variables) == set(arrays())
  for name, values in arrays().items():
    assert file.variables[name].shape == values.shape
    actual = file.read(name)
    assert actual.dtype == values.dtype
    np.testing.assert_array_equal(actual, values)


@pytest.mark.parametrize("step", [1, 2, 5, 9])
@pytest.mark.parametrize("name", ["complex", "single"])
def test_pieces_are_the_whole(path, name, step):
  save_v73(path, arrays())
  file = open_matlab(path)
  assert file.is_hdf5
  pieces = list(file.pieces(name, step))
  assert [piece.shape[-1] for piece in pieces][:-1] == [step] * (4 // step)
  np.testing.assert_array_equal(np.concatenate(pieces, -1), arrays()[name])


def test_marked_variable_is_empty(path):
  save_v73(path, {"FA": [10.0, 20.0]})
  mark_empty(path, "TR", (1, 0))
  assert open_matlab(path).read("TR").size == 0


@SAVE
def test_variables_without_numbers(path, save):
  words = {save_v5: "ten", save_v73: np.array([b"ten"])}[save]
  save(path, {"text": words, "numbers": [1.0, 2.0]})
  file = open_matlab(path)
  assert file.variables["text"].dtype is None
  assert file.variables["numbers"].dtype == np.float64


def test_values_elsewhere_are_not_numbers(path):
  elsewhere = [(str(path.with_name("b")), 0, h5py.h5f.UNLIMITED)]
  with h5py.File(path, "w") as file:
    file["numbers"] = [1.0, 2.0]
    file.create_dataset("far", (3,), "f8", external=elsewhere)
  file = open_matlab(path)
  assert file.variables["far"].dtype is None
  np.testing.assert_array_equal(file.read("numbers"), [1, 2])


def test_claim_of_memory_is_an_error(path):
  with h5py.File(path, "w") as file:
    file.create_dataset("scan", (1 << 20, 1 << 20), "f8", chunks=(64, 64))
  file = open_matlab(path)
  for use in (file.check, file.read):
    with pytest.raises(UserError, match=r"a\.mat: /scan: .*more than the file"):
      use("scan")


@SAVE
def test_damaged_file_is_named(path, save):
  save(path, {"FA": np.linspace(5, 60, 500), "TR": np.full(500, 12.0)})
  whole = path.read_bytes()
  for size in (0, 100, len(whole) // 2):
    path.write_bytes(whole[:size])
    with pytest.raises(UserError, match=r"a\.mat: not a MATLAB file"):
      open_matlab(path).read("FA")
  with pytest.raises(UserError, match="there is no such file"):
    open_matlab(path.with_name("missing.mat"))
