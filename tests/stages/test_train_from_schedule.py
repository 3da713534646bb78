"""A network for a sequence, from its schedule alone."""

import contextlib
import dataclasses
import io

import numpy as np
import pytest

from configs import smoke as smoke_config
from configs import train as train_config
from mrf_jax import (
  UserError,
  load_model,
  load_subject,
  save_subject,
  tailored,
)
from mrf_jax.command_line.configurations import load_built_in
from mrf_jax.experiment.settings import check_methods
from mrf_jax.inference.bundle import load_training
from mrf_jax.sequence.files import save_sequence
from mrf_jax.stages import crossval, train
from mrf_jax.stages.reconstruct import reconstruct_files
from mrf_jax.stages.train import train_files
from tests.inference.examples import within_deviations
from tests.laws import complex_noise
from tests.stages.conftest import flags, maps_in


@pytest.fixture
def schedule(tmp_path):
  path = tmp_path / "train.txt"
  save_sequence(tailored(96), path)
  return str(path)


def config(**changes):
  """The smallest heads, of which the second is kept out, and their truth."""
  tiny = smoke_config.get_config()
  tiny.methods = ("spatiotemporal_plus",)
  tiny.folds = (1,)
  tiny.data.acquired_maps = False
  tiny.update(changes)
  return tiny


def given(path, tmp_path, **changes):
  return flags(
    **{
      "schedule": path,
      "output": str(tmp_path / "models/mine"),
      "config": config(),
      **changes,
    }
  )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """A network that sees B1: its bundle, the flags, and what was printed."""
  folder = tmp_path_factory.mktemp("made")
  save_sequence(tailored(96), folder / "train.txt")
  options = given(
    str(folder / "train.txt"),
    folder,
    window=32,
    stride=4,
    noise_level=0.05,
    b1="map",
  )
  said = io.StringIO()
  with contextlib.redirect_stdout(said):
    out = train_files(options)
  return out, options, said.getvalue()


def test_a_bundle_for_the_schedule(made):
  out, options, said = made
  assert "noise level 0.05" in said
  # Nothing was acquired: what is printed is against the truth, with its bound.
  assert "Errors against the true maps" in said and "bound" in said
  assert "acquired" not in said
  model = load_model(out)
  acquisition = model.acquisition
  assert (acquisition.window, acquisition.stride) == (32, 4)
  np.testing.assert_allclose(
    acquisition.sequence.flip_angles_deg,
    tailored(96).flip_angles_deg,
    rtol=1e-6,
  )
  assert model.pd_unit == "signals" and model.network.match_step_percent > 0
  assert load_training(out)["left_out"] == 1
  root = out.with_name("mine.training")
  head = load_subject(root / "data/subject-00.h5")
  np.testing.assert_array_equal(head.maps.stack(), head.truth.stack())
  assert head.acquisition.difference(acquisition) is None
  # It is never written over; without it, the folder has all that is needed.
  before = (root / "data/subject-00.h5").stat().st_mtime_ns
  with pytest.raises(UserError, match="mine is there already"):
    train_files(options)
  out.rename(out.with_name("moved"))
  again = load_model(train_files(options))
  np.testing.assert_array_equal(
    again.variables["params"]["maps"]["kernel"],
    model.variables["params"]["maps"]["kernel"],
  )
  assert before == (root / "data/subject-00.h5").stat().st_mtime_ns


def test_standard_deviations_are_of_the_size_of_the_training_errors(made):
  out, _, _ = made
  head = load_subject(out.with_name("mine.training") / "data/subject-00.h5")
  within_one, within_two = within_deviations(
    load_model(out), [(head, head.maps)]
  )
  nearest = np.minimum(within_one - 0.68, within_two - 0.95)
  np.testing.assert_allclose(nearest, 0, atol=0.02)


def test_a_network_that_needs_a_map_of_b1(made, tmp_path, capsys):
  out, *_ = made
  model = load_model(out)
  assert model.network.sees_b1 and model.b1_range is not None
  low, high = model.b1_range
  head = load_subject(out.with_name("mine.training") / "data/subject-01.h5")
  assert np.std(head.b1 - head.true_b1) == pytest.approx(0.02, rel=0.1)
  assert low < head.b1.min() + 0.05 < head.b1.max() - 0.05 < high
  # Beyond what it learned the maps are marked, and said to be in doubt.
  head.b1[:40] = 3.0
  far = tmp_path / "far.h5"
  save_subject(dataclasses.replace(head, maps=None), far)
  maps = tmp_path / "maps"
  options = flags(model=str(out), scan=str(far), output=str(maps))
  reconstruct_files(options)
  said = capsys.readouterr().out
  assert f"is not between {low:.3g} and {high:.3g}" in said
  assert maps_in(maps, head.mask, ("doubtful",))["doubtful"][:40].all()
  bare = tmp_path / "bare.h5"
  save_subject(dataclasses.replace(head, b1=None), bare)
  options = flags(model=str(out), scan=str(bare), output=str(tmp_path / "none"))
  with pytest.raises(UserError, match="no B1 map, which the network sees"):
    reconstruct_files(options)
  assert not (tmp_path / "none").exists()


