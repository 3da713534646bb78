"""Matching off the grid from files to files: maps, deviations and B1."""

import dataclasses
import json

import nibabel
import numpy as np
import pytest

from configs import smoke as smoke_config
from mrf_jax import UserError, save_subject, simulate_fingerprints
from mrf_jax.io.nifti import save_map
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.stages.reconstruct import reconstruct_files
from tests.dataset.examples import make_subject
from tests.laws import complex_noise
from tests.stages.conftest import flags, maps_in

ACQUISITION = Acquisition(tailored(160), window=8, stride=2)
MASK = np.zeros((2, 8, 9), bool)
MASK[:, 1:6, 2:8] = True
_MAPS = {"pd.nii.gz", "t1.nii.gz", "t2.nii.gz"}
_DEVIATIONS = {"pd_sd.nii.gz", "t1_sd.nii.gz", "t2_sd.nii.gz"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A simulated scan with its true maps as references, and its B1 map."""
  folder = tmp_path_factory.mktemp("fit")
  subject = make_subject(MASK, ACQUISITION)
  b1 = np.linspace(0.8, 1.2, subject.n_voxels).astype(np.float32)
  t1_ms = np.linspace(500, 2500, subject.n_voxels)[::-1]
  t2_ms = 60 + 0.05 * t1_ms
  echoes = simulate_fingerprints(ACQUISITION.sequence, t1_ms, t2_ms, b1=b1)
  frames = echoes + 1e-3 * complex_noise(*echoes.shape)
  signals = sliding_window(frames.astype(np.complex64), window=8, stride=2)
  maps = dataclasses.replace(
    subject.maps,
    pd=np.ones(len(b1), np.float32),
    t1_ms=t1_ms.astype(np.float32),
    t2_ms=t2_ms.astype(np.float32),
  )
  subject = dataclasses.replace(subject, signals=signals, maps=maps)
  save_subject(subject, folder / "scan.h5")
  save_subject(dataclasses.replace(subject, b1=b1), folder / "with_b1.h5")
  save_map(folder / "b1.nii.gz", b1, MASK, subject.affine)
  return folder


def run(folder, out, *, scan="scan.h5", model="dictionary_fit", **given):
  config = smoke_config.get_config()
  config.dictionary_fit.rank = 16
  found = reconstruct_files(
    flags(
      model=model,
      config=config,
      scan=str(folder / scan),
      output=str(out),
      **given,
    )
  )
  return found, json.loads((found / "reconstruction.json").read_text())


def rmse_t2(out, folder):
  t1_ms = np.linspace(500, 2500, np.count_nonzero(MASK))[::-1]
  return np.sqrt(np.mean((maps_in(out, MASK)["t2"] - 60 - 0.05 * t1_ms) ** 2))


def test_a_map_of_b1_from_a_file_or_the_subject(folder, tmp_path, capsys):
  b1_map = str(folder / "b1.nii.gz")
  out, record = run(folder, tmp_path / "a", b1_map=b1_map, uncertainty=True)
  names = {path.name for path in out.iterdir()}
  assert _MAPS | _DEVIATIONS | {"doubtful.nii.gz", "calibration.md"} <= names
  # It is given, not estimated.
  assert not names & {"b1.nii.gz", "b1_sd.nii.gz"}
  assert record["flags"]["b1_map"] == b1_map
  assert f"- B1 by {b1_map}: 0.8 to 1.2, median 1" in capsys.readouterr().out
  assert rmse_t2(out, folder) < 5
  same, _ = run(folder, tmp_path / "b", scan="with_b1.h5")
  assert not {path.name for path in same.iterdir()} & _DEVIATIONS
  for name, values in maps_in(out, MASK).items():
    np.testing.assert_allclose(maps_in(same, MASK)[name], values, rtol=1e-5)
  without, _ = run(folder, tmp_path / "c", scan="with_b1.h5", b1="none")
  assert rmse_t2(without, folder) > 3 * rmse_t2(out, folder)


def test_a_fitted_b1_is_written(folder, tmp_path):
  out, record = run(folder, tmp_path, b1="free", uncertainty=True)
  found = maps_in(out, MASK, ("b1", "b1_sd"))
  truth = nibabel.load(folder / "b1.nii.gz").get_fdata().T[MASK]
  assert np.median(np.abs(found["b1"] - truth)) < 0.02
  assert np.all((found["b1_sd"] > 0) & (found["b1_sd"] <= 0.3 + 1e-6))
  assert record["dictionary_fit"]["b1"] == "free"
  # Of another run that fits none, nothing stays.
  run(folder, tmp_path)
  assert not (tmp_path / "b1.nii.gz").exists()


def test_deviations_are_in_the_units_of_the_maps(folder, tmp_path):
  out, _ = run(folder, tmp_path, scan="with_b1.h5", uncertainty=True)
  found = maps_in(out, MASK, ("t2", "t2_sd", "doubtful"))
  t1_ms = np.linspace(500, 2500, np.count_nonzero(MASK))[::-1]
  sure = found["doubtful"] == 0
  scores = ((found["t2"] - 60 - 0.05 * t1_ms) / found["t2_sd"])[sure]
  assert sure.mean() > 0.9
  assert 0.6 < np.sqrt(np.mean(scores**2)) < 1.6


def test_other_methods_say_that_they_do_not_use_b1(folder, tmp_path, capsys):
  run(folder, tmp_path, scan="with_b1.h5", model="dictionary_svd")
  said = capsys.readouterr().out
  assert "dictionary_svd does not use the scan's B1 map" in said


@pytest.mark.parametrize(
  ("given", "words"),
  [
    ({"b1": "map"}, "B1 by a map is asked for, but the scan has none"),
    (
      {"scan": "with_b1.h5", "b1_map": "b1.nii.gz"},
      "with_b1.h5 is a subject file, which has its own B1 map",
    ),
  ],
)
def test_a_map_too_few_or_too_many(given, words, folder, tmp_path, monkeypatch):
  monkeypatch.chdir(folder)
  out = tmp_path / "out"
  with pytest.raises(UserError, match=words):
    run(folder, out, **given)
  assert not out.exists()


def test_values_of_the_dictionarys_b1_are_refused(folder, tmp_path):
  config = smoke_config.get_config()
  config.dictionary.b1 = (0.9, 1.0, 1.1)
  given = {"scan": str(folder / "scan.h5"), "output": str(tmp_path / "out")}
  with pytest.raises(UserError, match=r"dictionary\.b1 is not for dictionary_"):
    reconstruct_files(flags(model="dictionary_fit", config=config, **given))
