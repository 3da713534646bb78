"""An exported model, run without mrf_jax, gives the maps of the bundle."""

import collections
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
from mrf_jax.stages.export import export_files

SCRIPT = pathlib.Path(__file__).parent.parent / "docs/run_exported.py"
METHODS = ("spatiotemporal", "spatiotemporal_plus", "cohen", "hoppe")


def flags(**given):
  return collections.defaultdict(lambda: None, given)


def volume_of(subject):
  volume = np.zeros((*subject.mask.shape, subject.n_windows), np.complex64)
  volume[subject.mask] = subject.signals
  return volume


@pytest.mark.parametrize("method", METHODS)
def test_the_script_gives_the_maps_of_the_bundle(method, smoke, tmp_path):
  bundle = smoke / f"models/{method}/fold-0"
  file = tmp_path / "model.stablehlo"
  export_files(flags(model=[str(bundle)], output=str(file)))
  subject = load_subject(smoke / "data/subject-00.h5")
  volume = volume_of(subject)
  # Garbage outside the mask changes nothing.
  volume[~subject.mask] = 7 + 3j
  np.save(tmp_path / "signals.npy", volume)
  np.save(tmp_path / "mask.npy", subject.mask)
  done = subprocess.run(
    # Isolated: this folder is not on its path.
    [sys.executable, "-I", SCRIPT, file, "signals.npy", "mask.npy"],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  maps, deviations = reconstruct_with_deviations(load_model(bundle), subject)
  wanted = {name: getattr(maps, name) for name in ("pd", "t1_ms", "t2_ms")}
  if deviations is not None:
    wanted |= {f"{name}_sd": getattr(deviations, name) for name in wanted}
  for name, values in wanted.items():
    found = np.load(tmp_path / f"{name}.npy")
    assert not found[~subject.mask].any()
    scale = np.abs(values).max()
    np.testing.assert_allclose(
      found[subject.mask], values, rtol=1e-3, atol=1e-4 * scale
    )
  assert (method == "spatiotemporal_plus") == ("pd_sd" in wanted)


@pytest.mark.parametrize("method", METHODS)
def test_one_file_serves_any_number_of_slices_and_any_matrix(
  method, smoke, tmp_path
):
  model = load_model(smoke / f"models/{method}/fold-0")
  file = export_files(
    flags(
      model=[str(smoke / f"models/{method}/fold-0")],
      output=str(tmp_path / "m.stablehlo"),
    )
  )
  exported = jax.export.deserialize(bytearray(file.read_bytes()))
  assert {"cpu", "cuda", "tpu"} <= set(exported.platforms)
  subject = load_subject(smoke / "data/subject-01.h5")
  whole = volume_of(subject)
  for place in (np.s_[:1, :, :], np.s_[:, 3:30, 5:26], np.s_[:, :16, :32]):
    signals, mask = whole[place], subject.mask[place]
    part = type(subject)(
      **{**vars(subject), "mask": mask, "signals": signals[mask]}
    )
    found = exported.call(signals, mask)
    wanted = reconstruct(model, part)
    for name in ("pd", "t1_ms", "t2_ms"):
      values = getattr(wanted, name)
      np.testing.assert_allclose(
        np.asarray(found[name])[mask],
        values,
        rtol=1e-3,
        atol=1e-4 * np.abs(values).max(),
      )


@pytest.mark.parametrize("per", ["subject", "voxel"])
def test_every_normalisation_is_inside(per, smoke):
  model = load_model(smoke / "models/cohen/fold-0")
  model = dataclasses.replace(model, normalise_signals_per=per)
  subject = load_subject(smoke / "data/subject-00.h5")
  found = maps_of_volume(model, volume_of(subject), subject.mask)
  values = reconstruct(model, subject).t1_ms
  np.testing.assert_allclose(
    np.asarray(found["t1_ms"])[subject.mask],
    values,
    rtol=1e-3,
    atol=1e-4 * np.abs(values).max(),
  )


def test_mistakes_are_named(smoke, tmp_path):
  bundle = str(smoke / "models/cohen/fold-0")
  out = str(tmp_path / "m.stablehlo")
  for given, words in (
    ({"output": out}, "--model is missing"),
    ({"model": [bundle]}, "--output is missing"),
    ({"model": [bundle, bundle], "output": out}, "one is exported"),
    ({"model": [str(tmp_path)], "output": out}, "no model bundle"),
    ({"model": [bundle], "output": str(tmp_path / "a.h5")}, "is no name of"),
    (
      {"model": [bundle], "output": str(tmp_path / "no/m.stablehlo")},
      "cannot be",
    ),
  ):
    with pytest.raises(UserError, match=words):
      export_files(flags(**given))
    assert not list(tmp_path.iterdir())
