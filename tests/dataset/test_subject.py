"""Subject files: round trip, and everything that can be wrong in one."""

import contextlib
import dataclasses
import os
import unittest.mock

import h5py
import numpy as np
import pytest

from mrf_jax.dataset.subject import Subject, load_subject, save_subject
from mrf_jax.errors import UserError
from mrf_jax.io import atomic, hdf5
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import make_sequence
from tests.dataset.examples import make_subject, random_maps
from tests.laws import complex_noise

N_VOXELS = 37


def _acquisition(window=6, stride=2, inversion_time_ms=20.0, **more):
  sequence = make_sequence(
    np.linspace(5, 70, 20),
    14.0,
    2.0,
    inversion_time_ms=inversion_time_ms,
    **more,
  )
  return Acquisition(sequence, window, stride)


def _subject(**changes) -> Subject:
  """A small subject: 20 frames in windows of 6, every second one kept."""
  rng = np.random.default_rng(0)
  mask = np.zeros(2 * 5 * 6, bool)
  mask[rng.choice(mask.size, N_VOXELS, replace=False)] = True
  fields = {
    "mask": mask.reshape(2, 5, 6),
    "acquisition": _acquisition(inversion_time_ms=20.0),
    "signals": complex_noise(N_VOXELS, 8),
    "truth": random_maps(N_VOXELS, seed=1),
    "head_to_atlas": np.eye(4) + 0.01 * np.eye(4, k=1) * [[1], [1], [1], [0]],
    "true_b1": rng.uniform(0.9, 1.1, N_VOXELS).astype(np.float32),
    "noise_sd": rng.uniform(0.1, 0.2, N_VOXELS).astype(np.float32),
    "true_b0_hz": rng.normal(0, 20, N_VOXELS).astype(np.float32),
  }
  return make_subject(**{**fields, **changes})


def _assert_equal(left, right):
  """The same values and types, field by field."""
  for field in dataclasses.fields(left):
    a, b = getattr(left, field.name), getattr(right, field.name)
    if dataclasses.is_dataclass(a):
      _assert_equal(a, b)
    elif isinstance(a, np.ndarray):
      assert a.dtype == b.dtype
      np.testing.assert_array_equal(a, b)
    else:
      assert type(a) is type(b)
      assert a == b


@pytest.fixture
def path(tmp_path):
  """A sound subject file."""
  path = tmp_path / "subject-01.h5"
  save_subject(_subject(), path)
  return path


def _refused(path, message, **arguments):
  """`load_subject` says in one line which file, and what is wrong."""
  with pytest.raises(UserError, match=message) as caught:
    load_subject(path, **arguments)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"maps": None},
    {"truth": None},
    {"maps": None, "truth": None, "head_to_atlas": None},
    {"acquisition": _acquisition(inversion_time_ms=None)},
    {
      "acquisition": _acquisition(
        slice_time_bandwidth=4.0, inversion_efficiency=0.9
      )
    },
  ],
  ids="all no-maps no-truth bare no-inversion profile".split(),
)
def test_round_trip(tmp_path, changes):
  subject = _subject(**changes)
  save_subject(subject, tmp_path / "a.h5")
  _assert_equal(load_subject(tmp_path / "a.h5"), subject)
  assert os.listdir(tmp_path) == ["a.h5"]


def test_load_without_signals(path):
  subject = load_subject(path, with_signals=False)
  assert subject.signals is None
  assert subject.n_voxels == N_VOXELS
  _assert_equal(subject, _subject(signals=None))


def test_file_keeps_its_layout(path):
  with h5py.File(path) as file:
    assert file.attrs["format"] == "mrf-subject"
    assert file.attrs["version"] == 1
    assert file["mask"].dtype == bool
    assert file["signals"].dtype == np.complex64
    assert file["signals"].chunks is None
    assert set(file["maps"]) == set(MAP_NAMES)
    assert set(file["truth"]) == {
      *MAP_NAMES,
      "head_to_atlas",
      "b1",
      "b0_hz",
      "noise_sd",
    }
    assert file["sequence"].attrs["inversion_time_ms"] == 20.0


def test_save_replaces_a_file(path):
  save_subject(_subject(subject="other"), path)
  assert load_subject(path).subject == "other"
  assert os.listdir(path.parent) == [path.name]


def test_missing_file_and_folder(tmp_path):
  _refused(tmp_path / "none.h5", "no such file")
  _refused(tmp_path, "not a readable HDF5 file")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.9999, "text"])
def test_truncated_file_and_text(path, share):
  content = path.read_bytes()
  if share == "text":
    path.write_text("flip angles\n" * 1000)
  else:
    path.write_bytes(content[: int(share * len(content))])
  _refused(path, "not a readable HDF5 file")
  _refused(path, "not a readable HDF5 file", with_signals=False)


