"""Matching off the grid: exact between atoms, with deviations that hold."""

import dataclasses

import numpy as np
import pytest

from mrf_jax import UserError, simulate_fingerprints, sliding_window, tailored
from mrf_jax.matching.off_grid import match_off_grid
from mrf_jax.matching.off_grid_matcher import make_off_grid_matcher
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import rf_spoiling_phases_deg
from tests.laws import check_scale_and_phase, complex_noise

FRAMES, WINDOW, RANK = 160, 8, 16
TRAIN = tailored(FRAMES)
SPOILED = dataclasses.replace(
  TRAIN, rf_phases_deg=rf_spoiling_phases_deg(FRAMES)
)
PD = 2.5


def make(sequence=TRAIN, b1=(1.0, 1.0), **options):
  acquisition = Acquisition(sequence, WINDOW)
  return make_off_grid_matcher(
    acquisition, (200.0, 4000.0), (20.0, 800.0), b1, rank=RANK, **options
  )


@pytest.fixture(scope="module")
def matcher():
  return make()


@pytest.fixture(scope="module")
def matcher_of_b1():
  return make(b1=(0.8, 1.2))


def draw(count, seed=0):
  """T1 and T2 of tissues, ms, and B1."""
  rng = np.random.default_rng(seed)
  t1 = np.exp(rng.uniform(np.log(400), np.log(3000), count))
  t2 = np.exp(rng.uniform(np.log(30), np.log(np.minimum(0.8 * t1, 500))))
  return t1, t2, rng.uniform(0.85, 1.15, count)


def scan(t1, t2, b1=1.0, *, sequence=TRAIN, noise_sd=0.0):
  """Sliding-window signals with a phase; noise_sd is that of a window."""
  echoes = PD * simulate_fingerprints(sequence, t1, t2, b1=b1, tolerance=1e-6)
  white = complex_noise(*echoes.shape, seed=1)
  echoes = echoes + noise_sd * np.sqrt(WINDOW) * white
  return sliding_window(
    (echoes * np.exp(0.7j)).astype(np.complex64), window=WINDOW
  )


@pytest.mark.parametrize("sequence", [TRAIN, SPOILED], ids=["real", "complex"])
def test_noiseless_signals_have_their_true_values(sequence, matcher):
  if sequence is SPOILED:
    matcher = make(SPOILED)
  t1, t2, _ = draw(60)
  found = match_off_grid(matcher, scan(t1, t2, sequence=sequence))
  # The atoms themselves are interpolated to 1e-4.
  np.testing.assert_allclose(found.maps.t1_ms, t1, rtol=3e-3)
  np.testing.assert_allclose(found.maps.t2_ms, t2, rtol=3e-3)
  np.testing.assert_allclose(found.maps.pd, PD, rtol=3e-3)
  np.testing.assert_array_equal(found.b1, 1)


def test_b1_is_given_by_a_map(matcher_of_b1):
  t1, t2, b1 = draw(60)
  found = match_off_grid(matcher_of_b1, scan(t1, t2, b1), b1=b1)
  np.testing.assert_allclose(found.maps.t1_ms, t1, rtol=5e-3)
  np.testing.assert_allclose(found.maps.t2_ms, t2, rtol=5e-3)
  np.testing.assert_allclose(found.b1, b1, rtol=1e-6)
  np.testing.assert_array_equal(found.b1_deviations, 0)


def test_b1_is_fitted(matcher_of_b1):
  t1, t2, b1 = draw(60)
  found = match_off_grid(matcher_of_b1, scan(t1, t2, b1))
  assert np.mean(np.abs(found.b1 - b1) < 0.01) > 0.9
  assert np.mean(np.abs(found.maps.t2_ms / t2 - 1) < 0.03) > 0.9


def test_deviations_are_those_of_the_errors(matcher):
  t1, t2, _ = np.repeat(draw(6), 200, 1)
  found = match_off_grid(matcher, scan(t1, t2, noise_sd=0.003))
  truths = (np.full(t1.shape, PD), t1, t2)
  for name, truth in zip(("pd", "t1_ms", "t2_ms"), truths, strict=True):
    error = getattr(found.maps, name) - truth
    deviation = getattr(found.deviations, name)
    # Of each tissue: 200 draws tell a standard deviation to 5 %.
    for own in np.split(error / deviation, 6):
      assert 0.8 < np.sqrt(np.mean(own**2)) < 1.25


def test_deviations_of_a_fitted_b1(matcher_of_b1):
  t1, t2, b1 = np.repeat(draw(4), 100, 1)
  found = match_off_grid(matcher_of_b1, scan(t1, t2, b1, noise_sd=0.001))
  scores = (found.b1 - b1) / found.b1_deviations
  # A few end in other minima.
  assert 0.5 < np.median(np.abs(scores)) / 0.6745 < 1.5


