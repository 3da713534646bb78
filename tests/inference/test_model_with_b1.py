"""Networks that see a measured B1 map."""

import dataclasses
import pathlib
import runpy

import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.inference.bundle import load_model, save_model
from mrf_jax.inference.export import maps_of_volume
from mrf_jax.inference.model import (
  reconstruct_ensemble,
  reconstruct_with_deviations,
)
from mrf_jax.methods.estimators import model_estimator
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus
from mrf_jax.stages.export import export_files
from tests.inference.examples import (
  N_FRAMES,
  change_description,
  head,
  make_model,
  make_subject,
  volume_of,
)
from tests.networks.examples import random_variables
from tests.stages.conftest import flags

SCRIPT = str(pathlib.Path(__file__).parents[2] / "docs/run_exported.py")
RANGE = 0.8, 1.25


@pytest.fixture(scope="module")
def model():
  network = SpatiotemporalPlus(
    widths=(12, 8), depth=1, n_outputs=6, sees_b1=True
  )
  plain = make_model(SpatiotemporalPlus(widths=(12, 8), depth=1, n_outputs=6))
  return dataclasses.replace(
    plain,
    network=network,
    method="spatiotemporal_plus",
    variables=random_variables(network, n_channels=2 * N_FRAMES + 1),
    # Far from the bounds of PD, T1 and T2 that are possible.
    map_range=MapRange(np.array([50.0, 900, 40]), np.array([60.0, 1000, 50])),
    b1_range=RANGE,
  )


@pytest.fixture(scope="module")
def subject():
  plain = make_subject(head())
  b1 = np.random.default_rng(4).uniform(0.7, 1.4, plain.n_voxels)
  return dataclasses.replace(plain, b1=b1.astype(np.float32))


@pytest.fixture(scope="module")
def estimates(model, subject):
  maps, deviations = reconstruct_with_deviations(model, subject)
  return np.concatenate([maps.stack(), deviations.stack()], 1)


def with_b1(subject, b1):
  return dataclasses.replace(subject, b1=np.asarray(b1, np.float32))


def test_b1_changes_the_maps_of_its_voxels_and_around_them(model, subject):
  b1 = subject.b1.copy()
  b1[100] = 1.0 if b1[100] < 0.95 else 0.85
  maps, _ = reconstruct_with_deviations(model, with_b1(subject, b1))
  reference, _ = reconstruct_with_deviations(model, subject)
  change = np.abs(maps.stack() / reference.stack() - 1).max(1)
  differs = change > 1e-5
  assert differs[100] and differs.sum() <= 27
  places = np.argwhere(subject.mask)
  assert np.abs(places[differs] - places[100]).max() <= 1


def test_b1_beyond_the_training_is_its_end(model, subject, estimates):
  clipped = with_b1(subject, subject.b1.clip(*RANGE))
  maps, deviations = reconstruct_with_deviations(model, clipped)
  np.testing.assert_array_equal(
    np.concatenate([maps.stack(), deviations.stack()], 1), estimates
  )


def test_the_exported_function_takes_b1(model, subject):
  volume = np.full(subject.mask.shape, 9.0, np.float32)
  volume[subject.mask] = subject.b1
  found = maps_of_volume(model, volume_of(subject), subject.mask, volume)
  maps, deviations = reconstruct_with_deviations(model, subject)
  for name, values in (("t1_ms", maps.t1_ms), ("t2_ms_sd", deviations.t2_ms)):
    np.testing.assert_allclose(
      np.asarray(found[name])[subject.mask], values, rtol=2e-3, atol=2e-3
    )