@pytest.mark.parametrize(
  "name",
  [
    "mask",
    "signals",
    "affine",
    "sequence",
    "sequence/flip_angles_deg",
    "sequence/tr_ms",
    "sequence/te_ms",
    "sequence/rf_phases_deg",
    *(f"{group}/{n}" for group in ("maps", "truth") for n in MAP_NAMES),
  ],
)
def test_missing_item(path, name):
  with h5py.File(path, "r+") as file:
    del file[name]
  _refused(path, f"{name}.* is missing")


@pytest.mark.parametrize(
  ("group", "name", "wrong"),
  [
    ("/", "version", "one"),
    ("/", "subject", 3),
    ("/", "field_strength_t", "1.5"),
    ("/", "provenance", 1.0),
    ("sequence", "window", 6.0),
    ("sequence", "stride", "2"),
    ("sequence", "inversion_time_ms", np.ones(2)),
  ],
)
def test_missing_and_wrong_attribute(path, group, name, wrong):
  with h5py.File(path, "r+") as file:
    file[group].attrs[name] = wrong
  _refused(path, f"{name} is not of type")
  if name != "inversion_time_ms":  # absent where there is no inversion
    with h5py.File(path, "r+") as file:
      del file[group].attrs[name]
    _refused(path, f"{name} is missing")


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("format", None, "not an mrf-subject file"),
    ("format", "mrf-model", "not an mrf-subject file"),
    ("format", 3, "not an mrf-subject file"),
    ("format", np.arange(3), "not an mrf-subject file"),
    ("version", 2, "version 2; only version 1"),
    ("field_strength_t", 0.0, "field strength"),
    ("field_strength_t", -1.5, "field strength"),
    ("field_strength_t", np.nan, "field strength"),
    ("field_strength_t", np.inf, "field strength"),
  ],
)
def test_attribute_of_another_value(path, name, value, message):
  with h5py.File(path, "r+") as file:
    del file.attrs[name]
    if value is not None:
      file.attrs[name] = value
  _refused(path, message)


@pytest.mark.parametrize(
  ("name", "values", "message"),
  [
    ("mask", np.ones((2, 5, 6), np.uint8), "mask is uint8, not bool"),
    ("mask", np.ones((5, 6), bool), r"mask has shape \(5, 6\)"),
    ("mask", np.zeros((2, 5, 6), bool), "the mask has no voxels"),
    ("mask", np.ones((2, 5, 6), bool), "the mask has 60 voxels"),
    ("mask", h5py.Empty(bool), "mask is missing"),
    ("affine", np.eye(3), r"affine has shape \(3, 3\)"),
    ("affine", np.eye(4, dtype=np.float32), "affine is float32"),
    ("affine", np.full((4, 4), np.nan), "affine: 16 values are NaN"),
    ("affine", np.diag([1.0, 1.0, 0.0, 1.0]), "not an invertible affine"),
    ("affine", np.ones((4, 4)), "not an invertible affine"),
    ("truth/head_to_atlas", np.eye(3), "head_to_atlas has shape"),
    ("signals", np.ones((N_VOXELS, 8), np.complex128), "is complex128"),
    ("signals", np.ones(N_VOXELS, np.complex64), r"shape \(37,\)"),
    ("signals", np.ones((36, 8), np.complex64), r"\(36, 8\).* 37 voxels"),
    ("signals", np.ones((37, 9), np.complex64), "9 columns.* make 8"),
    ("maps/pd", np.ones(36, np.float32), "maps/pd has shape"),
    ("maps/t1_ms", np.ones(37), "maps/t1_ms is float64, not float32"),
    ("maps/t2_ms", np.full(37, np.inf, np.float32), "t2_ms: 37 values are"),
    ("truth/pd", np.full(37, np.nan, np.float32), "truth/pd: 37 values"),
    ("truth/b1", np.ones(36, np.float32), "truth/b1 has shape"),
    ("truth/b0_hz", np.full(37, np.nan, np.float32), "truth/b0_hz: 37 values"),
    ("truth/noise_sd", np.ones(37), "truth/noise_sd is float64"),
    ("truth/t1_ms", np.ones((37, 1), np.float32), "truth/t1_ms has shape"),
    ("sequence/tr_ms", np.full(19, 14.0), "sequence/tr_ms has shape"),
    ("sequence/tr_ms", np.full(1, 14.0), "sequence/tr_ms has shape"),
    ("sequence/tr_ms", np.full((20, 1), 14.0), "sequence/tr_ms has shape"),
    ("sequence/te_ms", np.full(20, 15.0), "not shorter than its TR"),
    ("sequence/flip_angles_deg", np.full(20, np.nan), "not finite"),
    ("sequence/flip_angles_deg", np.ones(20, np.int32), "is int32"),
  ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_item(path, name, values, message):
  with h5py.File(path, "r+") as file:
    del file[name]
    file[name] = values
  _refused(path, message)
  _refused(path, message, with_signals=False)


def test_group_in_place_of_a_dataset(path):
  with h5py.File(path, "r+") as file:
    del file["signals"]
    file.create_group("signals")
  _refused(path, "signals is missing")


def test_nan_and_infinity_are_counted(path):
  with h5py.File(path, "r+") as file:
    file["signals"][0, 0] = np.nan
    file["signals"][20, 3] = 1j * np.inf
    file["signals"][36, 7] = -np.inf
  _refused(path, "signals: 3 values are NaN or infinite")
  assert load_subject(path, with_signals=False).signals is None


@pytest.mark.parametrize("chunks", [None, (5, 3)])
@pytest.mark.parametrize("where", [(0, 0), (20, 3), (36, 7)])
def test_changed_signals_are_found_in_any_block(
  path, monkeypatch, chunks, where
):
  monkeypatch.setattr(hdf5, "_BLOCK_BYTES", 5 * 8 * 8)
  with h5py.File(path, "r+") as file:
    values, attrs = file["signals"][()], dict(file["signals"].attrs)
    del file["signals"]
    file.create_dataset("signals", data=values, chunks=chunks)
    file["signals"].attrs.update(attrs)
  np.testing.assert_array_equal(load_subject(path).signals, values)
  with h5py.File(path, "r+") as file:
    file["signals"][where] += 1
  _refused(path, "signals was changed after it was written")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"window": 21}, "window 21 and stride 2 do not fit 20 frames"),
    ({"window": 0}, "window 0"),
    ({"stride": 0}, "stride 0"),
    ({"stride": 1}, "8 columns, .* make 15"),
  ],
)
def test_windows_that_do_not_fit(path, changes, message):
  with h5py.File(path, "r+") as file:
    file["sequence"].attrs.update(changes)
  _refused(path, message)
  with pytest.raises(UserError, match=message):
    save_subject(_subject(acquisition=_acquisition(**changes)), path)


