"""An exported model, run without mrf_jax, gives the maps of its bundle."""

import dataclasses
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from mrf_jax import UserError, load_model, load_subject, reconstruct
from mrf_jax.inference.export import maps_of_volume
from mrf_jax.inference.model import reconstruct_with_deviations
from mrf_jax.maps import MAP_NAMES
from mrf_jax.stages.export import export_files
from tests.inference.examples import volume_of
from tests.stages.conftest import flags

SCRIPT = pathlib.Path(__file__).parents[2] / "docs/run_exported.py"
METHODS = ("spatiotemporal", "spatiotemporal_plus", "cohen", "hoppe")


def assert_close(values, expected):
  """Equal up to rounding, which differs between compiled programs."""
  scale = np.abs(expected).max()
  np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4 * scale)


@pytest.fixture(scope="module", params=METHODS)
def exported(request, smoke, tmp_path_factory):
  """Method, model, and the file that it is exported to."""
  bundle = smoke / f"models/{request.param}/fold-0"
  file = tmp_path_factory.mktemp("exported") / "model.stablehlo"
  export_files(flags(model=str(bundle), output=str(file)))
  return request.param, load_model(bundle), file


def test_the_script_gives_the_same_maps(exported, smoke, tmp_path):
  method, model, file = exported
  subject = load_subject(smoke / "data/subject-00.h5")
  volume = volume_of(subject)
  # Values outside the mask change nothing.
  volume[~subject.mask] = 7 + 3j
  np.save(tmp_path / "signals.npy", volume)
  np.save(tmp_path / "mask.npy", subject.mask)
  done = subprocess.run(
    # Isolated: the script cannot import mrf_jax from this folder.
    [sys.executable, "-I", SCRIPT, file, "signals.npy", "mask.npy"],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  maps, deviations = reconstruct_with_deviations(model, subject)
  expected = {name: getattr(maps, name) for name in MAP_NAMES}
  if deviations is not None:
    expected |= {f"{name}_sd": getattr(deviations, name) for name in MAP_NAMES}
  for name, values in expected.items():
    volume = np.load(tmp_path / f"{name}.npy")
    assert not volume[~subject.mask].any()
    assert_close(volume[subject.mask], values)
  assert (method == "spatiotemporal_plus") == ("pd_sd" in expected)


def test_one_file_fits_any_volume(exported, smoke):
  _, model, file = exported
  function = jax.export.deserialize(bytearray(file.read_bytes()))
  assert {"cpu", "cuda", "tpu"} <= set(function.platforms)
  subject = load_subject(smoke / "data/subject-01.h5")
  volume = volume_of(subject)
  for part in (np.s_[:1, :, :], np.s_[:, 3:30, 5:26], np.s_[:, :16, :32]):
    signals, mask = volume[part], subject.mask[part]
    cut = dataclasses.replace(subject, mask=mask, signals=signals[mask])
    volumes, maps = function.call(signals, mask), reconstruct(model, cut)
    for name in MAP_NAMES:
      assert_close(np.asarray(volumes[name])[mask], getattr(maps, name))


@pytest.mark.parametrize("per", ["subject", "voxel"])
def test_every_normalisation_is_exported(per, smoke):
  model = load_model(smoke / "models/cohen/fold-0")
  model = dataclasses.replace(model, normalise_signals_per=per)
  subject = load_subject(smoke / "data/subject-00.h5")
  volumes = maps_of_volume(model, volume_of(subject), subject.mask)
  maps = reconstruct(model, subject)
  assert_close(np.asarray(volumes["t1_ms"])[subject.mask], maps.t1_ms)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"model": None}, "--model is missing"),
    ({"output": None}, "--output is missing"),
    ({"model": ["a", "b"]}, "2 bundles; only reconstruct"),
    ({"model": "no"}, "no model bundle"),
    ({"output": "a.h5"}, "does not end in .stable"),
    ({"output": "no/m.stablehlo"}, "cannot be"),
  ],
)
def test_bad_flags_are_named(change, words, smoke, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  bundle = str(smoke / "models/cohen/fold-0")
  with pytest.raises(UserError, match=words):
    export_files(flags(**{"model": bundle, "output": "m.stablehlo", **change}))
  assert not list(tmp_path.iterdir())
