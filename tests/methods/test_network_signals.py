"""Signals that the networks of a cross-validation see, fold by fold."""

import dataclasses

import numpy as np
import pytest

from configs.smoke import get_config
from mrf_jax import tailored
from mrf_jax.dataset.standardise import normalise_signals
from mrf_jax.methods.network_signals import network_signals
from mrf_jax.sequence.acquisition import Acquisition
from tests.dataset.examples import make_subject
from tests.laws import complex_noise
from tests.methods.examples import study_of

ACQUISITION = Acquisition(tailored(24), window=6, stride=3)


def scans(**changes):
  """Three scans, of which one may have other signals."""
  mask = np.ones((1, 10, 12), bool)
  for k in range(3):
    noise = complex_noise(120, ACQUISITION.n_windows, seed=k)
    signals = changes.get(f"scan_{k}", noise + np.complex64(2 - 3j))
    yield make_subject(mask, ACQUISITION, k, signals=signals)


def signals_of(method, subjects, folds, **options):
  config = get_config()
  config.preprocessing.update(options)
  config.spatiotemporal_plus.training.rank = 3
  return network_signals(
    study_of(list(subjects), config, folds=folds), method, folds
  )


@pytest.mark.parametrize("method", ["cohen", "spatiotemporal_plus"])
def test_the_left_out_scan_has_no_part_in_what_standardises_it(method):
  other = 5 * complex_noise(120, ACQUISITION.n_windows, seed=9)
  own = signals_of(method, scans(), [0, 1])
  changed = signals_of(method, scans(scan_0=other), [0, 1])
  for name in ("mean", "variance"):
    before, after = (
      [getattr(x.statistics[fold], name) for fold in (0, 1)]
      for x in (own, changed)
    )
    np.testing.assert_allclose(before[0], after[0], rtol=1e-6)
    assert np.abs(after[1] / before[1] - 1).max() > 1e-2


def test_folds_see_one_table_by_their_own_statistics():
  subjects = list(scans())
  signals = signals_of("cohen", subjects, [0, 2])
  for fold in (0, 2):
    shift, factor = signals.scales[fold]
    for k in range(3):
      np.testing.assert_allclose(
        (signals.load(k, fold) - shift) * factor,
        normalise_signals(
          subjects[k].signals,
          per="frame",
          statistics=signals.statistics[fold],
        ),
        atol=1e-4,
      )


@pytest.mark.parametrize(
  "options",
  [{"normalise_signals_by": "scan"}, {"normalise_signals_per": "voxel"}],
)
def test_scans_by_themselves(options):
  subjects = list(scans())
  signals = signals_of("cohen", subjects, [0], **options)
  assert not signals.statistics
  assert not signals.scales
  per = options.get("normalise_signals_per", "frame")
  np.testing.assert_array_equal(
    signals.load(1, 0), normalise_signals(subjects[1].signals, per=per)
  )


def test_a_configuration_of_before_has_no_choice():
  config = get_config()
  del config.preprocessing["normalise_signals_by"]
  subjects = [dataclasses.replace(x) for x in scans()]
  study = study_of(subjects, config, folds=[0])
  assert not network_signals(study, "cohen", [0]).statistics


@pytest.mark.parametrize("method", ["cohen", "spatiotemporal_plus"])
def test_generated_subjects_train_every_fold(method):
  """Like a further subject that is not left out."""
  subjects = list(scans())
  config = get_config()
  config.spatiotemporal_plus.training.rank = 3
  study = dataclasses.replace(
    study_of(subjects[:2], config, folds=[0, 1]),
    load=lambda k: subjects[k],
    generated=[dataclasses.replace(subjects[2], signals=None)],
    generated_references=[subjects[2].maps],
  )
  wide = study.with_generated()
  assert len(study.subjects) == 2 and len(wide.subjects) == 3
  assert list(wide.folds) == [0, 1] and not wide.generated
  assert wide.n_training_voxels(0) == 240 == 2 * study.n_training_voxels(0)
  own = network_signals(wide, method, [0, 1])
  expected = signals_of(method, scans(), [0, 1])
  for fold in (0, 1):
    np.testing.assert_array_equal(
      own.statistics[fold].mean, expected.statistics[fold].mean
    )
    np.testing.assert_array_equal(own.load(2, fold), expected.load(2, fold))
