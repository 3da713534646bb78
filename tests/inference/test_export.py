"""An exported model, run without mrf_jax, gives the maps of its bundle."""

import dataclasses
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from mrf_jax import UserError, load_model, load_subject, reconstruct
from mrf_jax.dataset.normalise import to_scale
from mrf_jax.inference.export import maps_of_volume
from mrf_jax.inference.model import reconstruct_with_deviations
from mrf_jax.maps import MAP_NAMES
from mrf_jax.stages.export import export_files
from tests.inference.examples import volume_of
from tests.stages.conftest import flags

SCRIPT = pathlib.Path(__file__).parents[2] / "docs/run_exported.py"
METHODS = ("spatiotemporal", "spatiotemporal_plus", "cohen", "hoppe")


def assert_close(values, expected):
  """Equal up to rounding, which differs between compiled programs.

  And but for a voxel or two that is as near to one atom of a match as to the
  next: it may begin from either, and so may what its neighbours see.
  """
  scale = np.abs(expected).max()
  is_close = np.isclose(values, expected, rtol=1e-3, atol=1e-4 * scale)
  assert np.count_nonzero(~is_close) <= 0.02 * len(expected)
  np.testing.assert_allclose(values, expected, rtol=0.3, atol=0.3 * scale)


@pytest.fixture(scope="module", params=METHODS)
def exported(request, smoke, tmp_path_factory):
  """Method, model, and the file that it is exported to."""
  bundle = smoke / f"models/{request.param}/fold-0"
  file = tmp_path_factory.mktemp("exported") / "model.stablehlo"
  export_files(flags(model=str(bundle), output=str(file)))
  return request.param, load_model(bundle), file


def run_script(folder, *arguments):
  """Runs the script, isolated: it cannot import mrf_jax from this folder."""
  return subprocess.run(
    [sys.executable, "-I", SCRIPT, *arguments],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
  )


def save_volume(subject, folder):
  """Writes the arrays that the script reads."""
  volume = volume_of(subject)
  # Values outside the mask change nothing.
  volume[~subject.mask] = 7 + 3j
  np.save(folder / "signals.npy", volume)
  np.save(folder / "mask.npy", subject.mask)


def check_maps(model, subject, folder) -> set[str]:
  """Names of the script's maps, after comparison with those of the bundle."""
  maps, deviations = reconstruct_with_deviations(model, subject)
  expected = {name: getattr(maps, name) for name in MAP_NAMES}
  if deviations is not None:
    expected |= {f"{name}_sd": getattr(deviations, name) for name in MAP_NAMES}
  for name, values in expected.items():
    volume = np.load(folder / f"{name}.npy")
    assert volume.shape == subject.mask.shape
    assert not volume[~subject.mask].any()
    assert_close(volume[subject.mask], values)
  return set(expected)


def test_the_script_gives_the_same_maps(exported, smoke, tmp_path):
  method, model, file = exported
  subject = load_subject(smoke / "data/subject-00.h5")
  save_volume(subject, tmp_path)
  done = run_script(tmp_path, file, "signals.npy", "mask.npy")
  assert done.returncode == 0, done.stderr
  names = check_maps(model, subject, tmp_path)
  assert (method == "spatiotemporal_plus") == ("pd_sd" in names)


def test_a_file_of_one_size_takes_smaller_volumes(smoke, tmp_path, capsys):
  bundle = smoke / "models/spatiotemporal_plus/fold-0"
  subject = load_subject(smoke / "data/subject-00.h5")
  save_volume(subject, tmp_path)
  slices, height, width = subject.mask.shape
  file, small = tmp_path / "model.stablehlo", tmp_path / "small.stablehlo"
  for path, shape in (
    (file, (slices + 1, height, width + 3)),
    (small, (slices, height - 1, width)),
  ):
    text = ",".join(map(str, shape))
    export_files(flags(model=str(bundle), output=str(path), export_shape=text))
    function = jax.export.deserialize(bytearray(path.read_bytes()))
    # No size stands open: with one, older versions of JAX do not run it.
    assert function.in_avals[1].shape == shape
    assert function.fun_name == f"maps_jax_{jax.__version__}"
  assert "Needs        jax 0.9 or newer" in capsys.readouterr().out
  done = run_script(tmp_path, file, "signals.npy", "mask.npy")
  assert done.returncode == 0, done.stderr
  check_maps(load_model(bundle), subject, tmp_path)
  done = run_script(tmp_path, small, "signals.npy", "mask.npy")
  assert done.returncode == 1
  assert "is for at most" in done.stderr


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
  # By each scan itself.
  model = dataclasses.replace(model, normalise_signals_per=per, statistics=None)
  subject = load_subject(smoke / "data/subject-00.h5")
  volumes = maps_of_volume(model, volume_of(subject), subject.mask)
  maps = reconstruct(model, subject)
  assert_close(np.asarray(volumes["t1_ms"])[subject.mask], maps.t1_ms)


