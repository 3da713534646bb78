"""A bundle learns from other scans, of its own train or of another."""

import dataclasses
import re
import shutil

import jax
import numpy as np
import pytest

from mrf_jax import (
  UserError,
  load_model,
  load_subject,
  reconstruct,
  save_subject,
)
from mrf_jax.dataset.normalise import clip_outliers
from mrf_jax.inference.bundle import load_config, load_training, save_model
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import jiang_type
from mrf_jax.stages import finetune
from mrf_jax.stages.finetune import finetune_files
from tests.inference.examples import changed_bundle, within_deviations
from tests.stages.conftest import flags


def given(smoke, folder, bundle="cohen/fold-0", **changes):
  """Flags that train a bundle further on subject 0, into `net` of a folder."""
  return flags(
    **{
      "model": str(smoke / "models" / bundle),
      "subjects": [str(smoke / "data/subject-00.h5")],
      "output": str(folder / "net"),
      **changes,
    }
  )


@pytest.fixture(scope="module")
def other_scan(smoke, tmp_path_factory):
  """Subject 0 as if another train had been played, of more frames."""
  subject = load_subject(smoke / "data/subject-00.h5")
  sequence = jiang_type(120)
  acquisition = Acquisition(sequence, window=48, stride=8)
  rng = np.random.default_rng(0)
  shape = subject.n_windows, acquisition.n_windows
  mixed = subject.signals @ rng.normal(size=shape)
  path = tmp_path_factory.mktemp("other") / "subject.h5"
  save_subject(
    dataclasses.replace(subject, acquisition=acquisition, signals=mixed), path
  )
  return str(path)


@pytest.mark.parametrize("method", ["spatiotemporal_plus", "cohen"])
def test_a_subject_is_learned(method, smoke, tmp_path, capsys):
  model = f"{method}/fold-0"
  options = {"epochs": 60, "learning_rate": 3e-3}
  out = finetune_files(given(smoke, tmp_path, model, **options))
  # No checkpoints are left.
  assert [p.name for p in tmp_path.iterdir()] == ["net"]
  subject = load_subject(smoke / "data/subject-00.h5")
  before, after = load_model(smoke / "models" / model), load_model(out)
  errors = [
    np.abs(reconstruct(model, subject).t1_ms - subject.maps.t1_ms).mean()
    for model in (before, after)
  ]
  assert errors[1] < 0.8 * errors[0]
  np.testing.assert_array_equal(after.map_range.high, before.map_range.high)
  # The maps of the new scan are training maps, too.
  ends = before.map_range.widened(
    [clip_outliers(subject.maps, percentiles=(0.1, 99.9))]
  )
  np.testing.assert_array_equal(after.map_range.bounds, ends.bounds)
  assert np.any(after.map_range.bounds != before.map_range.bounds)
  if before.basis is not None:
    np.testing.assert_array_equal(after.basis, before.basis)
  if after.predicts_deviations:
    references = clip_outliers(subject.maps, percentiles=(0.1, 99.9))
    shares = within_deviations(after, [(subject, references)])
    assert (shares > [[0.66], [0.93]]).all()
    # A scan that is known by heart makes no deviations smaller.
    scales = np.array([x.deviation_scale for x in (before, after)])
    assert (scales[1] >= scales[0]).all()
  training = load_training(out)
  assert training["subjects"] == [subject.subject]
  assert training["left_out"] is None
  assert training["voxels"] == subject.n_voxels
  said = capsys.readouterr().out
  # Steps first, then how long they take.
  order = [
    f"Training     {method}, {subject.n_voxels:,} voxels: 60 epochs of ",
    "Expected     ",
    f"Trained      {method}, 60 epochs",
  ]
  assert sorted(order, key=said.index) == order
  per_epoch, steps = re.findall(r"of ([\d,]+) steps, ([\d,]+) in all", said)[0]
  assert int(steps.replace(",", "")) == 60 * int(per_epoch.replace(",", ""))
  first, last = re.findall(r"T1 (\d+) ms", said)
  assert int(last) < int(first)


def test_training_starts_from_the_bundle(smoke, tmp_path):
  model = "spatiotemporal_plus/fold-1"
  out = finetune_files(given(smoke, tmp_path, model, learning_rate=1e-12))
  before, after = load_model(smoke / "models" / model), load_model(out)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8),
    before.variables["params"],
    after.variables["params"],
  )
  # A quarter of the steps of two epochs of as many voxels.
  assert load_training(out)["epochs"] == 1