def test_a_folder_of_another_schedule_is_refused(schedule, tmp_path):
  root = tmp_path / "models/mine.training"
  root.mkdir(parents=True)
  save_sequence(tailored(120), root / "schedule.txt")
  before = (root / "schedule.txt").read_bytes()
  with pytest.raises(
    UserError, match=r"mine\.training: was begun with another"
  ):
    train_files(given(schedule, tmp_path))
  assert [x.name for x in root.iterdir()] == ["schedule.txt"]
  assert (root / "schedule.txt").read_bytes() == before


def test_a_schedule_that_tells_nothing_is_refused(schedule, tmp_path):
  with pytest.raises(UserError, match="96 frames do not tell T2 of WM"):
    train_files(given(schedule, tmp_path, noise_level=0.3))
  assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"field_strength_t": 4.7}, "no tissue values of 4.7 T, only of 0.55, 1.5"),
    ({"schedule": None}, "--schedule is missing"),
    ({"output": None}, "--output is missing"),
    ({"noise_level": -1.0}, "--noise_level: -1 is no noise"),
    ({"noise_level": float("nan")}, "--noise_level: nan is no noise"),
    ({"window": 100}, "--window, --stride"),
    ({"b1": "free"}, "--b1: 'free' is not one of none, map"),
    ({"time_unit": "h"}, "time_unit"),
    ({"config": config(folds=(0, 1))}, "train makes one network"),
    ({"config": config(methods=("gomez",))}, "0 networks in methods"),
    ({"config": {"methods": ()}}, "returns dict, not a ConfigDict"),
    ({"coil_loss": 0.01}, "--coil_loss is for --scan, which is missing"),
    ({"whiten": False}, "--whiten is for --scan, which is missing"),
  ],
)
def test_one_line_says_what_is_wrong(changes, words, schedule, tmp_path):
  with pytest.raises(UserError, match=words):
    train_files(given(schedule, tmp_path, **changes))
  assert not (tmp_path / "models").exists()


def test_files_are_not_for_it(schedule, tmp_path):
  own = config()
  own.data.files = ("a.h5", "b.h5")
  with pytest.raises(UserError, match=r"data\.files: train simulates"):
    train_files(given(schedule, tmp_path, config=own))


def test_another_noise_is_another_folder(schedule, tmp_path, monkeypatch):
  """Also where the first run was killed before it had a head."""
  options = given(schedule, tmp_path)

  def killed(config, workdir):
    (workdir.root / "data/subject-00.h5").touch()
    raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr(crossval, "simulate_missing", killed)
    with pytest.raises(KeyboardInterrupt):
      train_files(options)
  words = r"noise_level=.*; remove .*mine\.training, or choose another --output"
  with pytest.raises(UserError, match=words):
    train_files(given(schedule, tmp_path, noise_level=0.1))


def test_a_scan_tells_the_noise(schedule, tmp_path):
  """Of window images, as the network will see them."""
  x, y = np.indices((40, 40)) - 19.5
  disc = (np.hypot(x, y) < 12)[..., None, None]
  options = given(schedule, tmp_path, window=32, stride=4)
  _, acquisition, _ = train._with_schedule(config(), options)
  noise = complex_noise(40, 40, 1, acquisition.n_windows)
  np.save(tmp_path / "scan.npy", (disc + 0.07 * noise).astype(np.complex64))
  options["scan"] = str(tmp_path / "scan.npy")
  own, _, said = train._with_schedule(config(), options)
  assert own.scan.noise_level == pytest.approx(0.07, rel=0.05)
  level = f"noise level at most {own.scan.noise_level:.3g}, by"
  assert any(level in sentence for sentence in said)
  np.save(tmp_path / "scan.npy", disc + np.zeros(noise.shape, np.complex64))
  with pytest.raises(UserError, match=r"scan\.npy: there is no dark region"):
    train_files(options)
  np.save(tmp_path / "scan.npy", noise[..., :5])
  with pytest.raises(UserError, match=r"scan\.npy: 5 images"):
    train_files(options)
  options["noise_level"] = 0.05
  with pytest.raises(UserError, match="give one"):
    train_files(options)
  assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("frames", [100, 200, 1500])
def test_any_number_of_frames_is_checked_by_itself(frames, tmp_path):
  save_sequence(tailored(frames), tmp_path / "train.txt")
  options = given(
    str(tmp_path / "train.txt"), tmp_path, window=min(80, frames // 2)
  )
  own, acquisition, _ = train._with_schedule(load_built_in("train"), options)
  assert own.sequence.n_frames == frames
  own.sequence.path = str(tmp_path / "train.txt")
  check_methods(own)
  assert own.spatiotemporal_plus.training.rank <= acquisition.n_windows


def test_whole_numbers_may_be_scaled():
  own = load_built_in("train")
  with own.ignore_type():
    own.data.b0.shim_hz = 8
  train._set_field(own, 3.0)
  assert own.data.b0.shim_hz == 16.0


def test_its_configuration_is_read_as_a_command_reads_it():
  own = load_built_in("train")
  assert own.to_dict() == train_config.get_config().to_dict()
  assert train._network_of(own) == "spatiotemporal_plus"
  assert own.folds == (own.data.n_subjects - 1,)
