"""RF spoiling against the states of EPG-X (Malik 2018)."""

import numpy as np
import pytest
import scipy.io

from mrf_jax.sequence.schedules import rf_spoiling_phases_deg
from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.signal.fingerprints import simulate_fingerprints


@pytest.mark.parametrize(
  ("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)]
)
def test_two_hundred_rf_spoiled_pulses(validation_data, dtype, tolerance):
  path = validation_data / "epgx_gre" / "EPGX_GRE.mat"
  f_zero = scipy.io.loadmat(path)["Fn0"][100]
  sequence = make_sequence(
    np.full(200, 10.0), 5.0, 0.0, rf_spoiling_phases_deg(200)
  )
  signal = simulate_fingerprints(
    sequence, [779.0], 45.0, dtype=dtype, n_states=101
  )[0]
  # EPG-X states are in the laboratory's frame, excited to the -y axis.
  expected = 1j * f_zero * np.exp(-1j * np.deg2rad(sequence.rf_phases_deg))
  assert np.abs(f_zero).max() > 0.1
  np.testing.assert_allclose(signal, expected, atol=tolerance)
