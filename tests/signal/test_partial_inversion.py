"""Inversions of part of the magnetisation."""

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.signal.partial_inversion import simulate_partly_inverted


def test_a_partial_inversion_by_its_closed_form():
  """The first echo after an inversion of 90 % of the magnetisation."""
  sequence = make_sequence([30.0, 40.0], 12.0, 2.0, inversion_time_ms=500.0)
  t1_ms, t2_ms = np.array([700.0, 1200.0]), np.array([70.0, 100.0])
  echoes = simulate_partly_inverted(
    sequence, t1_ms, t2_ms, efficiency=0.9, dtype=np.float64
  )
  recovered = 1 - 2 * 0.9 * np.exp(-500.0 / t1_ms)
  expected = recovered * np.sin(np.deg2rad(30)) * np.exp(-2.0 / t2_ms)
  np.testing.assert_allclose(np.abs(echoes[:, 0]), np.abs(expected), rtol=1e-9)
  whole, none = (
    simulate_partly_inverted(
      sequence, t1_ms, t2_ms, efficiency=e, dtype=np.float64
    )
    for e in (1.0, 0.0)
  )
  np.testing.assert_allclose(echoes, 0.9 * whole + 0.1 * none, atol=1e-12)
  with pytest.raises(
    UserError, match=r"inversion efficiency is 1\.2, not from"
  ):
    simulate_partly_inverted(sequence, t1_ms, t2_ms, efficiency=1.2)


def test_efficiency_of_no_inversion_changes_nothing():
  sequence = make_sequence([30.0, 40.0], 12.0, 2.0)
  plain, other = (
    simulate_partly_inverted(sequence, [700.0], 70.0, efficiency=e)
    for e in (1.0, 0.8)
  )
  np.testing.assert_array_equal(plain, other)
