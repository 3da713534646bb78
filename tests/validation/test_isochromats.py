"""Extended phase graphs against sums of isochromats."""

import numpy as np
import pytest

from mrf_jax.sequence.schedules import rf_spoiling_phases_deg, tailored
from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.signal.fingerprints import simulate_fingerprints


def isochromats(sequence, t1_ms, t2_ms, n_spins):
  """Mean of spins that a spoiler dephases by 360° in equal steps."""
  turns = np.exp(2j * np.pi * (np.arange(n_spins) + 0.5) / n_spins)
  z = np.ones(n_spins)
  if sequence.inversion_time_ms is not None:
    z = z * (1 - 2 * np.exp(-sequence.inversion_time_ms / t1_ms))
  xy = np.zeros(n_spins, complex)
  signal = []
  for flip, tr, te, phase in zip(
    np.deg2rad(sequence.flip_angles_deg),
    sequence.tr_ms,
    sequence.te_ms,
    np.deg2rad(sequence.rf_phases_deg),
    strict=True,
  ):
    # The pulse rotates about x in a frame in which its phase is zero.
    local = xy * np.exp(-1j * phase)
    x, y = local.real, local.imag
    y, z = (
      np.cos(flip) * y - np.sin(flip) * z,
      np.sin(flip) * y + np.cos(flip) * z,
    )
    local = x + 1j * y
    signal.append(1j * local.mean() * np.exp(-te / t2_ms))
    xy = local * np.exp(1j * phase) * np.exp(-tr / t2_ms) * turns
    z = 1 + (z - 1) * np.exp(-tr / t1_ms)
  return np.array(signal)


@pytest.mark.parametrize("phases", ["constant", "varying", "rf-spoiled"])
def test_equals_isochromats(phases):
  rng = np.random.default_rng(0)
  sequence = make_sequence(
    rng.uniform(5, 70, 60),
    rng.uniform(10, 14, 60),
    te_ms=2.0,
    rf_phases_deg={
      "constant": 30.0,
      "varying": rng.uniform(0, 360, 60),
      "rf-spoiled": rf_spoiling_phases_deg(60),
    }[phases],
    inversion_time_ms=20.0,
  )
  expected = isochromats(sequence, 800.0, 70.0, n_spins=500)
  signal = simulate_fingerprints(sequence, [800.0], 70.0, n_states=60)[0]
  np.testing.assert_allclose(signal, expected, atol=2e-6)


def test_difference_falls_with_more_spins():
  sequence = tailored(500)
  t1, t2 = 4500.0, 2000.0  # long T2: orders above the number of spins matter
  graph = simulate_fingerprints(sequence, [t1], t2)[0]
  errors = [
    np.abs(isochromats(sequence, t1, t2, n) - graph).max()
    for n in (50, 100, 200, 500)
  ]
  assert errors[-1] < 1e-3
  assert errors[0] > 10 * errors[-1]
  assert np.all(np.diff(errors) < 0)
