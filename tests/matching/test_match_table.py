"""Matching with some hundred atoms and one step between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax import UserError, simulate_fingerprints, sliding_window, tailored
from mrf_jax.matching.match_table import (
  LEAST_SHARE,
  _first_of_largest,
  atom_times,
  make_match_atoms,
  match_by_table,
)
from mrf_jax.matching.off_grid import match_off_grid
from mrf_jax.matching.off_grid_matcher import make_off_grid_matcher
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from tests.laws import complex_noise

FRAMES, WINDOW = 160, 8
ACQUISITION = Acquisition(tailored(FRAMES), WINDOW)
T1_MS, T2_MS, STEP = (200.0, 4000.0), (20.0, 800.0), 20.0
PD = 0.7


@pytest.fixture(scope="module")
def atoms():
  return make_match_atoms(ACQUISITION, T1_MS, T2_MS, STEP)


def scan(count, *, noise_sd=0.0, seed=0):
  """Signals of tissues with any phase, and their T1 and T2, ms."""
  rng = np.random.default_rng(seed)
  t1 = np.exp(rng.uniform(np.log(400), np.log(3000), count))
  t2 = np.exp(rng.uniform(np.log(30), np.log(np.minimum(0.8 * t1, 500))))
  echoes = PD * simulate_fingerprints(ACQUISITION.sequence, t1, t2)
  echoes = echoes * np.exp(2j * np.pi * rng.random((count, 1)))
  echoes += noise_sd * np.sqrt(WINDOW) * complex_noise(*echoes.shape, seed=1)
  signals = sliding_window(echoes.astype(np.complex64), window=WINDOW)
  return signals, np.stack([t1, t2], 1)


def parts(signals):
  return np.concatenate([signals.real, signals.imag], 1)


def match(table, signals):
  return jax.jit(match_by_table)(table, parts(signals))


def test_a_step_goes_between_the_atoms(atoms):
  signals, times = scan(500)
  found = match(atoms.table(), signals)
  error = np.abs(np.asarray(found.log_times) - np.log(times))
  # Atoms are 18 % apart: the nearest one alone errs by 5 % in the mean.
  assert (error.mean(0) < [0.003, 0.01]).all()
  assert np.quantile(np.abs(np.asarray(found.pd) / PD - 1), 0.95) < 0.01
  assert (np.asarray(found.left_over) < 0.01).all()


def test_agrees_with_the_search_off_the_grid(atoms):
  signals, _ = scan(300, noise_sd=0.02)
  exact = match_off_grid(
    make_off_grid_matcher(ACQUISITION, T1_MS, T2_MS, rank=16), signals
  )
  found = match(atoms.table(), signals)
  t1, t2 = np.exp(np.asarray(found.log_times)).T
  apart = [
    np.median(np.abs(np.log(own / other)))
    for own, other in ((t1, exact.maps.t1_ms), (t2, exact.maps.t2_ms))
  ]
  assert apart[0] < 0.003 and apart[1] < 0.01
  # What noise does is far more.
  relative = exact.deviations.t1_ms / exact.maps.t1_ms
  assert np.median(relative) > 2 * apart[0]


def test_components_and_windows_give_one_match(atoms):
  signals, _ = scan(200)
  basis = temporal_basis(gram_matrix(signals), rank=20).astype(np.complex64)
  whole = match(atoms.table(), signals)
  compressed = match(atoms.table(basis), signals @ basis)
  np.testing.assert_allclose(
    compressed.log_times, whole.log_times, rtol=0, atol=3e-3
  )
  np.testing.assert_allclose(compressed.pd, whole.pd, rtol=3e-3)


def test_scale_and_phase_change_proton_density_alone(atoms):
  signals, _ = scan(100, noise_sd=0.01)
  table = atoms.table()
  own = match(table, signals)
  other = match(table, (3j * signals).astype(np.complex64))
  np.testing.assert_allclose(other.pd, 3 * np.asarray(own.pd), rtol=1e-4)
  np.testing.assert_allclose(other.log_times, own.log_times, atol=1e-3)
  np.testing.assert_allclose(other.left_over, own.left_over, rtol=1e-2)


def test_deviations_are_those_of_the_noise(atoms):
  signals, times = scan(1, noise_sd=0.0)
  many = np.repeat(signals, 2000, 0)
  noisy = many + 0.01 * complex_noise(*many.shape, seed=2)
  found = match(atoms.table(), noisy.astype(np.complex64))
  spread = np.asarray(found.log_times).std(0)
  predicted = np.asarray(found.deviations).mean(0)
  np.testing.assert_allclose(predicted, spread, rtol=0.1)
  np.testing.assert_allclose(
    np.exp(np.asarray(found.log_times).mean(0)), times[0], rtol=0.01
  )


def test_nothing_and_noise_stay_finite(atoms):
  signals = np.concatenate(
    [np.zeros((1, ACQUISITION.n_windows)), complex_noise(3, 153, seed=3)]
  ).astype(np.complex64)
  found = match(atoms.table(), signals)
  assert all(np.isfinite(np.asarray(x)).all() for x in found)
  assert found.pd[0] == 0
  assert float(found.left_over[1:].min()) > 0.5
  assert float(found.left_over[0]) >= LEAST_SHARE


@pytest.mark.parametrize(
  ("t1_ms", "t2_ms", "step", "words"),
  [
    (T1_MS, T2_MS, 1e-9, "steps of 1e-09 %"),
    (T1_MS, T2_MS, np.nan, "steps of nan %"),
    ((200.0, 1e300), T2_MS, 20.0, "T1 from 200 to 1e"),
    (T1_MS, (50.0, 50.0), 20.0, "T2 from 50 to 50 ms"),
    ((10.0, 20.0), (40.0, 80.0), 20.0, "no T2 from 40 ms on"),
  ],
)
def test_impossible_atoms_are_refused(t1_ms, t2_ms, step, words):
  with pytest.raises(UserError, match=words):
    atom_times(t1_ms, t2_ms, step)


def test_the_best_atom_is_the_first_of_the_best():
  """As `argmax` has it, also of signals of zeros and of equal atoms."""
  rng = np.random.default_rng(0)
  energies = rng.random((50, 37)).astype(np.float32)
  energies[0] = 0
  energies[1] = np.float32(1e-42)  # below the least normal number
  energies[2, [5, 9]] = 7
  energies[3, 4] = np.inf
  found = _first_of_largest(jnp.asarray(energies))
  np.testing.assert_array_equal(found, energies.argmax(1))
