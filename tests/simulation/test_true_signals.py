"""True signals of a phantom, interpolated and one by one."""

import dataclasses

import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.maps import Maps
from mrf_jax.sequence.schedules import rf_spoiling_phases_deg, tailored
from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.signal.slice_profile import sinc_slice_profile
from mrf_jax.simulation import signal_interpolant, true_signals
from mrf_jax.simulation.anatomy import Head, SliceGrid
from mrf_jax.simulation.phantom import Phantom
from mrf_jax.simulation.true_signals import make_true_signals, mean_magnitude

TRAIN = tailored(96)
SPOILED = dataclasses.replace(
  TRAIN, rf_phases_deg=rf_spoiling_phases_deg(TRAIN.n_frames)
)
BALANCED = make_sequence(
  np.linspace(10.0, 60.0, 80),
  tr_ms=5.0,
  te_ms=2.5,
  inversion_time_ms=10.0,
  rf_phases_deg=np.resize([0.0, 180.0], 80),
  balanced=True,
)
SEQUENCES = {"real": TRAIN, "complex": SPOILED, "balanced": BALANCED}
MATRIX = 16
TOLERANCE = 1e-4


def make_phantom(*, t2_of_lesion_ms=None):
  """Two tissues in three slices, of which the first is empty."""
  rng = np.random.default_rng(0)
  mask = np.zeros((3, MATRIX, MATRIX), bool)
  mask[1, 2:14, 3:12] = True
  mask[2, 5, 5] = True
  n = np.count_nonzero(mask)
  share = rng.uniform(size=n).astype(np.float32)
  share[: n // 4], share[-n // 4 :] = 0, 1

  def maps(pd, t1_ms, t2_ms):
    factors = 1 + 0.04 * rng.standard_normal((3, n))
    return Maps(*(np.array([pd, t1_ms, t2_ms])[:, None] * factors).astype("f4"))

  tissues = {"wm": maps(0.7, 685.0, 68.0), "csf": maps(1.0, 4500.0, 2000.0)}
  if t2_of_lesion_ms is not None:
    tissues["wm"].t2_ms[n // 2] = t2_of_lesion_ms
  return Phantom(
    anatomy=Head(np.zeros((2, *mask.shape), np.float32), mask, np.eye(4)),
    grid=SliceGrid(
      n_slices=3,
      matrix=MATRIX,
      fov_mm=256,
      slice_thickness_mm=5,
      centre_z_mm=15,
    ),
    positions_mm=np.zeros((*mask.shape, 3), np.float32),
    fractions=np.stack([1 - share, share]),
    tissues=tissues,
    b1=rng.uniform(0.85, 1.1, n).astype(np.float32),
  )


@pytest.fixture(autouse=True)
def _few_voxels_are_enough(monkeypatch):
  monkeypatch.setattr(true_signals, "_INTERPOLATED", 10)


def simulated(phantom, sequence, rows=slice(None)):
  """The sum over the tissues, every fingerprint simulated."""
  signals = 0
  for share, tissue in zip(
    phantom.fractions, phantom.tissues.values(), strict=True
  ):
    echoes = simulate_fingerprints(
      sequence,
      tissue.t1_ms[rows],
      tissue.t2_ms[rows],
      b1=phantom.b1[rows],
      keep_real=True,
    )
    signals = signals + (share * tissue.pd)[rows, None] * echoes
  return signals


@pytest.mark.parametrize("name", SEQUENCES)
def test_interpolated_signals_are_those_of_the_simulation(name):
  phantom, sequence = make_phantom(), SEQUENCES[name]
  signals_of = make_true_signals(phantom, sequence, tolerance=TOLERANCE)
  for interpolant in signals_of.interpolants:
    assert interpolant is not None
    assert 0 < interpolant.error <= TOLERANCE / 2
    assert interpolant.left_out <= TOLERANCE / 2
  for z in (1, 2):
    expected = simulated(phantom, sequence, phantom.rows(z))
    found = signals_of.of_slice(z)
    assert found.dtype == expected.dtype
    assert found.dtype == (np.float32 if name == "real" else np.complex64)
    norms = np.linalg.norm(expected, axis=1)
    # Checks are random, so that a voxel may err a little more.
    assert (np.linalg.norm(found - expected, axis=1) / norms).max() < 2e-4
  assert signals_of.of_slice(0).shape == (0, sequence.n_frames)


def test_a_smaller_tolerance_gives_a_smaller_error():
  phantom = make_phantom()
  expected = simulated(phantom, TRAIN, phantom.rows(1))
  errors = [
    np.linalg.norm(
      make_true_signals(phantom, TRAIN, tolerance=tolerance).of_slice(1)
      - expected
    )
    for tolerance in (1e-2, 1e-3, 1e-4)
  ]
  assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_without_tolerance_every_voxel_is_simulated():
  phantom = make_phantom()
  signals_of = make_true_signals(phantom, TRAIN)
  assert signals_of.interpolants == (None, None)
  np.testing.assert_allclose(
    signals_of.of_slice(1),
    simulated(phantom, TRAIN, phantom.rows(1)),
    atol=1e-6,
  )


def test_an_error_that_cannot_be_met_is_not_made():
  signals_of = make_true_signals(make_phantom(), TRAIN, tolerance=1e-9)
  assert signals_of.interpolants == (None, None)


def test_tissues_of_few_voxels_are_simulated(monkeypatch):
  phantom = make_phantom()
  n_voxels = np.count_nonzero(phantom.fractions > 1e-4, axis=1)
  assert n_voxels[0] != n_voxels[1]
  monkeypatch.setattr(true_signals, "_INTERPOLATED", n_voxels.max())
  signals_of = make_true_signals(phantom, TRAIN, tolerance=TOLERANCE)
  is_simulated = [i is None for i in signals_of.interpolants]
  assert is_simulated == [n < n_voxels.max() for n in n_voxels]
  np.testing.assert_allclose(
    signals_of.of_slice(1),
    simulated(phantom, TRAIN, phantom.rows(1)),
    atol=2e-4,
  )


def test_long_schedules_are_truncated(monkeypatch):
  monkeypatch.setattr(signal_interpolant, "_MOST_STATES", 10)
  phantom = make_phantom()
  signals_of = make_true_signals(phantom, TRAIN, tolerance=TOLERANCE)
  expected = simulated(phantom, TRAIN, phantom.rows(1))
  error = np.linalg.norm(signals_of.of_slice(1) - expected)
  assert None not in signals_of.interpolants
  assert error < 1e-4 * np.linalg.norm(expected)


def test_lesions_of_long_t2():
  phantom = make_phantom(t2_of_lesion_ms=300.0)
  signals_of = make_true_signals(phantom, TRAIN, tolerance=TOLERANCE)
  expected = simulated(phantom, TRAIN, phantom.rows(1))
  error = np.linalg.norm(signals_of.of_slice(1) - expected, axis=1)
  assert (error / np.linalg.norm(expected, axis=1)).max() < 2e-4


@pytest.mark.parametrize(
  ("t2_ms", "why"), [(1e5, "longer than its t1_ms"), (np.nan, "not positive")]
)
def test_a_wrong_value_is_named(t2_ms, why):
  phantom = make_phantom(t2_of_lesion_ms=t2_ms)
  signals_of = make_true_signals(phantom, TRAIN, tolerance=TOLERANCE)
  with pytest.raises(UserError, match=why):
    signals_of.of_slice(1)


def test_mean_magnitude():
  signals = np.array([[3j, -4], [0, 1]], np.complex64)
  assert mean_magnitude(signals) == pytest.approx(2)


def test_profile_and_inversion_are_those_of_the_pulses():
  """The sum over sub-slices, and over magnetisation that is not inverted."""
  phantom = make_phantom()
  train = dataclasses.replace(
    TRAIN, slice_time_bandwidth=3.0, inversion_efficiency=0.9
  )
  profile = sinc_slice_profile(time_bandwidth=3.0)
  signals_of = make_true_signals(phantom, train, tolerance=TOLERANCE)
  assert all(x is not None for x in signals_of.interpolants)
  without = dataclasses.replace(TRAIN, inversion_time_ms=None)
  rows, expected = phantom.rows(1), 0.0
  for factor, weight in zip(profile.flip_factors, profile.weights, strict=True):
    sub_slice = dataclasses.replace(
      phantom, b1=(factor * phantom.b1).astype(np.float32)
    )
    for sequence, share in ((TRAIN, 0.9), (without, 0.1)):
      expected += weight * share * simulated(sub_slice, sequence, rows)
  error = np.linalg.norm(signals_of.of_slice(1) - expected, axis=1)
  assert (error / np.linalg.norm(expected, axis=1)).max() < 2e-4
  one_by_one = make_true_signals(phantom, train)
  np.testing.assert_allclose(one_by_one.of_slice(1), expected, atol=1e-5)
