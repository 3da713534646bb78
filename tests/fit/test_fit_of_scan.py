import dataclasses

import numpy as np
import pytest

from mrf_jax import Acquisition, jiang_type, make_sequence
from mrf_jax.fit.scan import fit_scan
from mrf_jax.sequence.schedules import rf_spoiling_phases_deg, tailored
from tests.fit.examples import ACQUISITION, make_scan, scan

N = 240


def fit_of(signals, acquisition=ACQUISITION):
  return fit_scan(acquisition, signals.astype(np.complex64))


def sequences():
  train = tailored(N)
  flips = train.flip_angles_deg
  alternating = np.where(np.arange(N) % 2, 180.0, 0.0)
  return {
    "tailored": train,
    "jiang": jiang_type(N),
    "no inversion": dataclasses.replace(train, inversion_time_ms=None),
    "spoiled": make_sequence(
      flips, 12.0, 2.0, rf_spoiling_phases_deg(N), inversion_time_ms=20.0
    ),
    "balanced": dataclasses.replace(
      train, balanced=True, rf_phases_deg=alternating
    ),
  }


@pytest.mark.parametrize("name", sequences())
@pytest.mark.parametrize("window", [(24, 4), (24, 1), (1, 1)])
def test_sound_scans_have_no_problem(name, window):
  acquisition = Acquisition(sequences()[name], *window)
  fit = fit_of(make_scan(acquisition).signals, acquisition)
  assert fit.problem() is None, fit
  assert fit.phase_problem() is None
  assert len(fit.doubts()) == 1, fit
  assert fit.phase_doubts() == []
  assert fit.explained > 0.9


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_noise_lowers_the_explained_share(noise):
  fit = fit_of(make_scan(noise=noise).signals)
  assert fit.problem() is None
  # Energies of signal and noise; Σ|s|² of the signal is above (Σ|s|)².
  assert 0.9 / (1 + 2 * noise**2) < fit.explained <= 1.0 + 1e-6


@pytest.mark.parametrize(
  "change, words",
  [
    (lambda s: s[:, ::-1], "reversed in time"),
    (np.abs, "as magnitudes"),
    (lambda s: s[:, np.random.default_rng(1).permutation(s.shape[1])], "order"),
    (lambda s: np.random.default_rng(1).normal(size=s.shape) + 0j, "noise"),
    (lambda s: np.hstack([s[:, :1]] * 3 + [s[:, :-3]]), "its first 3 images"),
    (lambda s: np.hstack([s[:, 3:]] + [s[:, -1:]] * 3), "another 3 images"),
    (lambda s: np.hstack([s[:, 7:]] + [s[:, -1:]] * 7), "another 7 images"),
  ],
)
def test_wrong_order_is_named(change, words):
  assert words in fit_of(change(scan().signals)).problem()


def test_one_dummy_image_is_doubted():
  signals = scan().signals
  fit = fit_of(np.hstack([signals[:, :1], signals[:, :-1]]))
  told = [fit.problem() or "", *fit.doubts()]
  assert any("without its first image" in text for text in told)


@pytest.mark.parametrize("name", ["jiang", "no inversion"])
def test_another_sequence_is_doubted(name):
  fit = fit_of(make_scan(sequence=sequences()[name]).signals)
  assert any("is it this one" in text for text in fit.doubts()), fit


def test_phases_of_the_pulses_are_named():
  acquisition = Acquisition(sequences()["spoiled"])
  turns = np.exp(1j * np.deg2rad(acquisition.sequence.rf_phases_deg))
  fit = fit_of(make_scan(acquisition).signals * turns, acquisition)
  assert "--demodulate" in fit.problem()
  conjugate = fit_of(make_scan(acquisition).signals.conj(), acquisition)
  assert "complex conjugate" in conjugate.problem()


@pytest.mark.parametrize("degrees", [90.0, 180.0, -120.0])
def test_phase_of_the_whole_scan(degrees):
  fit = fit_of(scan().signals * np.exp(1j * np.deg2rad(degrees)))
  assert fit.problem() is None
  assert f"turned by {abs(degrees):.0f}°" in fit.phase_problem()


def test_phases_of_the_voxels():
  turns = np.exp(2j * np.pi * np.random.default_rng(0).random(scan().n_voxels))
  fit = fit_of(scan().signals * turns[:, None])
  assert "voxel to voxel" in fit.phase_problem()
  assert fit_of(scan().signals * np.exp(0.5j)).phase_doubts()
  x = np.nonzero(scan().mask)[2]
  smooth = np.exp(1j * 2.0 * (x / 24 - 0.5))
  assert "differ over the scan" in str(
    fit_of(scan().signals * smooth[:, None]).phase_doubts()
  )


def test_scale_and_bright_voxels_change_nothing():
  signals = scan().signals
  wanted = fit_of(signals)
  spikes = signals.copy()
  spikes[::97] *= 1e4
  for changed in (signals * 2.0**-70, signals * 2.0**70, spikes):
    found = fit_of(changed)
    assert found.explained == pytest.approx(wanted.explained, abs=1e-5)
    assert found.skill == pytest.approx(wanted.skill, abs=1e-4)


def test_few_voxels_or_images_are_no_problem():
  for n_voxels in (1, 5):
    assert fit_of(scan().signals[:n_voxels]).problem() is None
  assert fit_of(0 * scan().signals).problem() == "all signals are zero"
  short = Acquisition(tailored(18), 6, 6)
  fit = fit_of(make_scan(short).signals, short)
  assert fit.problem() is None


@pytest.mark.parametrize("factor", [0.7, 0.85, 1.15, 1.3])
@pytest.mark.parametrize("window", [(24, 4), (1, 1)])
def test_other_flip_angles_are_no_shift(factor, window):
  train = tailored(N)
  played = dataclasses.replace(
    train, flip_angles_deg=factor * train.flip_angles_deg
  )
  acquisition = Acquisition(train, *window)
  fit = fit_of(make_scan(acquisition, sequence=played).signals, acquisition)
  assert fit.problem() is None
  assert not any("fits its sequence" in text for text in fit.doubts())
