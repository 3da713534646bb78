"""Networks that are trained with a measured B1 map of each scan."""

import dataclasses

import numpy as np
import pytest

import mrf_jax
from configs.smoke import get_config
from mrf_jax import UserError
from mrf_jax.maps import Maps
from mrf_jax.methods.network import check_network
from mrf_jax.methods.network_signals import b1_range, network_signals
from mrf_jax.networks.channels import b1_channel
from tests.dataset.examples import make_subject
from tests.laws import complex_noise
from tests.methods.examples import study_of

ACQUISITION = mrf_jax.Acquisition(mrf_jax.tailored(40), window=4, stride=2)
_NOISE = 0.02
OPTIONS = {
  "rank": 3,
  "epochs": 80,
  "learning_rate": 1e-2,
  "batch": 8,
  "tile": 4,
}


def network(**options):
  return mrf_jax.SpatiotemporalPlus(
    widths=(24, 12), depth=1, slices=1, **options
  )


def scan(seed, **changes):
  """A scan at whose noise B1 and T2 look alike."""
  rng = np.random.default_rng(seed)
  mask = np.ones((2, 16, 16), bool)
  count = mask.sum()
  t1_ms = rng.uniform(600, 1500, count)
  t2_ms, b1 = rng.uniform(50, 90, count), rng.uniform(0.7, 1.3, count)
  echoes = mrf_jax.simulate_fingerprints(
    ACQUISITION.sequence, t1_ms, t2_ms, b1=b1
  )
  signals = mrf_jax.sliding_window(
    echoes.astype(np.complex64), window=4, stride=2
  )
  noise = complex_noise(*signals.shape, seed=seed)
  signals = signals + np.complex64(_NOISE * np.abs(signals).mean()) * noise
  maps = np.stack([np.ones(count), t1_ms, t2_ms], 1).astype(np.float32)
  # A range of PD.
  maps[:2, 0] = 0.9, 1.1
  given = {"signals": signals, "b1": b1.astype(np.float32)}
  own = make_subject(mask, ACQUISITION, seed, maps=Maps.unstack(maps), **given)
  return dataclasses.replace(own, **changes)


def error_of(model, new):
  maps = mrf_jax.reconstruct(model, new)
  return float(np.sqrt(np.mean((maps.t2_ms - new.maps.t2_ms) ** 2)))


@pytest.fixture(scope="module")
def model():
  return mrf_jax.train(network(sees_b1=True), [scan(0), scan(1)], **OPTIONS)


def test_what_b1_and_t2_do_alike_is_told_apart(model):
  without = mrf_jax.train(network(), [scan(0), scan(1)], **OPTIONS)
  assert error_of(model, scan(2)) < 0.85 * error_of(without, scan(2))
  # It is the map that tells it.
  wrong = dataclasses.replace(scan(2), b1=scan(2).b1[::-1].copy())
  assert error_of(model, wrong) > 2 * error_of(model, scan(2))


def test_the_range_of_b1_is_that_of_the_training(model):
  np.testing.assert_allclose(model.b1_range, (0.7, 1.3), atol=0.01)
  # One voxel of a map may be anything.
  spike = scan(0)
  spike.b1[7] = 4.0
  network = model.network
  assert b1_range(network, [spike, scan(1)])[1] < 1.31


def test_a_bundle_knows_of_b1(model, tmp_path):
  mrf_jax.save_model(model, tmp_path / "model")
  loaded = mrf_jax.load_model(tmp_path / "model")
  assert loaded.b1_range == model.b1_range
  np.testing.assert_array_equal(
    mrf_jax.reconstruct(loaded, scan(2)).stack(),
    mrf_jax.reconstruct(model, scan(2)).stack(),
  )


def test_a_scan_without_a_map_is_named(model):
  bare = scan(1, b1=None)
  words = "has no B1 map, which the network sees"
  with pytest.raises(UserError, match=f"^subject 1: {words}"):
    mrf_jax.train(network(sees_b1=True), [scan(0), bare], **OPTIONS)
  with pytest.raises(UserError, match=words):
    mrf_jax.reconstruct(model, bare)


@pytest.mark.parametrize(
  ("rank", "per"), [(None, "frame"), (None, "subject"), (4, "frame")]
)
def test_folds_see_b1_as_it_is(rank, per):
  subjects = [scan(k) for k in range(3)]
  config = get_config()
  config.spatiotemporal_plus.network.update(
    sees_b1=True, match_step_percent=0.0
  )
  config.preprocessing.normalise_signals_per = per
  with config.unlocked(), config.ignore_type():
    config.spatiotemporal_plus.training.rank = rank
  study = study_of(subjects, config, folds=[0, 1])
  signals = network_signals(study, "spatiotemporal_plus", [0, 1])
  n_components = rank or ACQUISITION.n_windows
  assert signals.n_channels == 2 * n_components + 1
  for fold in (0, 1):
    seen = signals.load(2, fold)
    assert seen.shape[1] == signals.n_channels
    if fold in signals.scales:
      shift, factor = signals.scales[fold]
      assert shift.shape == factor.shape == (signals.n_channels,)
      seen = (seen - shift) * factor
    np.testing.assert_array_equal(seen[:, -1], b1_channel(subjects[2].b1))
  bare = study_of([*subjects[:2], scan(2, b1=None)], config, folds=[0])
  with pytest.raises(UserError, match="subject 2: has no B1 map"):
    network_signals(bare, "spatiotemporal_plus", [0])


def test_simulated_scans_need_an_error_of_their_maps():
  config = get_config()
  config.spatiotemporal_plus.network.sees_b1 = True
  method = "spatiotemporal_plus"
  with pytest.raises(UserError, match=r"scan\.b1_map_error alone"):
    check_network(config, method, n_windows=100)
  config.scan.b1_map_error = 0.02
  check_network(config, method, n_windows=100)