@pytest.mark.parametrize("method", ["cohen", "spatiotemporal_plus"])
def test_statistics_of_training_are_exported(method, smoke):
  """As a function of this file, whose mask may leave out bright voxels."""
  model = load_model(smoke / f"models/{method}/fold-0")
  assert model.statistics is not None
  subject = load_subject(smoke / "data/subject-00.h5")
  subject.signals[:] *= np.complex64(40 * np.exp(1j))
  volume = volume_of(subject)
  volume[~subject.mask] = 1e4
  volumes = maps_of_volume(model, volume, subject.mask)
  maps = reconstruct(model, subject)
  assert_close(np.asarray(volumes["t1_ms"])[subject.mask], maps.t1_ms)


def test_bounds_are_exported(smoke):
  model = load_model(smoke / "models/spatiotemporal_plus/fold-0")
  subject = load_subject(smoke / "data/subject-00.h5")
  ranges = model.map_range.unbounded()
  free = reconstruct(dataclasses.replace(model, map_range=ranges), subject)
  # So narrow that both ends are reached.
  scaled = to_scale(free.stack().astype(float), powers=ranges.powers)
  narrow = np.percentile(scaled, (30, 70), axis=0)
  model = dataclasses.replace(
    model, map_range=dataclasses.replace(ranges, bounds=narrow)
  )
  volumes = maps_of_volume(model, volume_of(subject), subject.mask)
  ends = model.physical_bounds()
  # PD is in the unit of the signals.
  assert not np.isfinite(ends[:, 0]).any()
  assert_close(np.asarray(volumes["pd"])[subject.mask], free.pd)
  for values, name in zip(ends.T[1:], MAP_NAMES[1:], strict=True):
    inside = np.asarray(volumes[name])[subject.mask]
    assert inside.min() == pytest.approx(values[0], rel=1e-5)
    assert inside.max() == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"model": None}, "--model is missing"),
    ({"output": None}, "--output is missing"),
    ({"model": ["a", "b"]}, "2 bundles; only reconstruct"),
    ({"model": "no"}, "no model bundle"),
    ({"output": "a.h5"}, "does not end in .stable"),
    ({"output": "no/m.stablehlo"}, "cannot be"),
    ({"export_shape": "6,96"}, "'6,96' is not three numbers"),
    ({"export_shape": "6,x,96"}, "'6,x,96' is not three numbers"),
    ({"export_shape": "0,96,96"}, "'0,96,96' is not three numbers"),
  ],
)
def test_bad_flags_are_named(change, words, smoke, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  bundle = str(smoke / "models/cohen/fold-0")
  with pytest.raises(UserError, match=words):
    export_files(flags(**{"model": bundle, "output": "m.stablehlo", **change}))
  assert not list(tmp_path.iterdir())


def scan_files(folder):
  """Writes a mask, signals of another length, and what is no model."""
  np.save(folder / "mask.npy", np.ones((1, 4, 4), bool))
  np.save(folder / "signals.npy", np.ones((1, 4, 4, 5), np.complex64))
  np.save(folder / "empty.npy", np.zeros((1, 4, 4), bool))
  np.save(folder / "nan.npy", np.full((1, 4, 4, 7), np.nan, np.complex64))
  (folder / "text.stablehlo").write_text("not a model\n")
  add = jax.export.export(jax.jit(lambda x: x + 1))(np.ones(3, np.float32))
  (folder / "add.stablehlo").write_bytes(bytes(add.serialize()))
  # Like a file of a newer JAX: its module is one that this JAX cannot read.
  maps = jax.export.export(jax.jit(lambda x, y: {"t1_ms": y * 1.0}))(
    np.ones((1, 4, 4, 5), np.complex64), np.ones((1, 4, 4), bool)
  )
  unreadable = dataclasses.replace(
    maps, mlir_module_serialized=b"vhlo", fun_name="maps_jax_99.0"
  )
  (folder / "newer.stablehlo").write_bytes(bytes(unreadable.serialize()))


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (("text.stablehlo", "signals.npy", "mask.npy"), "not an exported model"),
    (("missing.stablehlo", "signals.npy", "mask.npy"), "missing.stablehlo is"),
    (("add.stablehlo", "signals.npy", "mask.npy"), "not a model of mrf_jax"),
    (("newer.stablehlo", "signals.npy", "mask.npy"), "jax 99.0 has written"),
    (("newer.stablehlo", "nan.npy", "mask.npy"), "7 windows"),
    (("newer.stablehlo", "signals.npy", "empty.npy"), "has no voxels"),
    (("newer.stablehlo", "mask.npy", "signals.npy"), "of the same voxels"),
    (("newer.stablehlo", "add.stablehlo", "mask.npy"), "readable .npy"),
  ],
)
def test_the_script_ends_in_one_line(arguments, words, tmp_path):
  scan_files(tmp_path)
  done = run_script(tmp_path, *arguments)
  assert done.returncode == 1
  assert re.fullmatch(r"error: .*\n", done.stderr), done.stderr
  assert words in done.stderr
  assert not done.stdout
