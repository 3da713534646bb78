"""Pulse sequences whose signal has a closed form, to 1e-5."""

import numpy as np
import pytest

from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.signal.fingerprints import simulate_fingerprints
from tests.relaxometry.examples import spgr

T1 = np.array([300.0, 685.0, 1150.0, 4500.0])
T2 = np.array([40.0, 68.0, 88.0, 2000.0])


@pytest.mark.parametrize(
  ("preparation", "before"),
  [
    *(
      ({"inversion_time_ms": t}, 1 - 2 * np.exp(-t / T1))
      for t in (20.0, 400.0, 3000.0)
    ),
    ({"saturation_time_ms": 500.0}, 1 - np.exp(-500 / T1)),
    ({"t2_preparation_ms": 60.0}, np.exp(-60 / T2)),
    (
      {"inversion_time_ms": 100.0, "t2_preparation_ms": 60.0},
      (1 - 2 * np.exp(-100 / T1)) * np.exp(-60 / T2),
    ),
  ],
)
@pytest.mark.parametrize("flip_deg", [30.0, 90.0])
def test_first_echo_after_preparation(preparation, before, flip_deg):
  sequence = make_sequence([flip_deg], 12.0, 3.0, **preparation)
  expected = before * np.sin(np.deg2rad(flip_deg)) * np.exp(-3 / T2)
  signal = simulate_fingerprints(sequence, T1, T2)[:, 0]
  np.testing.assert_allclose(signal, expected, atol=1e-5)


@pytest.mark.parametrize("b1", [1.0, 0.8])
def test_spgr_steady_state(b1):
  """With T2 far below TR spoiling is ideal: Ernst's equation."""
  t1 = T1[:3]
  sequence = make_sequence(np.full(800, 20.0), 20.0, 0.0)
  expected = spgr(np.ones(3), t1, [20 * b1], tr_ms=20.0)[:, 0]
  signal = simulate_fingerprints(sequence, t1, 0.5, b1=b1)[:, -1]
  np.testing.assert_allclose(signal, expected, atol=1e-5)


def test_spin_echoes_of_180_degrees():
  """After 90° and 180° pulses, every second frame is an echo with T2 decay."""
  spacing = 20.0
  sequence = make_sequence(
    [90.0, 180.0, 180.0, 180.0, 180.0],
    spacing,
    0.0,
    [0.0, 90.0, 90.0, 90.0, 90.0],
  )
  signal = np.abs(simulate_fingerprints(sequence, T1, T2, n_states=6))
  np.testing.assert_allclose(signal[:, 0], 1, atol=1e-5)
  # A 180° pulse turns order 1 into order -1, and the next spoiler refocuses it:
  # the echo follows the pulse after that.
  np.testing.assert_allclose(signal[:, 2], np.exp(-40 / T2), atol=1e-5)
  np.testing.assert_allclose(signal[:, 4], np.exp(-80 / T2), atol=1e-5)
  np.testing.assert_allclose(signal[:, 1], 0, atol=1e-5)


def bssfp(t1, t2, *, flip_deg, tr_ms, turn):
  """Steady state after the pulse, in its frame (Freeman and Hill 1971).

  The fixed point of one repetition of the Bloch equations: a pulse about y, and
  precession about z by the angle `turn`.
  """
  a, e1, e2 = np.deg2rad(flip_deg), np.exp(-tr_ms / t1), np.exp(-tr_ms / t2)
  pulse = np.array(
    [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
  )
  free = np.array(
    [
      [e2 * np.cos(turn), -e2 * np.sin(turn), 0],
      [e2 * np.sin(turn), e2 * np.cos(turn), 0],
      [0, 0, e1],
    ]
  )
  steady = np.linalg.solve(np.eye(3) - pulse @ free, pulse @ [0, 0, 1 - e1])
  return steady[0] + 1j * steady[1]


@pytest.mark.parametrize("off_resonance_hz", [0.0, 11.0, 60.0])
def test_balanced_steady_state(off_resonance_hz):
  tr_ms, n = 5.0, 4000
  t1, t2 = np.array([300.0, 685.0]), np.array([40.0, 68.0])
  sequence = make_sequence(
    np.full(n, 35.0), tr_ms, 0.0, 180.0 * np.arange(n), balanced=True
  )
  signal = simulate_fingerprints(
    sequence, t1, t2, off_resonance_hz=off_resonance_hz
  )[:, -1]
  # The frame of each pulse is rotated by 180° from that of the last.
  turn = 2 * np.pi * off_resonance_hz * tr_ms / 1000 - np.pi
  expected = [
    bssfp(*atom, flip_deg=35.0, tr_ms=tr_ms, turn=turn)
    for atom in zip(t1, t2, strict=True)
  ]
  np.testing.assert_allclose(signal, expected, atol=1e-5)
  if not off_resonance_hz:
    a, e1, e2 = np.deg2rad(35), np.exp(-tr_ms / t1), np.exp(-tr_ms / t2)
    closed = np.sin(a) * (1 - e1) / (1 - (e1 - e2) * np.cos(a) - e1 * e2)
    np.testing.assert_allclose(signal, closed, atol=1e-5)


def test_balanced_echo_decays_and_turns():
  sequence = make_sequence([40.0], 6.0, 3.0, balanced=True)
  signal = simulate_fingerprints(sequence, T1, T2, off_resonance_hz=25.0)[:, 0]
  expected = np.sin(np.deg2rad(40)) * np.exp(-3 / T2)
  phase = np.exp(2j * np.pi * 25.0 * 0.003)
  np.testing.assert_allclose(signal, expected * phase, atol=1e-5)
