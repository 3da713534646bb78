"""SPGR signal against repeated excitation, in both precisions."""

import jax
import numpy as np
import pytest

from mrf_jax.signal.closed_form import spgr_signal
from tests.relaxometry.examples import spgr


def _repeat_excitation(flip_deg, tr_ms, t1_ms, n=20000):
  """Longitudinal magnetisation before a pulse after n repetitions."""
  mz = np.ones_like(t1_ms)
  for _ in range(n):
    mz = 1 + (mz * np.cos(np.deg2rad(flip_deg)) - 1) * np.exp(-tr_ms / t1_ms)
  return mz


@pytest.mark.parametrize("flip_deg", [1.0, 5.0, 25.0, 90.0])
@pytest.mark.parametrize("b1", [0.85, 1.0, 1.15])
def test_spgr_equals_repeated_excitation(flip_deg, b1):
  t1_ms = np.array([100.0, 685.0, 1180.0, 4800.0])
  mz = _repeat_excitation(flip_deg * b1, 5.85, t1_ms)
  expected = 3.0 * mz * np.sin(np.deg2rad(flip_deg * b1))
  signal = spgr_signal(3.0, t1_ms, flip_angle_deg=flip_deg, tr_ms=5.85, b1=b1)
  np.testing.assert_allclose(signal, expected, rtol=2e-6)


def test_spgr_digits_at_small_angles():
  """More of them where JAX is switched to double precision."""
  t1 = np.array([100.0, 5000.0])
  exact = spgr(np.ones(2), t1, [1.0], tr_ms=5.85)[:, 0]
  arguments = {"flip_angle_deg": 1.0, "tr_ms": 5.85}
  single = spgr_signal(1.0, t1, **arguments)
  assert single.dtype == np.float32
  np.testing.assert_allclose(single, exact, rtol=5e-7)
  with jax.enable_x64(True):
    double = spgr_signal(1.0, t1, **arguments)
    # Cancellation costs the expected values a few digits, too.
    np.testing.assert_allclose(double, exact, rtol=1e-11)


def test_spgr_peak_is_the_ernst_angle():
  flips = np.linspace(0.5, 30, 2000)
  signal = np.asarray(spgr_signal(1.0, 900.0, flip_angle_deg=flips, tr_ms=5.85))
  ernst = np.rad2deg(np.arccos(np.exp(-5.85 / 900.0)))
  assert flips[signal.argmax()] == pytest.approx(ernst, abs=0.1)


@pytest.mark.parametrize("rank_promotion", ["allow", "raise"])
def test_spgr_broadcasts_under_any_promotion(rank_promotion):
  t1_ms = np.array([[500.0], [1000.0], [2000.0]])
  with jax.numpy_rank_promotion(rank_promotion):
    flips = np.array([2.0, 10.0])
    spgr = spgr_signal(1.0, t1_ms, flip_angle_deg=flips, tr_ms=6.0)
  assert spgr.shape == (3, 2)
