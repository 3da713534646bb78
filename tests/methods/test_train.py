"""Training of a network on scans in memory, and the model that it makes."""

import dataclasses

import flax.linen as nn
import ml_collections
import numpy as np
import pytest

import mrf_jax
from mrf_jax import UserError
from mrf_jax.inference.bundle import load_config
from mrf_jax.inference.training_scans import load_training_scans
from mrf_jax.maps import Maps
from mrf_jax.methods.network import fold_range
from mrf_jax.methods.network_options import signal_rank, training_options
from mrf_jax.training.train import TrainedFold
from tests.dataset.examples import make_subject
from tests.inference.examples import within_deviations
from tests.laws import complex_noise

ACQUISITION = mrf_jax.Acquisition(mrf_jax.tailored(18))
NETWORK = mrf_jax.Cohen(widths=(16,))
# A few steps of few voxels.
FEW = {"epochs": 1, "batch": 64}


def scan(seed=0, n_voxels=144, **fields):
  """A scan of simulated fingerprints with little noise, of any phase."""
  rng = np.random.default_rng(seed)
  t1_ms = np.exp(rng.uniform(np.log(400), np.log(2500), n_voxels))
  t2_ms, pd = rng.uniform(40, 160, n_voxels), rng.uniform(0.6, 1, n_voxels)
  signals = mrf_jax.simulate_fingerprints(ACQUISITION.sequence, t1_ms, t2_ms)
  signals = signals * pd[:, None] * np.exp(1j * rng.normal(size=(n_voxels, 1)))
  noise = 1e-3 * complex_noise(n_voxels, ACQUISITION.n_windows, seed=seed)
  maps = Maps.unstack(np.stack([pd, t1_ms, t2_ms], 1).astype(np.float32))
  signals = (signals + noise).astype(np.complex64)
  given = {"signals": signals, "maps": maps, **fields}
  mask = np.ones((1, 12, n_voxels // 12), bool)
  return make_subject(mask, ACQUISITION, seed, **given)


@pytest.fixture(scope="module")
def trained():
  """A model, and what was reported of its epochs."""
  seen = []
  model = mrf_jax.train(
    NETWORK,
    [scan(0), scan(1)],
    epochs=20,
    learning_rate=1e-2,
    batch=32,
    on_epoch=lambda epoch, values: seen.append((epoch, values)),
  )
  return model, seen


def test_maps_of_a_new_scan_beat_the_mean(trained):
  model, _ = trained
  new = scan(2)
  maps = mrf_jax.reconstruct(model, new)
  reference = new.maps.t1_ms
  error = np.abs(maps.t1_ms - reference).mean()
  assert error < 0.7 * np.abs(reference.mean() - reference).mean()


def test_epochs_are_reported(trained):
  _, seen = trained
  assert [epoch for epoch, _ in seen] == list(range(1, 21))
  names = {"loss", "mae_pd", "mae_t1_ms", "mae_t2_ms"}
  assert all(values.keys() == names for _, values in seen)
  first, last = seen[0][1], seen[-1][1]
  assert last["loss"] < first["loss"]
  assert last["mae_t1_ms"] < first["mae_t1_ms"]


def test_equal_seeds_give_equal_models():
  scans = [scan(0)]
  models = [
    mrf_jax.train(NETWORK, scans, seed=seed, **FEW) for seed in (1, 1, 2)
  ]
  one, same, other = (
    model.variables["params"]["maps"]["kernel"] for model in models
  )
  np.testing.assert_array_equal(one, same)
  assert np.any(one != other)


def test_bundle_is_whole(trained, tmp_path):
  """It knows its scans, its options, and survives being saved twice."""
  model, _ = trained
  mrf_jax.save_model(model, tmp_path / "one")
  mrf_jax.save_model(mrf_jax.load_model(tmp_path / "one"), tmp_path / "two")
  new = scan(2)
  maps = mrf_jax.reconstruct(model, new)
  for name in ("one", "two"):
    loaded = mrf_jax.load_model(tmp_path / name)
    again = mrf_jax.reconstruct(loaded, new)
    np.testing.assert_array_equal(maps.stack(), again.stack())
    scans = load_training_scans(tmp_path / name)
    assert scans.are_all
    assert [own.subject for own in scans.scans] == ["subject 0", "subject 1"]
    config = ml_collections.ConfigDict(load_config(tmp_path / name))
    options = training_options(config, "cohen")
    assert (options.epochs, options.batch, options.tile) == (20, 32, 1)
    assert options.schedule == "cosine"
    assert signal_rank(config, "cohen") is None


@pytest.mark.parametrize("rank", [None, 4])
def test_gain_and_phase_of_a_scan_do_not_matter(rank):
  """By default, as they differ from scanner to scanner."""
  model = mrf_jax.train(NETWORK, [scan(0), scan(1)], rank=rank, **FEW)
  new = scan(2)
  changed = dataclasses.replace(new, signals=new.signals * np.complex64(-70j))
  maps = mrf_jax.reconstruct(model, new).stack()
  np.testing.assert_allclose(
    mrf_jax.reconstruct(model, changed).stack(), maps, rtol=1e-3
  )
  own = mrf_jax.train(
    NETWORK, [scan(0), scan(1)], rank=rank, normalise_signals_by="scan", **FEW
  )
  assert own.statistics is None
  assert own.config["preprocessing"]["normalise_signals_by"] == "scan"
  maps = mrf_jax.reconstruct(own, new).stack()
  other = mrf_jax.reconstruct(own, changed).stack()
  assert np.abs(other / maps - 1).max() > 0.05


def test_temporal_components():
  model = mrf_jax.train(NETWORK, [scan(0)], rank=4, **FEW)
  assert model.basis.shape == (18, 4)
  assert model.statistics.reference.phase.shape == (4,)
  assert model.normalise_signals_per == "subject"
  kernel = model.variables["params"]["hidden_0"]["kernel"]
  assert kernel.shape[0] == 8
  assert np.isfinite(mrf_jax.reconstruct(model, scan(1)).stack()).all()


def test_network_by_name_predicts_deviations():
  network = mrf_jax.SpatiotemporalPlus(widths=(4, 4), depth=1)
  model = mrf_jax.train(network, [scan(0)], epochs=1, tile=4, rank=3)
  assert model.method == "spatiotemporal_plus"
  assert model.config["training"]["loss"] == "separate_likelihood"
  _, deviations = mrf_jax.reconstruct_with_deviations(model, scan(1))
  assert np.all(deviations.t1_ms > 0)
  within_one, within_two = within_deviations(model, [(scan(0), scan(0).maps)])
  # One of the two is just reached.
  nearest = np.minimum(within_one - 0.68, within_two - 0.95)
  np.testing.assert_allclose(nearest, 0, atol=0.02)


class Linear(nn.Module):
  """A network that is not one of ours."""

  reach = 0
  slices = 1

  @nn.compact
  def __call__(self, signals, *, train):
    del train
    return nn.Dense(3)(signals)


def test_a_network_of_ones_own(tmp_path):
  model = mrf_jax.train(Linear(), [scan(0)], **FEW)
  assert mrf_jax.reconstruct(model, scan(1)).t1_ms.shape == (144,)
  with pytest.raises(UserError, match=r"stores networks of mrf_jax .*Linear"):
    mrf_jax.save_model(model, tmp_path / "model")
  assert not list(tmp_path.iterdir())


def test_model_prints_in_three_lines(trained):
  lines = repr(trained[0]).splitlines()
  assert len(lines) == 3
  assert lines[0] == f"Model cohen: {36 * 16 + 16 + 16 * 3 + 3} trained values"
  assert lines[2] == "  scans of 18 frames, 18 images of single frames, 1.5 T"


def frames_of(subject):
  """The scan as if its windows were of three frames."""
  return dataclasses.replace(
    subject, acquisition=mrf_jax.Acquisition(subject.sequence, 3, 3)
  )


@pytest.mark.parametrize(
  ("network", "scans", "options", "message"),
  [
    (NETWORK, [], {}, "there are no subjects"),
    ("unet", [scan(0)], {}, "network: 'unet' is not one of spatiotemporal"),
    (nn.Dense(3), [scan(0)], {}, "Dense is neither one of .* with reach"),
    (
      NETWORK,
      [scan(0)],
      {"epoch": 3},
      "option: 'epoch' .*epochs",
    ),
    (NETWORK, [scan(0)], {"folds_at_once": 1}, "option: 'folds_at_once'"),
    (NETWORK, [scan(0)], {"epochs": 0}, "training.epochs: 0 is not at least 1"),
    (NETWORK, [scan(0)], {"rank": 19}, "rank is 19, not between 1 and 18"),
    (NETWORK, [scan(0)], {"rank": 0}, "rank is 0, not between 1 and 18"),
    (NETWORK, [scan(0)], {"normalise_signals_per": "day"}, "'day' is not one"),
    (NETWORK, [scan(0)], {"normalise_signals_by": "day"}, "'day' is not one"),
    (NETWORK, [scan(0)], {"loss": "likelihood"}, "3 outputs, the loss .* 6"),
    (NETWORK, [scan(0, maps=None)], {}, "subject 0: has no reference maps"),
    (NETWORK, [scan(0, signals=None)], {}, "subject 0 has no signals"),
    (NETWORK, [scan(0), scan(0)], {}, "is the same scan as subject 0"),
    (
      NETWORK,
      [scan(0), scan(1, field_strength_t=3.0)],
      {},
      "subject 1: is a scan at 3 T, but subject 0 at 1.5 T",
    ),
    (
      NETWORK,
      [scan(0, signals=np.full((144, 18), np.nan, np.complex64))],
      {},
      "signals: 2592 values are NaN",
    ),
    (
      NETWORK,
      [frames_of(scan(0))],
      {},
      r"make 6; mrf_jax.sliding_window\(frames, window=3, stride=3\) makes",
    ),
  ],
)
def test_wrong_input_is_one_line(network, scans, options, message):
  with pytest.raises(UserError, match=message) as error:
    mrf_jax.train(network, scans, **options)
  assert "\n" not in str(error.value)


def test_estimates_are_bounded_unless_that_is_switched_off():
  """As the configuration of the same training says."""
  scans = [scan(0), scan(1)]
  for option in (True, False):
    model = mrf_jax.train(NETWORK, scans, bound_estimates=option, **FEW)
    assert (model.map_range.bounds is not None) == option
    assert model.config["preprocessing"]["bound_estimates"] == option
    config = ml_collections.ConfigDict(model.config)
    fold = TrainedFold(model.variables, model.map_range.unbounded(), 0.0)
    ends = fold_range(config, fold).bounds
    assert (ends is not None) == option
    # A configuration from before there was the option.
    del config.preprocessing.bound_estimates
    assert fold_range(config, fold).bounds is None
