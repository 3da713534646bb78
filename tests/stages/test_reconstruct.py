"""From files to files: every format, and what is written."""

import dataclasses
import json
import os

import nibabel
import numpy as np
import pandas as pd
import pytest
import scipy.io

from configs import smoke as smoke_config
from mrf_jax import (
  UserError,
  load_model,
  load_subject,
  reconstruct,
  save_subject,
)
from mrf_jax.dataset.normalise import clip_outliers
from mrf_jax.evaluation.errors import map_errors
from mrf_jax.inference.bundle import load_config, save_model
from mrf_jax.matching.dictionary import build_dictionary, grid_axis
from mrf_jax.report.results import load_results
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import jiang_type
from mrf_jax.stages.import_scan import import_files
from mrf_jax.stages.reconstruct import reconstruct_files
from tests.dataset.examples import make_subject
from tests.importing.test_series import matlab73
from tests.stages.conftest import AFFINE, flags, maps_in

# Suffix to a function that writes images [x, y, slice, image].
WRITERS = {
  ".nii.gz": lambda path, images: nibabel.save(
    nibabel.Nifti1Image(images, AFFINE), path
  ),
  "-5.mat": lambda path, images: scipy.io.savemat(path, {"scan": images}),
  "-7.mat": lambda path, images: matlab73(path, scan=images),
  ".npy": np.save,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_formats_give_the_same_maps(suffix, scan, bundle, tmp_path):
  folder, subject, images = scan
  mask = str(folder / "mask.nii.gz")
  path = tmp_path / f"scan{suffix}"
  WRITERS[suffix](path, images)
  given = {
    "scan": str(path),
    "affine_from": None if suffix == ".nii.gz" else mask,
    "mask": mask,
    "schedule": str(folder / "train.txt"),
    "inversion_time_ms": str(subject.sequence.inversion_time_ms),
    "field_strength_t": 1.5,
    "window": subject.window,
    "stride": subject.stride,
  }
  imported = import_files(flags(**given, output=str(tmp_path / "s.h5")))
  found = load_subject(imported)
  np.testing.assert_array_equal(found.mask, subject.mask)
  np.testing.assert_array_equal(found.signals, subject.signals)
  np.testing.assert_allclose(found.affine, AFFINE, atol=1e-5)
  wanted = reconstruct(load_model(bundle), subject)
  # From the subject file, and from the series itself.
  for name, more in (("a", {"scan": str(imported)}), ("b", given)):
    out = tmp_path / name
    reconstruct_files(flags(model=bundle, **more, output=str(out)))
    for map_name, values in maps_in(out, subject.mask).items():
      image = nibabel.load(out / f"{map_name}.nii.gz")
      np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)
      field = map_name if map_name == "pd" else f"{map_name}_ms"
      np.testing.assert_allclose(
        values, getattr(wanted, field), rtol=1e-5, atol=1e-5
      )


def written_errors(folder):
  return pd.read_csv(folder / "errors.csv", index_col=["tissue", "map"])


def test_what_is_written_and_replaced(scan, bundle, tmp_path, capsys):
  folder, subject, _ = scan
  out = tmp_path / "new" / "out"
  given = {"scan": str(folder / "subject.h5"), "output": str(out)}
  more = {"uncertainty": True, "passes": 4}
  assert reconstruct_files(flags(model=bundle, **given, **more)) == out
  assert {path.name for path in out.iterdir()} == {
    *(f"{n}{s}.nii.gz" for n in ("pd", "t1", "t2") for s in ("", "_sd")),
    "fit.nii.gz",
    "doubtful.nii.gz",
    "overview.png",
    "errors.csv",
    "errors.md",
    "calibration.csv",
    "calibration.md",
    "reconstruction.json",
  }
  record = json.loads((out / "reconstruction.json").read_text())
  assert record["flags"]["passes"] == 4
  assert record["provenance"].startswith("simulated")
  assert "left out: subject 0" in record["estimators"][0]
  assert set(record["seconds"]) == {"read", "check", "reconstruct", "write"}
  # As the tables have them.
  reference = clip_outliers(subject.maps, percentiles=(0.1, 99.9))
  error = maps_in(out, subject.mask)["t1"] - reference.t1_ms
  row = written_errors(out).loc["brain", "t1_ms"]
  assert row.mae == pytest.approx(np.abs(error).mean(), rel=1e-4)
  assert row.voxels == subject.n_voxels
  assert "simulated" in (out / "errors.md").read_text()
  said = capsys.readouterr().out
  assert "Seconds" in said and "spatiotemporal" in said
  assert "trained with dropout" not in said
  # Nothing of it stays when another reconstruction is written there.
  (out / "mine.txt").write_text("kept")
  reconstruct_files(flags(model=bundle, **given))
  assert "trained with dropout" in capsys.readouterr().out
  names = {path.name for path in out.iterdir()}
  assert not names & {"t1_sd.nii.gz", "calibration.md", "calibration.csv"}
  assert {"t1.nii.gz", "errors.md", "mine.txt"} <= names


