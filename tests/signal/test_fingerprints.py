"""Fingerprints and their derivatives, and arguments that are not valid."""

import dataclasses

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence.schedules import tailored
from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.signal.fingerprints import (
  fingerprint_derivatives,
  simulate_fingerprints,
)
from mrf_jax.signal.slice_profile import SliceProfile, sinc_slice_profile


def test_b1_scales_every_flip_angle():
  sequence = tailored(90)
  scaled = make_sequence(
    sequence.flip_angles_deg * 0.85, sequence.tr_ms, sequence.te_ms, 0.0, 20.0
  )
  np.testing.assert_allclose(
    simulate_fingerprints(sequence, [800.0], 70.0, b1=0.85),
    simulate_fingerprints(scaled, [800.0], 70.0),
    atol=1e-6,
  )


def test_order_and_blocks_change_nothing():
  rng = np.random.default_rng(1)
  t1 = rng.uniform(300, 4000, 1100)
  t2 = np.minimum(t1, rng.uniform(20, 2000, 1100))
  sequence = tailored(18)
  together = simulate_fingerprints(sequence, t1, t2)
  some = rng.permutation(1100)[:40]
  np.testing.assert_allclose(
    simulate_fingerprints(sequence, t1[some], t2[some]),
    together[some],
    atol=1e-7,
  )


def test_real_and_complex_arithmetic_agree():
  sequence = tailored(60)
  turned = make_sequence(
    sequence.flip_angles_deg, sequence.tr_ms, sequence.te_ms, 0.0, 20.0
  )
  # A phase of a whole turn changes nothing.
  turned.rf_phases_deg[30:] = 360.0
  atom = ([900.0], [80.0])
  real = simulate_fingerprints(sequence, *atom, b1=1.1, keep_real=True)
  full = simulate_fingerprints(turned, *atom, b1=1.1, keep_real=True)
  assert real.dtype == np.float32
  assert full.dtype == np.complex64
  np.testing.assert_allclose(full.real, real, atol=1e-6)
  np.testing.assert_allclose(full.imag, 0, atol=1e-6)


def test_stated_error_of_float32():
  rng = np.random.default_rng(2)
  t1 = np.exp(rng.uniform(np.log(100), np.log(5400), 500))
  t2 = np.minimum(t1, np.exp(rng.uniform(np.log(10), np.log(2460), 500)))
  sequence = tailored()
  exact = simulate_fingerprints(
    sequence, t1, t2, dtype=np.float64, n_states=361
  )
  assert exact.dtype == np.complex128
  echoes = simulate_fingerprints(sequence, t1, t2, n_states=361)
  error = np.abs(echoes - exact).max(1)
  assert error[t2 < 400].max() < 2e-6
  assert error.max() < 4e-6
  assert error.max() > 1e-8  # float32 was compared, not float64


def test_one_b1_equals_equal_values():
  t1, t2 = np.full(700, 800.0), np.linspace(30, 90, 700)
  sequence = tailored(96)
  same = simulate_fingerprints(sequence, t1, t2, b1=0.9)
  other = np.full(700, 0.9)
  other[-1] = 1.0
  each = simulate_fingerprints(sequence, t1, t2, b1=other)
  np.testing.assert_allclose(each[:-1], same[:-1], atol=3e-7)
  assert np.abs(each[-1] - same[-1]).max() > 1e-3


def test_no_atoms():
  assert simulate_fingerprints(tailored(18), [], 50.0).shape == (0, 18)


def test_off_resonance_turns_the_phase():
  """And nothing else, in a gradient-spoiled sequence."""
  # With constant TR, every path to an echo has the phase of TE.
  sequence = make_sequence(np.linspace(10, 60, 60), 12.0, 4.0, 0.0, 20.0)
  still = simulate_fingerprints(sequence, [900.0], 80.0)
  turned = simulate_fingerprints(sequence, [900.0], 80.0, off_resonance_hz=13.0)
  phase = np.exp(2j * np.pi * 13.0 * 0.004)
  np.testing.assert_allclose(turned, still * phase, atol=2e-6)


