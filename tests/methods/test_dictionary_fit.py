"""Matching off the grid as a method: folds, B1, doubts and wrong options."""

import dataclasses

import numpy as np
import pytest

from configs import smoke
from mrf_jax import UserError, make_sequence, simulate_fingerprints, tailored
from mrf_jax.methods.dictionary import make_matcher
from mrf_jax.methods.dictionary_fit import (
  check_dictionary_fit,
  dictionary_fit,
  fit_subject,
)
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sliding_window import sliding_window
from tests.dataset.examples import make_subject
from tests.laws import complex_noise
from tests.methods.examples import study_of

ACQUISITION = Acquisition(tailored(96), window=8, stride=2)
# Constant pulses without a preparation: B1 is as good as a longer T1.
CONSTANT = Acquisition(make_sequence(np.full(24, 8.0), 12.0, 2.0), window=2)
N_VOXELS = 40


def make_config(**changes):
  config = smoke.get_config()
  config.dictionary.update(t1_ms=(200.0, 4000.0), t2_ms=(20.0, 800.0))
  config.dictionary_fit.rank = 12
  config.dictionary_fit.update(changes)
  return config


def make_scan(seed=0, b1=1.0, acquisition=ACQUISITION, noise=1e-3):
  """A simulated subject with its true maps as references."""
  subject = make_subject(np.ones((1, 5, 8), bool), acquisition, seed)
  truth = subject.maps
  t2_ms = np.minimum(truth.t2_ms, 0.8 * truth.t1_ms)
  truth = dataclasses.replace(truth, t2_ms=t2_ms)
  echoes = simulate_fingerprints(
    acquisition.sequence, truth.t1_ms, truth.t2_ms, b1=b1
  )
  frames = truth.pd[:, None] * echoes
  frames = frames + noise * complex_noise(*frames.shape, seed=seed)
  signals = sliding_window(
    frames.astype(np.complex64),
    window=acquisition.window,
    stride=acquisition.stride,
  )
  return dataclasses.replace(subject, signals=signals, maps=truth)


def errors(maps, truth, name):
  """Relative errors of one map."""
  return np.abs(getattr(maps, name) / getattr(truth, name) - 1)


def test_folds_are_fitted_with_deviations():
  config = make_config()
  subjects = [make_scan(seed) for seed in range(3)]
  estimates = dictionary_fit(study_of(subjects, config, folds=(0, 2)))
  assert [time.stage for time in estimates.times] == ["build", "reconstruct"]
  match, _ = make_matcher(config, "dictionary_svd", ACQUISITION)
  for k, maps, sd in zip(
    (0, 2), estimates.maps, estimates.deviations, strict=True
  ):
    truth = subjects[k].maps
    for name in ("t1_ms", "t2_ms"):
      own = errors(maps, truth, name)
      # The atoms of this dictionary are 30 % apart.
      on_grid = errors(match(subjects[k].signals), truth, name)
      assert np.median(own) < 0.3 * np.median(on_grid)
      scores = own * getattr(truth, name) / getattr(sd, name)
      assert 0.5 < np.sqrt(np.mean(scores**2)) < 2


def test_a_map_of_b1_is_used():
  b1 = np.linspace(0.8, 1.2, N_VOXELS).astype(np.float32)
  scan = dataclasses.replace(make_scan(b1=b1), b1=b1)
  config = make_config()
  with_map = fit_subject(config, scan)
  np.testing.assert_array_equal(with_map.b1, b1)
  assert with_map.b1_deviations is None
  without = fit_subject(make_config(b1="none"), scan)
  assert without.b1 is None
  right, wrong = (
    np.median(errors(found.maps, scan.maps, "t2_ms"))
    for found in (with_map, without)
  )
  assert right < 0.3 * wrong


def test_b1_outside_the_range_is_named_and_in_doubt():
  b1 = np.ones(N_VOXELS, np.float32)
  b1[:3] = 1.5
  scan = dataclasses.replace(make_scan(), b1=b1)
  fitted = fit_subject(make_config(), scan)
  np.testing.assert_array_equal(fitted.is_unsure[:3], True)
  assert fitted.is_unsure.mean() < 0.2
  words = "B1 of 3 of 40 voxels (7.5%) is not between 0.7 and 1.3"
  assert words in " ".join(fitted.sentences)


def test_a_map_that_is_missing():
  with pytest.raises(UserError, match=r"subject 0: .* --b1_map"):
    fit_subject(make_config(b1="map"), make_scan())


def test_a_sequence_that_does_not_tell_b1():
  """Large deviations, and doubt in a sentence, instead of plausible maps."""
  scan = make_scan(acquisition=CONSTANT, noise=3e-3)
  fitted = fit_subject(make_config(b1="free", b1_range=(0.9, 1.1)), scan)
  assert fitted.is_unsure.all()
  assert "do not tell B1" in " ".join(fitted.sentences)
  assert np.median(fitted.b1_deviations) > 0.05
  relative = fitted.deviations.t2_ms / fitted.maps.t2_ms
  assert np.median(relative) > 0.5
  # And none above half of its range.
  assert fitted.b1_deviations.max() <= 0.1 * (1 + 1e-6)
  assert fitted.deviations.t1_ms.max() <= 1900
  assert np.isfinite(fitted.deviations.stack()).all()


def test_signals_without_a_rest_tell_no_noise():
  """One image is fitted by any atom."""
  acquisition = dataclasses.replace(CONSTANT, window=24)
  scan = make_scan(acquisition=acquisition)
  fitted = fit_subject(make_config(rank=1), scan)
  assert fitted.is_unsure.all()
  np.testing.assert_array_equal(fitted.deviations.t1_ms, 1900)


def test_deviations_of_nothing_are_finite():
  scan = make_scan()
  scan.signals[2] = 0
  fitted = fit_subject(make_config(), scan)
  assert fitted.maps.pd[2] == 0 and fitted.is_unsure[2]
  assert fitted.deviations.t1_ms[2] == 1900
  assert np.isfinite(fitted.deviations.stack()).all()


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"dictionary_fit.rank": 46}, r"dictionary_fit\.rank is 46, .* 1 and 45"),
    ({"dictionary_fit.rank": 0}, r"dictionary_fit\.rank is 0"),
    ({"dictionary_fit.b1": "maybe"}, r"dictionary_fit\.b1.*maybe"),
    ({"dictionary_fit.b1_range": (1.2, 0.8)}, "no B1 lies between 1.2 and 0.8"),
    ({"dictionary_fit.largest_error": 0.0}, "largest_error is 0, not between"),
    ({"dictionary_fit.step_percent": 0.0}, "no axis goes from"),
    ({"dictionary.t2_ms": (800.0, 20.0)}, "no axis goes from 800 to 20"),
    ({"dictionary.t2_ms": (5000.0, 6000.0)}, "no T2 of t2_ms is as short"),
  ],
)
def test_wrong_options_are_named(changes, words):
  config = make_config()
  config.update_from_flattened_dict(changes)
  with pytest.raises(UserError, match=words):
    check_dictionary_fit(config, n_windows=ACQUISITION.n_windows)


def test_a_configuration_from_before():
  config = make_config()
  with config.unlocked():
    del config.dictionary_fit
  with pytest.raises(UserError, match="no section dictionary_fit"):
    check_dictionary_fit(config, n_windows=ACQUISITION.n_windows)


def test_an_error_that_cannot_be_met():
  config = make_config(largest_error=1e-9)
  with pytest.raises(UserError, match=r"largest_error is 1e-09, but .* larger"):
    fit_subject(config, make_scan())
