"""Voxels of which the match of a network knows little."""

import dataclasses

import numpy as np
import pytest

from mrf_jax import Maps, simulate_fingerprints, tailored
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.standardise import SignalStatistics
from mrf_jax.inference.match_doubts import match_doubts
from mrf_jax.inference.model import Model, seen_components
from mrf_jax.matching.match_table import make_match_atoms
from mrf_jax.networks.match_layer import match_variables
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.simulation.signal_reference import make_signal_reference
from tests.dataset.examples import make_subject

ACQUISITION = Acquisition(tailored(200))
T1_MS, T2_MS, STEP = (300.0, 3000.0), (30.0, 300.0), 20.0
# T1, T2, and whether one of them is beyond.
VOXELS = (
  (1000.0, 80.0, False),
  (320.0, 35.0, False),
  (2800.0, 280.0, False),
  (1000.0, 22.0, True),
  (1000.0, 420.0, True),
  (200.0, 60.0, True),
  (4500.0, 120.0, True),
)


@pytest.fixture(scope="module")
def subject():
  t1_ms, t2_ms, _ = np.transpose(VOXELS)
  signals = simulate_fingerprints(ACQUISITION.sequence, t1_ms, t2_ms)
  turned = signals * np.exp(1j * np.arange(len(signals)))[:, None]
  mask = np.ones((1, 1, len(VOXELS)), bool)
  return make_subject(mask, ACQUISITION, 0, signals=turned.astype(np.complex64))


@pytest.fixture(scope="module")
def model(subject):
  network = SpatiotemporalPlus(
    widths=(4, 4),
    depth=0,
    match_step_percent=STEP,
    match_t1_ms=T1_MS,
    match_t2_ms=T2_MS,
  )
  atoms = make_match_atoms(ACQUISITION, T1_MS, T2_MS, STEP)
  statistics = SignalStatistics.of_scan(
    subject.signals, per="subject", reference=make_signal_reference(ACQUISITION)
  )
  own = MapRange.of([Maps(*np.array([[0.5, 500, 50], [1, 900, 90]]).T)])
  return Model(
    method="spatiotemporal_plus",
    network=network,
    variables=match_variables(atoms.table(), statistics, own),
    map_range=own,
    normalise_signals_per="subject",
    acquisition=ACQUISITION,
    statistics=statistics,
  )


@pytest.mark.parametrize("scale", [1.0, 1e-22, 1e15])
def test_beyond_the_first_and_the_last_atom(scale, model, subject):
  signals = (subject.signals * np.float32(scale)).astype(np.complex64)
  scaled = dataclasses.replace(subject, signals=signals)
  found = match_doubts(model, seen_components(model, scaled))
  np.testing.assert_array_equal(
    found.is_beyond, [beyond for *_, beyond in VOXELS]
  )
  assert not found.is_noise.any()


def test_noise_is_no_signal(model, subject):
  rng = np.random.default_rng(0)
  signals = subject.signals.copy()
  noise = rng.normal(size=(2, 3, signals.shape[1]))
  signals[:3] = 0.05 * (noise[0] + 1j * noise[1])
  noisy = dataclasses.replace(subject, signals=signals)
  found = match_doubts(model, seen_components(model, noisy))
  np.testing.assert_array_equal(found.is_noise, np.arange(len(VOXELS)) < 3)


def test_a_network_without_a_match_knows_no_ends(model, subject):
  plain = dataclasses.replace(
    model, network=SpatiotemporalPlus(widths=(4, 4)), variables={}
  )
  assert match_doubts(plain, seen_components(plain, subject)) is None
