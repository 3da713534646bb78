"""K-space of a simulated head, written as ISMRMRD and imported again."""

import shutil

import h5py
import ismrmrd
import numpy as np
import pytest

from mrf_jax import UserError, load_raw_data
from mrf_jax.importing.raw import RawSeries
from mrf_jax.importing.scan import import_scan
from mrf_jax.io import atomic
from mrf_jax.io.ismrmrd_writer import write_raw_data
from mrf_jax.io.nifti import Place
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.subject import simulate_subject

WINDOW = 24


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
  """A head without noise, and the file of its k-space."""
  path = tmp_path_factory.mktemp("raw") / "scan.mrd"
  grid = SliceGrid(
    n_slices=2,
    matrix=48,
    fov_mm=240.0,
    slice_thickness_mm=5.0,
    centre_z_mm=15.0,
  )
  subject = simulate_subject(
    "simulated-00",
    np.random.default_rng(0),
    grid=grid,
    acquisition=Acquisition(tailored(48), WINDOW, 4),
    spiral=make_spiral(
      matrix=48, n_arms=WINDOW, samples_per_arm=300, density_power=1.25
    ),
    phantom={
      "head": dict(sharpness=4.0, warp_mm=3.0, rotation_deg=3.0, scaling=0.03),
      "between_subjects": 0.03,
      "within_tissue": 0.04,
      "b1_deviation": 0.1,
    },
    n_coils=4,
    noise_level=0.0,
    subspace_tolerance=1e-5,
    reference=dict(
      flip_angles_deg=(2.0, 8.0, 14.0),
      vfa_tr_ms=5.85,
      te_ms=(20.0, 40.0, 60.0),
      fse_tr_ms=1626.0,
      refocusing_deg=180.0,
      noise_level=0.01,
    ),
    raw_path=path,
  )
  return subject, path


def test_signals_but_for_a_factor(scanned):
  """Estimated coils leave a complex factor in each voxel."""
  subject, path = scanned
  signals = RawSeries(path, subject.acquisition).signals(subject.mask)
  expected = subject.signals
  cosine = np.abs(np.einsum("vt,vt->v", signals, expected.conj()))
  cosine /= np.linalg.norm(signals, axis=1) * np.linalg.norm(expected, axis=1)
  assert np.median(cosine) > 0.999
  assert np.mean(cosine > 0.99) > 0.9


def test_file_size_limit_is_checked_first(scanned, tmp_path, monkeypatch):
  """HDF5 crashes when a file cannot grow to the size that it needs."""
  raw = load_raw_data(scanned[1])
  n_slices = int(raw.slices.max()) + 1
  samples = raw.samples.reshape(n_slices, -1, *raw.samples.shape[1:])
  limit = scanned[1].stat().st_size - 1
  monkeypatch.setattr(atomic.resource, "getrlimit", lambda _: (limit, limit))
  with pytest.raises(UserError, match="larger than the system allows"):
    write_raw_data(
      tmp_path / "a.mrd",
      samples,
      raw.trajectory[: samples.shape[1]],
      matrix=48,
      affine=np.eye(4),
      tr_ms=np.full(samples.shape[1], 12.0),
      field_strength_t=1.5,
    )
  assert not list(tmp_path.iterdir())


def test_counters_flags_and_stamps(scanned):
  """Readers such as mrpro and BART want ±N/2, and sort by these fields."""
  subject, path = scanned
  with h5py.File(path) as file:
    rows = file["dataset/data"][()]
  heads = rows["head"]
  n_frames = subject.sequence.n_frames
  largest = max(np.abs(positions).max() for positions in rows["traj"])
  assert largest == pytest.approx(48 / 2, rel=1e-3)
  frames, slices = np.tile(np.arange(n_frames), 2), np.repeat([0, 1], n_frames)
  np.testing.assert_array_equal(heads["idx"]["kspace_encode_step_1"], frames)
  np.testing.assert_array_equal(heads["idx"]["slice"], slices)
  np.testing.assert_array_equal(heads["scan_counter"], np.arange(2 * n_frames))
  stamps = heads["acquisition_time_stamp"].astype(float)
  np.testing.assert_allclose(
    np.diff(stamps), np.tile(subject.sequence.tr_ms, 2)[:-1], atol=1
  )
  first, last = (
    (heads["flags"] & np.uint64(1 << (flag - 1)) != 0)
    for flag in (ismrmrd.ACQ_FIRST_IN_SLICE, ismrmrd.ACQ_LAST_IN_SLICE)
  )
  np.testing.assert_array_equal(np.flatnonzero(first), [0, n_frames])
  ends = [n_frames - 1, 2 * n_frames - 1]
  np.testing.assert_array_equal(np.flatnonzero(last), ends)


def test_files_of_before_are_read_alike(scanned, tmp_path):
  """They have cycles per voxel, no counters, and no mark of the unit."""
  subject, path = scanned
  old = tmp_path / "old.mrd"
  shutil.copyfile(path, old)
  with h5py.File(old, "a") as file:
    rows = file["dataset/data"][()]
    for row in rows:
      row["traj"] = row["traj"] / np.float32(48)
      row["head"]["idx"]["kspace_encode_step_1"] = 0
      row["head"]["acquisition_time_stamp"] = 0
      row["head"]["scan_counter"] = 0
    file["dataset/data"][...] = rows
    xml = file["dataset/xml"][0].decode()
    start = xml.index("<trajectoryDescription>")
    end = xml.index("</encoding>")
    file["dataset/xml"][0] = xml[:start] + xml[end:]
  new, before = (RawSeries(p, subject.acquisition) for p in (path, old))
  assert "the trajectory is in cycles_per_voxel" in before.assumptions
  np.testing.assert_allclose(
    before.mean_magnitude(), new.mean_magnitude(), rtol=1e-4, atol=1e-4
  )
  np.testing.assert_array_equal(before.affine, new.affine)


def test_unit_that_the_file_says_is_not_overruled(scanned):
  subject, path = scanned
  raw = RawSeries(path, subject.acquisition, trajectory_unit="cycles_per_fov")
  said = "the trajectory is in cycles_per_fov, as the file says"
  assert said in raw.assumptions
  with pytest.raises(UserError, match=r"in cycles_per_fov, --traj.*in per_m"):
    RawSeries(path, subject.acquisition, trajectory_unit="per_m")


def test_affine_of_the_scan(scanned):
  subject, path = scanned
  raw = RawSeries(path, subject.acquisition)
  np.testing.assert_allclose(raw.affine, subject.affine, atol=1e-3)
  assert raw.field_strength_t == subject.field_strength_t


def test_provenance_calls_it_simulated(scanned):
  subject, path = scanned
  raw = RawSeries(path, subject.acquisition)
  imported = import_scan(
    raw,
    Place(raw.affine),
    subject.acquisition,
    name="A",
    field_strength_t=1.5,
    align=True,
  )
  provenance = imported.subject.provenance
  assert provenance.startswith("simulated by mrf_jax, imported")
  # Without a skull the default mask is about the mask of the brain.
  both = imported.subject.mask & subject.mask
  assert both.sum() > 0.9 * subject.mask.sum()