@pytest.mark.parametrize(
  ("sequence", "offset"),
  [
    (tailored(60), 0.0),
    (
      make_sequence(
        np.linspace(10, 60, 40),
        12.0,
        2.0,
        np.linspace(0, 900, 40),
        saturation_time_ms=300.0,
        t2_preparation_ms=40.0,
      ),
      7.0,
    ),
    (make_sequence(np.linspace(10, 60, 40), 5.0, 2.5, balanced=True), 20.0),
  ],
)
def test_derivatives_equal_central_differences(sequence, offset):
  at = {"t1_ms": np.array([700.0, 4000.0]), "t2_ms": np.array([70.0, 900.0])}
  at |= {"b1": np.array([0.9, 1.1])}
  common = {"off_resonance_hz": offset, "dtype": np.float64, "n_states": 30}
  derivatives = fingerprint_derivatives(sequence, **at, **common)
  np.testing.assert_allclose(
    derivatives.signals,
    simulate_fingerprints(sequence, **at, **common),
    atol=1e-12,
  )
  for name in at:
    step = 1e-5 * at[name]
    up, down = (
      simulate_fingerprints(sequence, **{**at, name: at[name] + d}, **common)
      for d in (step, -step)
    )
    expected = (up - down) / (2 * step)[:, None]
    np.testing.assert_allclose(
      getattr(derivatives, f"by_{name}"),
      expected,
      atol=1e-6 * np.abs(expected).max(),
    )


def test_derivative_by_b1_can_be_left_out():
  atoms = (tailored(40), [700.0, 4000.0], [70.0, 900.0])
  every = fingerprint_derivatives(*atoms, n_states=20)
  fewer = fingerprint_derivatives(*atoms, n_states=20, with_b1=False)
  assert every.by_b1 is not None
  assert fewer.by_b1 is None
  for name in ("signals", "by_t1_ms", "by_t2_ms"):
    values = getattr(every, name)
    np.testing.assert_allclose(
      getattr(fewer, name), values, atol=1e-6 * np.abs(values).max()
    )


def test_sub_slices_add_up():
  sequence = tailored(60)
  profile = SliceProfile(np.array([1.0, 0.5]), np.array([3.0, 1.0]))
  parts = [
    simulate_fingerprints(sequence, [900.0], 80.0, b1=0.9 * f)
    for f in (1.0, 0.5)
  ]
  echoes = simulate_fingerprints(
    sequence, [900.0], 80.0, b1=0.9, slice_profile=profile
  )
  expected = 0.75 * parts[0] + 0.25 * parts[1]
  np.testing.assert_allclose(echoes, expected, atol=3e-7)


def test_a_sequence_states_the_profile_of_its_pulses():
  """Signals and derivatives are sums over its sub-slices, and differences."""
  sequence = tailored(60)
  sliced = dataclasses.replace(sequence, slice_time_bandwidth=4.0)
  options = {"b1": 0.9, "n_states": 40, "dtype": np.float64}
  given = simulate_fingerprints(
    sequence,
    [900.0],
    80.0,
    slice_profile=sinc_slice_profile(time_bandwidth=4.0),
    **options,
  )
  found = fingerprint_derivatives(sliced, [900.0], 80.0, **options)
  np.testing.assert_allclose(found.signals, given.real, atol=1e-12)

  def signals(t1_ms=900.0, t2_ms=80.0, b1=0.9):
    return simulate_fingerprints(
      sliced, [t1_ms], t2_ms, **{**options, "b1": b1}
    ).real

  for step, name, derivative in (
    (0.1, "t1_ms", found.by_t1_ms),
    (0.01, "t2_ms", found.by_t2_ms),
    (1e-4, "b1", found.by_b1),
  ):
    at = {"t1_ms": 900.0, "t2_ms": 80.0, "b1": 0.9}[name]
    difference = signals(**{name: at + step}) - signals(**{name: at - step})
    np.testing.assert_allclose(
      derivative,
      difference / (2 * step),
      atol=1e-5 * np.abs(derivative).max(),
    )


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"t1_ms": [800.0, 0.0]}, r"t1_ms\[1\] is 0, not positive"),
    ({"t1_ms": [800.0, -1.0]}, r"t1_ms\[1\] is -1, not positive"),
    ({"t1_ms": [np.nan, 800.0]}, r"t1_ms\[0\] is nan"),
    ({"t2_ms": [50.0, np.inf]}, r"t2_ms\[1\] is inf"),
    ({"t2_ms": [50.0, 900.0]}, r"t2_ms\[1\] is 900, longer than its t1_ms"),
    ({"t2_ms": [50.0] * 3}, "shapes"),
    ({"b1": [1.0, np.nan]}, r"b1\[1\] is nan"),
    ({"off_resonance_hz": np.inf}, r"off_resonance_hz\[0\] is inf"),
    ({"n_states": 1}, "n_states is 1"),
    ({"dtype": np.float16}, "dtype"),
  ],
)
def test_impossible_atoms_are_named(arguments, message):
  arguments = {"t1_ms": [800.0, 700.0], "t2_ms": 50.0, **arguments}
  with pytest.raises(UserError, match=message):
    simulate_fingerprints(tailored(18), **arguments)