@contextlib.contextmanager
def _not_saved(path, message, error=UserError):
  """Saving to the file fails; it is the same after it, and alone there."""
  before = path.read_bytes()
  with pytest.raises(error, match=message) as caught:
    yield
  if error is UserError:
    assert str(path) in str(caught.value)
  assert os.listdir(path.parent) == [path.name]
  assert path.read_bytes() == before


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"signals": None}, "has no signals"),
    ({"mask": np.zeros((2, 5, 6), bool)}, "no voxels"),
    ({"signals": np.full((37, 8), np.nan, np.complex64)}, "296 values"),
    ({"maps": Maps(*np.ones((3, 36), np.float32))}, "maps/pd has shape"),
    ({"subject": "nul\0"}, "cannot be written"),
  ],
)
def test_save_refuses_what_load_would_refuse(path, changes, message):
  with _not_saved(path, message):
    save_subject(_subject(**changes), path)


@pytest.mark.parametrize(
  ("owner", "name", "error"),
  [
    (os, "replace", OSError(28, "No space left on device")),
    (os, "fsync", OSError(5, "Input/output error")),
    (h5py.File, "flush", OSError("Unable to flush file")),
    (h5py.File, "flush", RuntimeError("Can't decrement id ref count")),
  ],
)
def test_failed_write_keeps_old_file(path, monkeypatch, owner, name, error):
  monkeypatch.setattr(owner, name, unittest.mock.Mock(side_effect=error))
  with _not_saved(path, "cannot be written"):
    save_subject(_subject(), path)


def test_interrupt_leaves_no_temporary_file(path, monkeypatch):
  stopped = unittest.mock.Mock(side_effect=KeyboardInterrupt)
  monkeypatch.setattr(os, "replace", stopped)
  with _not_saved(path, None, KeyboardInterrupt):
    save_subject(_subject(), path)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_file_size_limit_is_checked_first(path, monkeypatch, share):
  """HDF5 crashes when a file cannot grow to the size that it needs."""
  limit = int(share * path.stat().st_size) - 1
  limits = unittest.mock.Mock(return_value=(limit, limit))
  monkeypatch.setattr(atomic.resource, "getrlimit", limits)
  with _not_saved(path, "larger than the system allows"):
    save_subject(_subject(), path)


def test_places_that_cannot_be_written(path, tmp_path):
  (tmp_path / "folder.h5").mkdir()
  for place in ("folder.h5", "none/a.h5", f"{path.name}/a.h5"):
    with pytest.raises(UserError, match=r"cannot be written|is a folder"):
      save_subject(_subject(), tmp_path / place)
  assert sorted(os.listdir(tmp_path)) == ["folder.h5", path.name]
