import dataclasses

import numpy as np
import pytest

from mrf_jax import Acquisition, make_sequence, simulate_fingerprints, tailored
from mrf_jax.sequence.schedules import rf_spoiling_phases_deg
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.interpolant import (
  LEAST_T2_MS,
  T1_MS,
  grid_of_times,
  make_interpolant,
)

TRAIN = tailored(240)
SPOILED = make_sequence(
  TRAIN.flip_angles_deg, 12.0, 2.0, rf_spoiling_phases_deg(240)
)


def random_times(n):
  rng = np.random.default_rng(0)
  t1_ms = np.exp(rng.uniform(*np.log(T1_MS), n))
  t2_ms = np.exp(rng.uniform(np.log(LEAST_T2_MS), np.log(t1_ms)))
  return t1_ms, t2_ms


def unexplained(found, wanted):
  product = np.abs(np.sum(found.conj() * wanted, 1)) ** 2
  norms = np.sum(np.abs(found) ** 2, 1) * np.sum(np.abs(wanted) ** 2, 1)
  return 1 - product / norms


@pytest.mark.parametrize("sequence", [TRAIN, SPOILED], ids=["real", "complex"])
def test_interpolated_fingerprints_are_simulated_ones(sequence):
  t1_ms, t2_ms = random_times(200)
  wanted = simulate_fingerprints(sequence, t1_ms, t2_ms, keep_real=True)
  found = make_interpolant(sequence)(t1_ms, t2_ms)
  assert found.dtype.kind == wanted.dtype.kind
  assert unexplained(found, wanted).max() < 1e-3


def test_windows_and_projection_are_linear():
  acquisition = Acquisition(TRAIN, 24, 8)
  t1_ms, t2_ms = random_times(20)
  echoes = make_interpolant(TRAIN)
  windows = echoes.windowed(acquisition)
  wanted = sliding_window(echoes(t1_ms, t2_ms), window=24, stride=8)
  np.testing.assert_allclose(windows(t1_ms, t2_ms), wanted, atol=1e-6)
  basis = np.random.default_rng(0).normal(size=(wanted.shape[1], 5))
  np.testing.assert_allclose(
    windows.projected(basis)(t1_ms, t2_ms), wanted @ basis, atol=1e-5
  )


def test_values_outside_are_those_at_the_edge():
  interpolant = make_interpolant(TRAIN)
  outside = interpolant([1e5, 1.0, 100.0], [50.0, 0.1, 400.0])
  edge = interpolant([T1_MS[1], T1_MS[0], 100.0], [50.0, LEAST_T2_MS, 100.0])
  np.testing.assert_array_equal(outside, edge)


def test_grid_is_physical():
  t1_ms, t2_ms = grid_of_times(9)
  assert len(t1_ms) == 81 and np.all(t2_ms <= t1_ms * (1 + 1e-9))
  assert t1_ms.min() == pytest.approx(T1_MS[0])
  assert t2_ms.min() == pytest.approx(LEAST_T2_MS)


def test_preparations_are_simulated_too():
  train = dataclasses.replace(TRAIN, inversion_time_ms=None)
  assert (
    unexplained(
      make_interpolant(train)([900.0], [80.0]),
      make_interpolant(TRAIN)([900.0], [80.0]),
    )
    > 0.05
  )
