import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence import make_sequence, tailored
from mrf_jax.signal.epg import (
  gradient_spoiled_train,
  simulate_echoes,
  simulate_fingerprints,
)


def isochromats(sequence, t1_ms, t2_ms, n_spins):
  """The same train with n_spins that each spoiler turns by equal steps."""
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
    # The pulse turns about the x axis of a frame in which its phase is zero.
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


@pytest.mark.parametrize("phases", ["constant", "varying"])
def test_equals_isochromats(phases):
  rng = np.random.default_rng(0)
  train = make_sequence(
    rng.uniform(5, 70, 60),
    rng.uniform(10, 14, 60),
    te_ms=2.0,
    rf_phases_deg=30.0 if phases == "constant" else rng.uniform(0, 360, 60),
    inversion_time_ms=20.0,
  )
  expected = isochromats(train, 800.0, 70.0, n_spins=500)
  got = simulate_fingerprints(train, [800.0], 70.0, n_states=60)[0]
  np.testing.assert_allclose(got, expected, atol=2e-6)


def test_first_echo_after_inversion():
  train = make_sequence([30.0], 12.0, 3.0, inversion_time_ms=400.0)
  t1, t2 = np.array([500.0, 1500.0]), np.array([60.0, 90.0])
  expected = (1 - 2 * np.exp(-400 / t1)) * np.sin(np.pi / 6) * np.exp(-3 / t2)
  got = simulate_fingerprints(train, t1, t2)[:, 0]
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_ideal_spoiling_reaches_the_spgr_steady_state():
  # With T2 far below TR nothing transverse survives to the next pulse.
  train = make_sequence(np.full(400, 20.0), 20.0, 0.0)
  e1 = np.exp(-20 / 300)
  angle = np.deg2rad(20)
  expected = np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))
  got = simulate_fingerprints(train, [300.0], 0.5)[0, -1]
  assert got.real == pytest.approx(expected, rel=1e-4)


def test_b1_scales_every_flip_angle():
  train = tailored(90)
  scaled = make_sequence(
    train.flip_angles_deg * 0.85, train.tr_ms, train.te_ms, 0.0, 20.0
  )
  np.testing.assert_allclose(
    simulate_fingerprints(train, [800.0], 70.0, b1=0.85),
    simulate_fingerprints(scaled, [800.0], 70.0),
    atol=1e-6,
  )


def test_stated_truncation_errors():
  train = tailored()
  t1, t2 = np.array([685.0, 1150.0, 4500.0]), np.array([68.0, 88.0, 2000.0])
  exact = simulate_echoes(train, t1, t2, n_states=700)
  error = np.abs(simulate_echoes(train, t1, t2) - exact).max(1)
  assert np.all(error <= np.array([1e-6, 1e-6, 3e-3]) * np.abs(exact).max(1))


def test_order_of_atoms_and_blocks_do_not_matter():
  rng = np.random.default_rng(1)
  t1 = rng.uniform(300, 4000, 1100)
  t2 = np.minimum(t1, rng.uniform(20, 2000, 1100))
  train = tailored(18)
  together = simulate_echoes(train, t1, t2)
  some = rng.permutation(1100)[:40]
  np.testing.assert_allclose(
    simulate_echoes(train, t1[some], t2[some]), together[some], atol=1e-7
  )


def test_real_and_complex_arithmetic_agree():
  train = tailored(60)
  atom = (jnp.array([900.0]), jnp.array([80.0]), jnp.array([1.1]))
  real = gradient_spoiled_train(train, *atom, n_states=32, real=True)
  full = gradient_spoiled_train(train, *atom, n_states=32, real=False)
  np.testing.assert_allclose(full.real, real, atol=1e-6)
  np.testing.assert_allclose(full.imag, 0, atol=1e-6)


@pytest.mark.parametrize("t1", [0.0, -1.0, np.nan, np.inf])
def test_impossible_relaxation_is_refused(t1):
  with pytest.raises(UserError, match="t1_ms"):
    simulate_fingerprints(tailored(18), [t1], 50.0)