def test_no_scan_of_the_grid_is_better(matcher):
  """Of any T1 and T2 near by, none fits better."""
  t1, t2, _ = draw(20)
  signals = scan(t1, t2, noise_sd=0.003)
  found = match_off_grid(matcher, signals)
  compressed = signals @ matcher.interpolant.basis

  def explained(t1_ms, t2_ms):
    atoms = matcher.interpolant.at(t1_ms, t2_ms, np.ones(len(t1_ms)))
    scores = np.abs(np.sum(atoms.conj() * compressed, 1)) ** 2
    return scores / np.sum(np.abs(atoms) ** 2, 1)

  best = explained(found.maps.t1_ms, found.maps.t2_ms)
  for factors in [(0.97, 1), (1.03, 1), (1, 0.97), (1, 1.03), (1.02, 1.05)]:
    other = explained(
      factors[0] * found.maps.t1_ms, factors[1] * found.maps.t2_ms
    )
    assert np.all(best >= other * (1 - 1e-6))


@pytest.mark.parametrize("step_percent", [8.0, 60.0])
def test_the_coarse_grid_does_not_matter(step_percent, matcher):
  """Searches that begin far away pass from one range of T2 to the next."""
  t1, t2, _ = draw(60)
  signals = scan(t1, t2, noise_sd=0.002)
  wanted = match_off_grid(matcher, signals).maps
  other = make(step_percent=step_percent)
  found = match_off_grid(other, signals).maps
  np.testing.assert_allclose(found.t1_ms, wanted.t1_ms, rtol=5e-3)
  np.testing.assert_allclose(found.t2_ms, wanted.t2_ms, rtol=5e-3)


def test_scale_and_phase(matcher):
  t1, t2, _ = draw(30)
  signals = scan(t1, t2, noise_sd=0.01)

  def maps_of(signals):
    maps = match_off_grid(matcher, signals).maps
    return np.stack([maps.pd, maps.t1_ms, maps.t2_ms], 1)

  check_scale_and_phase(maps_of, signals, rel=1e-3)


def test_signals_of_zeros_have_no_density(matcher):
  signals = scan(*draw(4)[:2])
  signals[1] = 0
  found = match_off_grid(matcher, signals)
  assert found.maps.pd[1] == 0
  assert np.isfinite(found.maps.t1_ms).all()
  assert np.isinf(found.deviations.t1_ms[1])
  assert np.isfinite(found.deviations.t1_ms[[0, 2, 3]]).all()


def test_values_stay_in_their_ranges(matcher):
  noise = complex_noise(200, matcher.acquisition.n_windows)
  maps = match_off_grid(matcher, noise).maps
  assert np.all((maps.t1_ms >= 199.9) & (maps.t1_ms <= 4000.1))
  assert np.all((maps.t2_ms >= 19.99) & (maps.t2_ms <= 800.1))
  assert np.all(maps.t2_ms <= maps.t1_ms * 1.0001)


def test_deviations_of_complex_atoms():
  """As those of real atoms: a constant phase of all pulses changes nothing."""
  phases = np.append(np.full(FRAMES - 1, 1e-3), 0)
  turned = dataclasses.replace(TRAIN, rf_phases_deg=phases)
  assert TRAIN.has_real_echoes and not turned.has_real_echoes
  t1, t2, _ = draw(20)
  signals = scan(t1, t2, noise_sd=0.003)
  found = [match_off_grid(make(train), signals) for train in (TRAIN, turned)]
  for name in ("pd", "t1_ms", "t2_ms"):
    values = [getattr(result.deviations, name) for result in found]
    np.testing.assert_allclose(*values, rtol=0.02)


@pytest.mark.parametrize(
  ("ranges", "message"),
  [
    (((200, 4000), (20, 800), (1.2, 0.8)), "no B1 lies between 1.2 and 0.8"),
    (((200, 4000), (800, 20), (1, 1)), "no axis goes from 800 to 20"),
    (((20, 40), (50, 80), (1, 1)), "no pair of T1 and T2 with T2 ≤ T1"),
  ],
)
def test_impossible_ranges_are_named(ranges, message):
  with pytest.raises(UserError, match=message):
    make_off_grid_matcher(Acquisition(TRAIN, WINDOW), *ranges, rank=RANK)


def test_no_voxels(matcher):
  signals = np.empty((0, matcher.acquisition.n_windows), np.complex64)
  assert match_off_grid(matcher, signals).maps.pd.shape == (0,)


@pytest.mark.parametrize(
  ("change", "b1", "message"),
  [
    (lambda s: s[0], None, r"shape \(153,\), not \[voxel, image\]"),
    (lambda s: s[:, 1:], None, "152 images, but 160 frames in windows of 8"),
    (lambda s: s * np.nan, None, "4 voxels have signals that are not finite"),
    (lambda s: s, 1.3, "b1 of 4 of 4 voxels is not between 0.8 and 1.2"),
    (lambda s: s, np.nan, "b1 of 4 of 4 voxels is not between 0.8 and 1.2"),
    (lambda s: s, np.ones(3), r"b1 has shape \(3,\), not \[4\]"),
  ],
)
def test_wrong_input_is_named(matcher_of_b1, change, b1, message):
  signals = scan(*draw(4)[:2])
  with pytest.raises(UserError, match=message):
    match_off_grid(matcher_of_b1, change(signals), b1=b1)