def test_maps_as_bids_derivatives(scan, bundle, tmp_path, capsys):
  folder, subject, _ = scan
  bids = tmp_path / "derivatives/mrf_jax/sub-01"
  out = reconstruct_files(
    flags(
      model=bundle,
      scan=str(folder / "subject.h5"),
      output=str(tmp_path / "out"),
      bids=str(bids),
    )
  )
  assert str(bids / "anat") in capsys.readouterr().out
  maps = maps_in(out, subject.mask)
  for name, factor in (("pd", 1), ("t1", 1000), ("t2", 1000)):
    path = bids / f"anat/sub-01_{name.upper()}map.nii.gz"
    image = nibabel.load(path)
    values = factor * image.get_fdata().T[subject.mask]
    np.testing.assert_allclose(values, maps[name], rtol=1e-6)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)
  sidecar = json.loads((bids / "anat/sub-01_T1map.json").read_text())
  assert sidecar["Simulated"] is True
  assert sidecar["BasedOn"] == ["subject.h5"]
  assert "Balsiger" in sidecar["EstimationReference"]
  # Passed on with the maps: folders of the computer are not.
  remarks = " ".join(sidecar["Remarks"])
  assert os.path.basename(bundle[0]) in remarks
  assert str(tmp_path.parent) not in json.dumps(sidecar)
  record = json.loads((out / "reconstruction.json").read_text())
  assert record["flags"]["bids"] == str(bids)


@pytest.mark.parametrize("name", ["dictionary", "dictionary_svd"])
def test_dictionary_of_the_scans_sequence(name, tmp_path):
  # Another train than the configuration's, fingerprints that lie on its grid.
  config = smoke_config.get_config()
  options = config.dictionary
  axes = (
    grid_axis(*axis, step_percent=options.step_percent)
    for axis in (options.t1_ms, options.t2_ms)
  )
  acquisition = Acquisition(jiang_type(80), window=10, stride=2)
  wanted = build_dictionary(acquisition.sequence, *axes, window=10, stride=2)
  some = np.arange(0, wanted.n_atoms, 5)
  mask = np.zeros((1, 8, len(some)), bool)
  mask[0, 3] = True
  signals = (2 * wanted.norms[:, None] * wanted.atoms)[some]
  signals = signals.astype(np.complex64)
  subject = make_subject(mask, acquisition, signals=signals, maps=None)
  save_subject(subject, tmp_path / "scan.h5")
  given = {"scan": str(tmp_path / "scan.h5"), "output": str(tmp_path / "out")}
  out = reconstruct_files(flags(model=name, config=config, **given))
  found = maps_in(out, mask)
  right = np.isclose(found["t1"], wanted.t1_ms[some]) & np.isclose(
    found["t2"], wanted.t2_ms[some]
  )
  assert right.mean() == 1 if name == "dictionary" else right.mean() > 0.8
  np.testing.assert_allclose(found["pd"][right], 2, rtol=1e-3)
  record = json.loads((out / "reconstruction.json").read_text())
  assert record["dictionary"]["svd_rank"] == options.svd_rank


def test_rank_above_the_number_of_images_is_named(scan, tmp_path):
  config = smoke_config.get_config()
  n_images = scan[1].n_windows
  config.dictionary.svd_rank = n_images + 1
  out = tmp_path / "out"
  words = f"--config.dictionary.svd_rank is {n_images + 1}, .* 1 and {n_images}"
  with pytest.raises(UserError, match=words):
    reconstruct_files(
      flags(
        model="dictionary_svd",
        config=config,
        scan=str(scan[0] / "subject.h5"),
        output=str(out),
      )
    )
  assert not out.exists()


