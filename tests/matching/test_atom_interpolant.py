"""Dictionaries by interpolation: their error, their limits, their defaults."""

import dataclasses

import numpy as np
import pytest

from mrf_jax import UserError, build_dictionary, match, tailored
from mrf_jax.matching import atom_interpolant
from mrf_jax.matching import dictionary as of_dictionary
from mrf_jax.matching.atom_interpolant import (
  InterpolationError,
  make_atom_interpolant,
)
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import rf_spoiling_phases_deg
from tests.laws import complex_noise

TRAIN = tailored(64)
SPOILED = dataclasses.replace(
  TRAIN, rf_phases_deg=rf_spoiling_phases_deg(TRAIN.n_frames)
)
T1_MS = np.geomspace(200.0, 3000.0, 12)
T2_MS = np.geomspace(20.0, 600.0, 14)
B1 = (0.85, 1.0, 1.1)
WINDOW, RANK = 8, 10


def build(sequence=TRAIN, t1_ms=T1_MS, t2_ms=T2_MS, b1=B1, **options):
  return build_dictionary(
    sequence, t1_ms, t2_ms, b1=b1, window=WINDOW, **options
  )


@pytest.mark.parametrize("sequence", [TRAIN, SPOILED], ids=["real", "complex"])
@pytest.mark.parametrize("b1", [B1, (1.0,)], ids=["B1", "one B1"])
def test_atoms_are_those_of_the_simulation(sequence, b1):
  found = build(sequence, b1=b1, rank=RANK, interpolate=True)
  exact = build(sequence, b1=b1)
  for name in ("t1_ms", "t2_ms", "b1"):
    np.testing.assert_array_equal(getattr(found, name), getattr(exact, name))
  assert found.atoms.dtype == exact.atoms.dtype
  np.testing.assert_allclose(np.linalg.norm(found.atoms, axis=1), 1, rtol=1e-5)
  projected = exact.norms[:, None] * (exact.atoms @ found.basis)
  error = np.linalg.norm(found.norms[:, None] * found.atoms - projected, axis=1)
  # The bound is that of other atoms; random ones are not the very worst.
  assert 0 < found.interpolation_error <= 1e-4
  assert (error / exact.norms).max() < 2e-4


def test_components_are_those_of_all_atoms():
  found = build(rank=RANK, interpolate=True)
  exact = build()
  best = of_dictionary.compress(exact, rank=RANK).basis
  lost = [
    np.linalg.norm(exact.atoms - exact.atoms @ basis @ basis.T)
    for basis in (found.basis, best)
  ]
  assert lost[0] < 1.05 * lost[1]


def test_single_values_of_all_axes():
  one = build(t1_ms=[800.0], t2_ms=[80.0], b1=[1.0], rank=1, interpolate=True)
  exact = build(t1_ms=[800.0], t2_ms=[80.0], b1=[1.0])
  np.testing.assert_allclose(one.norms, exact.norms, rtol=1e-4)


def test_axes_may_have_any_order():
  there = build(rank=RANK, interpolate=True)
  back = build(
    t1_ms=T1_MS[::-1], t2_ms=T2_MS[::-1], rank=RANK, interpolate=True
  )
  order = np.lexsort((back.t2_ms, back.t1_ms, back.b1))
  np.testing.assert_array_equal(back.t2_ms[order], there.t2_ms)
  np.testing.assert_allclose(back.norms[order], there.norms, rtol=1e-5)


def test_points_and_grid_agree():
  acquisition = Acquisition(TRAIN, WINDOW)
  found = make_atom_interpolant(acquisition, T1_MS, T2_MS, B1, rank=RANK)
  grid = np.stack(np.meshgrid(B1, T1_MS, T2_MS, indexing="ij"), -1)
  b1, t1, t2 = grid.reshape(-1, 3).T
  physical = t2 <= t1
  at_points = found.at(t1[physical], t2[physical], b1[physical])
  on_grid = found.on_grid(T1_MS, T2_MS, B1)
  np.testing.assert_allclose(at_points, on_grid, atol=1e-5)


def test_all_components_are_kept_without_a_rank():
  acquisition = Acquisition(TRAIN, WINDOW)
  every, some = (
    make_atom_interpolant(acquisition, T1_MS, T2_MS, B1, rank=rank)
    for rank in (None, RANK)
  )
  n_windows, rank = every.basis.shape
  assert RANK < rank <= n_windows
  np.testing.assert_allclose(
    every.basis.T @ every.basis, np.eye(rank), atol=1e-5
  )
  assert every.left_out < 1e-5 < some.left_out


def test_an_error_that_cannot_be_met_is_refused(monkeypatch):
  with pytest.raises(InterpolationError, match="144 polynomials along one"):
    build(rank=RANK, interpolate=True, largest_error=1e-9)
  # Too few nodes, as if the lines had missed something.
  monkeypatch.setattr(atom_interpolant, "_ATTEMPTS", ((100.0, False),))
  with pytest.raises(InterpolationError, match=r"err by up to .* above"):
    build(rank=RANK, interpolate=True)
  # By default they are simulated then.
  monkeypatch.setattr(of_dictionary, "MOST_SIMULATED", 10)
  found = build(rank=RANK, largest_error=1e-9)
  assert found.interpolation_error == 0


def test_large_dictionaries_are_interpolated(monkeypatch):
  assert build(rank=RANK).interpolation_error == 0
  monkeypatch.setattr(of_dictionary, "MOST_SIMULATED", 10)
  assert build(rank=RANK).interpolation_error > 0
  assert build(rank=RANK, interpolate=False).interpolation_error == 0
  # Without a rank all frames are kept.
  assert build().interpolation_error == 0


@pytest.mark.parametrize("options", [{}, {"rank": RANK, "n_states": 20}])
def test_interpolation_needs_a_rank(options):
  with pytest.raises(UserError, match="needs a rank, and no n_states"):
    build(interpolate=True, **options)


def test_rank_above_the_windows_is_refused():
  with pytest.raises(UserError, match="rank is 90, not between 1 and"):
    build(rank=90, interpolate=True)


def test_matches_are_those_of_the_simulation():
  exact = build(rank=RANK)
  found = build(rank=RANK, interpolate=True)
  rows = np.random.default_rng(0).integers(exact.n_atoms, size=300)
  full = build()
  signals = full.norms[rows, None] * full.atoms[rows]
  noise = complex_noise(*signals.shape, seed=1)
  signals = signals + 0.02 * np.abs(signals).mean() * noise
  maps = [match(table, signals) for table in (exact, found)]
  np.testing.assert_allclose(maps[0].t1_ms, maps[1].t1_ms, rtol=0.3)
  assert np.mean(maps[0].t1_ms == maps[1].t1_ms) > 0.95
  assert np.mean(maps[0].t2_ms == maps[1].t2_ms) > 0.95