@pytest.mark.parametrize("method", ["spatiotemporal_plus", "spatiotemporal"])
def test_it_goes_over_to_another_train(
  method, smoke, other_scan, tmp_path, capsys
):
  """With as many steps and as large ones as the first training had."""
  subject = load_subject(other_scan)
  source = smoke / f"models/{method}/fold-0"
  training = {**load_training(source), "voxels": 3 * subject.n_voxels}
  bundle = changed_bundle(source, tmp_path / "a", training=training)
  out = finetune_files(given(smoke, tmp_path, bundle, subjects=[other_scan]))
  said = capsys.readouterr().out
  assert "120 frames, not 96" in said
  before, after = load_model(bundle), load_model(out)
  assert after.sequence.n_frames == 120
  assert np.isfinite(reconstruct(after, subject).t1_ms).all()
  if method == "spatiotemporal":
    assert "first layer starts from random weights" in said
    assert after.basis is None
  else:
    assert "temporal components are computed again" in said
    assert after.basis.shape == (10, before.basis.shape[1])
  assert "signal statistics are computed again" in said
  n_components = after.n_windows if after.basis is None else 5
  assert after.statistics.reference.phase.shape == (n_components,)
  assert np.any(after.statistics.mean[:1] != before.statistics.mean[:1])
  training = load_training(out)
  first = load_config(source, sections=("training",))["training"]
  assert training["epochs"] == 3 * first["epochs"]
  assert training["learning_rate"] == first["learning_rate"]
  with pytest.raises(UserError, match="120 frames, the model needs 96"):
    reconstruct(before, subject)


def test_wrong_input_writes_nothing(smoke, other_scan, tmp_path):
  model = str(smoke / "models/cohen/fold-0")
  subject = str(smoke / "data/subject-00.h5")
  bare = tmp_path / "bare.h5"
  save_subject(dataclasses.replace(load_subject(subject), maps=None), bare)
  for change, words in (
    ({"model": None}, "--model is missing"),
    ({"subjects": None}, "--subjects is missing"),
    ({"model": [model, model]}, "only reconstruct accepts several"),
    ({"subjects": [str(bare)]}, "no reference maps"),
    ({"subjects": [subject, other_scan]}, "120 frames, but .* has 96"),
    ({"epochs": 0}, "epochs: 0"),
    ({"learning_rate": -1.0}, "learning_rate"),
    ({"model": str(tmp_path)}, "no model bundle"),
  ):
    with pytest.raises(UserError, match=words):
      finetune_files(given(smoke, tmp_path, **change))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare.h5"]
  (tmp_path / "net").mkdir()
  with pytest.raises(UserError, match="is there already"):
    finetune_files(given(smoke, tmp_path))


def test_of_another_power_it_is_refused(smoke, tmp_path):
  source = smoke / "models/cohen/fold-0"
  odd = changed_bundle(source, tmp_path / "odd", maps_powers=[1.0, 0.5, 0.5])
  with pytest.raises(UserError, match="map_powers"):
    finetune_files(given(smoke, tmp_path, odd))


@pytest.fixture(scope="module")
def killed_once(smoke, tmp_path_factory):
  folder = tmp_path_factory.mktemp("killed")

  def save_and_die(*args, **options):
    save_model(*args, **options)
    raise KeyboardInterrupt

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(finetune, "save_model", save_and_die)
    with pytest.raises(KeyboardInterrupt):
      finetune_files(given(smoke, folder, epochs=2))
  assert list((folder / "net.training/cohen/fold--1").glob("step-*"))
  return folder


@pytest.fixture
def killed(smoke, tmp_path, killed_once):
  """Flags of a run that was killed when its bundle stood already."""
  shutil.copytree(killed_once, tmp_path, dirs_exist_ok=True)
  return given(smoke, tmp_path, epochs=2)


@pytest.mark.parametrize("half_removed", [False, True])
def test_leftovers_of_killed_runs_go(killed, tmp_path, half_removed):
  if half_removed:
    for path in tmp_path.rglob("checkpoint.json"):
      path.unlink()
  with pytest.raises(UserError, match="is there already"):
    finetune_files(killed)
  assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_checkpoints_of_another_training_stay(killed, smoke, tmp_path):
  """Somebody has put another bundle there meanwhile."""
  shutil.rmtree(tmp_path / "net")
  shutil.copytree(smoke / "models/cohen/fold-1", tmp_path / "net")
  before = sorted((tmp_path / "net.training/cohen").rglob("*"))
  with pytest.raises(UserError, match="is there already"):
    finetune_files(killed)
  assert sorted((tmp_path / "net.training/cohen").rglob("*")) == before
  # They are gone on with.
  shutil.rmtree(tmp_path / "net")
  finetune_files(killed)
  assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_other_files_of_training_stay(smoke, tmp_path):
  """Checkpoints of another network that was to have the name, or a user's."""
  unfinished = tmp_path / "net.training"
  other = unfinished / "cohen/fold--1/step-00000001/checkpoint.json"
  other.parent.mkdir(parents=True)
  other.write_text("{}")
  model = "hoppe/fold-0"
  with pytest.raises(UserError):
    finetune_files(given(smoke, tmp_path, model, learning_rate=float("nan")))
  assert other.exists()
  finetune_files(given(smoke, tmp_path, model, learning_rate=1e-3))
  assert other.exists() and not (unfinished / ".lock").exists()