def test_errors_are_those_of_table_1(smoke, tmp_path):
  """Of a left-out subject: clipped references, the same tissues."""
  model, scan = smoke / "models/cohen/fold-1", smoke / "data/subject-01.h5"
  given = flags(model=str(model), scan=str(scan), output=str(tmp_path))
  own = written_errors(reconstruct_files(given))["rmse"]
  results = load_results(smoke)[1]
  wanted = map_errors(
    results.estimates["cohen"], results.reference, results.tissues
  )
  for key, (_, rmse) in wanted.items():
    assert own[key] == pytest.approx(rmse, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("method", ["cohen", "spatiotemporal_plus"])
def test_estimates_stay_in_the_range_of_the_training_maps(
  method, smoke, tmp_path
):
  """Of the training subject alone, in all that uses a fold's network."""
  percentiles = smoke_config.get_config().preprocessing.clip_percentiles
  trained, left_out = (
    load_subject(smoke / f"data/subject-0{k}.h5") for k in (1, 0)
  )
  maps = clip_outliers(trained.maps, percentiles=percentiles).stack()
  ends = np.stack([maps.min(0), maps.max(0)])
  bundle = smoke / f"models/{method}/fold-0"
  model = load_model(bundle)
  bounds = model.physical_bounds()
  in_units = np.isfinite(bounds).all(0)
  # PD in the unit of the signals has no bounds.
  assert list(in_units) == [model.pd_unit == "references", True, True]
  np.testing.assert_allclose(bounds[:, in_units], ends[:, in_units], rtol=1e-5)
  ends[:, ~in_units] = bounds[:, ~in_units]
  estimates = reconstruct(model, left_out).stack()
  assert np.all(estimates >= ends[0] * (1 - 1e-5))
  assert np.all(estimates <= ends[1] * (1 + 1e-5))
  of_fold = load_results(smoke)[0].estimates[method].stack()
  np.testing.assert_allclose(of_fold, estimates, rtol=1e-4, atol=1e-4)


def test_estimates_at_a_bound_are_counted(smoke, tmp_path, capsys):
  """Old bundles have no bounds, and nothing is said of them."""
  source = smoke / "models/cohen/fold-0"
  model = load_model(source)
  subject = load_subject(smoke / "data/subject-00.h5")
  low, high = model.map_range.bounds
  # Half of the range is beyond it.
  narrow = np.stack([low, (low + high) / 2])
  for name, bounds, expected in (("now", narrow, True), ("old", None, False)):
    ranges = dataclasses.replace(model.map_range, bounds=bounds)
    changed = dataclasses.replace(model, map_range=ranges)
    save_model(changed, tmp_path / name, config=load_config(source))
    reconstruct_files(
      flags(
        model=str(tmp_path / name),
        scan=str(smoke / "data/subject-00.h5"),
        output=str(tmp_path / f"maps-{name}"),
        misfit="ignore",
      )
    )
    said = capsys.readouterr().out
    assert ("at a bound of the maps that the network" in said) == expected
    if expected:
      maps = reconstruct(changed, subject).stack()
      limit = ranges.physical_bounds()[1]
      count = np.count_nonzero(np.any(maps >= limit * (1 - 1e-5), 1))
      assert 0 < count < subject.n_voxels
      assert f"{count} of {subject.n_voxels} voxels" in said.replace(",", "")


def test_several_bundles_are_averaged(scan, smoke, tmp_path):
  folder, subject, _ = scan
  paths = [str(smoke / f"models/cohen/fold-{k}") for k in range(2)]
  given = {"scan": str(folder / "subject.h5"), "output": str(tmp_path)}
  # Deviations of doubtful voxels would be larger.
  options = {"uncertainty": True, "misfit": "ignore"}
  reconstruct_files(flags(model=paths, **options, **given))
  both = [reconstruct(load_model(path), subject).t1_ms for path in paths]
  found = maps_in(tmp_path, subject.mask, ("t1", "t1_sd"))
  wanted = np.mean(both, 0), np.std(both, 0, ddof=1)
  np.testing.assert_allclose([*found.values()], wanted, rtol=1e-4, atol=1e-2)
