"""State counts that keep the truncation error below its bound."""

import numpy as np
import pytest

from mrf_jax.sequence.schedules import rf_spoiling_phases_deg, tailored
from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.signal.states import StateTable, exact_states

RNG = np.random.default_rng(0)
SEQUENCES = {
  "tailored": tailored(300),
  "constant": make_sequence(np.full(200, 60.0), 6.0, 2.0),
  "irregular": make_sequence(
    RNG.uniform(0, 90, 150), RNG.uniform(5, 20, 150), 2.0, 0.0, 20.0
  ),
  "rf-spoiled": make_sequence(
    np.full(120, 25.0), 5.0, 2.0, rf_spoiling_phases_deg(120)
  ),
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("tolerance", [1e-4, 1e-2])
def test_truncation_stays_under_the_bound(name, tolerance):
  sequence = SEQUENCES[name]
  rng = np.random.default_rng(1)
  t1 = np.exp(rng.uniform(np.log(50), np.log(6000), 1000))
  t2 = np.minimum(t1, np.exp(rng.uniform(np.log(5), np.log(3000), 1000)))
  b1 = rng.uniform(0.7, 1.3, 1000)
  exact = simulate_fingerprints(
    sequence, t1, t2, b1=b1, n_states=exact_states(sequence), dtype=np.float64
  )
  echoes = simulate_fingerprints(sequence, t1, t2, b1=b1, tolerance=tolerance)
  error = np.abs(echoes - exact).max(1) / np.abs(exact).max(1)
  assert error.max() <= tolerance


def test_exact_states_are_half_the_frames():
  sequence = tailored(64)
  t1, t2 = [3000.0], [2000.0]
  full = simulate_fingerprints(sequence, t1, t2, n_states=33, dtype=np.float64)
  fewer = simulate_fingerprints(sequence, t1, t2, n_states=24, dtype=np.float64)
  assert exact_states(sequence) == 33
  # Fewer orders than half the frames change the last echoes.
  assert np.abs(fewer - full).max() > 1e-6


def test_states_grow_with_t2():
  """Only the counts that are needed are tried."""
  tried = []

  def simulate(t1_ms, t2_ms, b1, n_states):
    tried.append(n_states)
    return simulate_fingerprints(
      SEQUENCES["tailored"], t1_ms, t2_ms, b1=b1, n_states=n_states
    )

  table = StateTable(SEQUENCES["tailored"], tolerance=1e-4, simulate=simulate)
  short = table.needed(np.array([20.0, 80.0]))
  assert max(tried[1:], default=0) <= 64  # the first is the exact one
  counts = table.needed(np.array([20.0, 80.0, 300.0, 2000.0, 20_000.0]))
  assert list(counts[:2]) == list(short)
  assert np.all(np.diff(counts) >= 0)
  assert counts[0] < counts[2] < counts[3]
  assert counts[-1] == exact_states(SEQUENCES["tailored"])
