"""Magnetisation after a preparation."""

import dataclasses

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.signal.fingerprints import simulate_fingerprints


def simulated(sequence, efficiency, **options):
  played = dataclasses.replace(sequence, inversion_efficiency=efficiency)
  return simulate_fingerprints(
    played, [700.0, 1200.0], [70.0, 100.0], dtype=np.float64, **options
  )


def test_a_partial_inversion_by_its_closed_form():
  """The first echo after an inversion of 90 % of the magnetisation."""
  sequence = make_sequence([30.0, 40.0], 12.0, 2.0, inversion_time_ms=500.0)
  t1_ms, t2_ms = np.array([700.0, 1200.0]), np.array([70.0, 100.0])
  echoes = simulated(sequence, 0.9)
  recovered = 1 - 2 * 0.9 * np.exp(-500.0 / t1_ms)
  expected = recovered * np.sin(np.deg2rad(30)) * np.exp(-2.0 / t2_ms)
  np.testing.assert_allclose(np.abs(echoes[:, 0]), np.abs(expected), rtol=1e-9)
  # All that follows is linear in the magnetisation.
  whole = simulated(sequence, 1.0)
  none = simulated(dataclasses.replace(sequence, inversion_time_ms=None), 1.0)
  np.testing.assert_allclose(echoes, 0.9 * whole + 0.1 * none, atol=1e-12)


def test_efficiency_of_no_inversion_changes_nothing():
  sequence = make_sequence([30.0, 40.0], 12.0, 2.0)
  np.testing.assert_array_equal(
    simulated(sequence, 1.0), simulated(sequence, 0.8)
  )


@pytest.mark.parametrize("efficiency", [0.0, 1.2, np.nan])
def test_efficiencies_that_are_not_possible(efficiency):
  with pytest.raises(
    UserError, match=r"inversion_efficiency is .*, not above 0"
  ):
    make_sequence(
      [30.0],
      12.0,
      2.0,
      inversion_time_ms=20.0,
      inversion_efficiency=efficiency,
    )