def test_the_script_takes_b1(model, subject, tmp_path, monkeypatch, capsys):
  save_model(model, tmp_path / "model")
  monkeypatch.chdir(tmp_path)
  export_files(flags(model="model", output="model.stablehlo"))
  assert ", b1 float32 [slice, y, x]" in capsys.readouterr().out
  b1 = np.zeros(subject.mask.shape, np.float32)
  b1[subject.mask] = subject.b1
  arrays = {"signals": volume_of(subject), "mask": subject.mask, "b1": b1}
  for name, values in arrays.items():
    np.save(f"{name}.npy", values)
  np.save("percent.npy", 100 * b1)
  np.save("hole.npy", np.zeros_like(b1))
  given = "model.stablehlo", "signals.npy", "mask.npy"
  script = runpy.run_path(SCRIPT)
  script["main"](*given, "b1.npy")
  maps, _ = reconstruct_with_deviations(model, subject)
  found = np.load("t1_ms.npy")[subject.mask]
  np.testing.assert_allclose(found, maps.t1_ms, rtol=2e-3)
  for file, words in (
    (None, "sees a B1 map: b1.npy is missing"),
    ("percent.npy", "not per cent"),
    ("hole.npy", "without B1 above 0"),
    ("signals.npy", "not the factors of"),
  ):
    with pytest.raises(SystemExit, match=words):
      script["main"](*given, *([file] if file else []))


def test_a_bundle_keeps_the_range(model, subject, estimates, tmp_path):
  save_model(model, tmp_path / "model")
  stored = load_model(tmp_path / "model")
  assert stored.b1_range == RANGE and stored.network.sees_b1
  maps, _ = reconstruct_with_deviations(stored, subject)
  np.testing.assert_array_equal(maps.stack(), estimates[:, :3])


@pytest.mark.parametrize(
  ("b1_range", "words"),
  [
    ([1.2, 0.8], "from 1.2 to 0.8"),
    ([0.0, 1.0], "from 0 to 1"),
    ([0.9], "damaged model bundle"),
    ([0.9, float("nan")], "from 0.9 to nan"),
  ],
)
def test_a_range_that_cannot_be_is_a_damaged_bundle(
  b1_range, words, model, tmp_path
):
  save_model(model, tmp_path / "model")
  change_description(tmp_path / "model", b1_range=b1_range)
  with pytest.raises(UserError, match=words):
    load_model(tmp_path / "model")


def test_a_network_without_b1_has_no_range(model, tmp_path):
  network = SpatiotemporalPlus(widths=(12, 8), depth=1, n_outputs=6)
  plain = dataclasses.replace(make_model(network), method="spatiotemporal_plus")
  save_model(plain, tmp_path / "plain")
  assert load_model(tmp_path / "plain").b1_range is None
  change_description(tmp_path / "plain", b1_range=list(RANGE))
  with pytest.raises(UserError, match="but the network has sees_b1=False"):
    load_model(tmp_path / "plain")
  # The ends are needed where B1 is seen.
  with pytest.raises(ValueError, match="b1_range is None, but the network has"):
    dataclasses.replace(model, b1_range=None)


def test_models_of_one_ensemble_see_the_same(model, subject, tmp_path):
  network = SpatiotemporalPlus(widths=(12, 8), depth=1, n_outputs=6)
  plain = dataclasses.replace(make_model(network), method="spatiotemporal_plus")
  narrow = dataclasses.replace(model, b1_range=(0.9, 1.1))
  for name, own in (("a", model), ("b", narrow), ("plain", plain)):
    save_model(own, tmp_path / name)
  with pytest.raises(UserError, match=r"plain: its network does not see B1"):
    model_estimator([tmp_path / "a", tmp_path / "plain"])
  with pytest.raises(UserError, match=r"model: its network does not see B1"):
    reconstruct_ensemble([model, plain], subject)
  # Voxels that one of them does not know are in doubt.
  both = model_estimator([tmp_path / "b", tmp_path / "a"]).estimate(subject)
  outside = (subject.b1 < 0.9) | (subject.b1 > 1.1)
  np.testing.assert_array_equal(both.is_unsure, outside)
  assert len(both.sentences) == 2


def test_a_scan_without_b1_is_refused(model, subject):
  with pytest.raises(UserError, match="has no B1 map, which the network sees"):
    reconstruct_with_deviations(model, dataclasses.replace(subject, b1=None))
