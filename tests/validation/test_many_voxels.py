"""Compiled and eager results are equal, and so are those of pieces.

With more than 32,768 voxels, where jax 0.10.2 mixes up rows (jax issue 39103).
"""

import functools

import jax
import numpy as np
import pytest

from mrf_jax import (
  AtlasScan,
  build_dictionary,
  cramer_rao_bounds,
  fingerprint_derivatives,
  fit_t2,
  fit_vfa_t1,
  match,
  match_atlas,
  simulate_fingerprints,
)
from mrf_jax.sequence.sequence import make_sequence

N = 33_000
SEQUENCE = make_sequence(
  np.linspace(10, 60, 8), 12.0, 2.0, inversion_time_ms=20.0
)
FLIPS_DEG = np.array([2.0, 5.0, 14.0])
TE_MS = np.array([20.0, 60.0, 120.0])


@functools.cache
def voxels() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  t1_ms = rng.uniform(300, 3000, N).astype(np.float32)
  t2_ms = (t1_ms * rng.uniform(0.05, 0.5, N)).astype(np.float32)
  e1 = np.exp(-6.0 / t1_ms)[:, None]
  flips = np.deg2rad(FLIPS_DEG)
  return {
    "t1_ms": t1_ms,
    "t2_ms": t2_ms,
    "echoes": np.exp(-TE_MS / t2_ms[:, None]),
    "flips": np.sin(flips) * (1 - e1) / (1 - e1 * np.cos(flips)),
    "noise": rng.standard_normal((N, 16)).view(complex).astype(np.complex64),
  }


def fingerprints(rows):
  v = voxels()
  return simulate_fingerprints(SEQUENCE, v["t1_ms"][rows], v["t2_ms"][rows])


def derivatives(rows):
  v = voxels()
  parts = fingerprint_derivatives(SEQUENCE, v["t1_ms"][rows], v["t2_ms"][rows])
  return np.stack([parts.signals, parts.by_t1_ms, parts.by_t2_ms], 1)


def bounds(rows):
  v = voxels()
  return cramer_rao_bounds(
    SEQUENCE, v["t1_ms"][rows], v["t2_ms"][rows], noise_sd=0.01, window=2
  ).stack()


def t2(rows):
  return np.stack(fit_t2(voxels()["echoes"][rows], te_ms=TE_MS), 1)


def t1(rows):
  signals = voxels()["flips"][rows]
  m0_and_t1 = fit_vfa_t1(signals, flip_angles_deg=FLIPS_DEG, tr_ms=6.0)
  return np.stack(m0_and_t1, 1)


@functools.cache
def dictionary():
  return build_dictionary(
    SEQUENCE, np.geomspace(300, 3000, 12), np.geomspace(20, 1500, 12)
  )


def matched(rows):
  signals = fingerprints(rows) + 0.001 * voxels()["noise"][rows]
  return match(dictionary(), signals).stack()


BY_VOXEL = {
  "simulate_fingerprints": (fingerprints, 1e-5),
  "fingerprint_derivatives": (derivatives, 1e-5),
  "cramer_rao_bounds": (bounds, 1e-3),
  "fit_t2": (t2, 1e-4),
  "fit_vfa_t1": (t1, 1e-3),
  "match": (matched, 1e-5),
}


def atoms():
  """Atoms of a dictionary that has more than 32,768."""
  axis = np.geomspace(20, 3000, 270)
  large = build_dictionary(SEQUENCE, axis, axis)
  assert large.n_atoms > 32_768
  return np.asarray(large.atoms)


def by_atlas():
  """Maps by atlas matching of one slice of 182 × 182."""
  shape = (1, 182, 182)
  mask = np.ones(shape, bool)
  rng = np.random.default_rng(0)
  parts = rng.standard_normal((2, 2, 4, *shape), np.float32)
  query, scan = parts[0] + 1j * parts[1]
  maps = rng.random((3, *shape), np.float32)
  estimates = match_atlas(
    query.astype(np.complex64),
    mask,
    [AtlasScan(scan.astype(np.complex64), maps, mask)],
    window=(3, 3, 1),
    patch=(1, 1, 1),
    n_neighbours=2,
  )
  return np.asarray(estimates)


@pytest.mark.parametrize("name", BY_VOXEL)
def test_compiled_equals_eager(name):
  function, tolerance = BY_VOXEL[name]
  compiled = function(slice(None))
  with jax.disable_jit():
    eager = function(slice(None))
  assert_close(compiled, eager, tolerance, n_ties(name))


@pytest.mark.parametrize("function", [atoms, by_atlas])
def test_compiled_equals_eager_as_a_whole(function):
  compiled = function()
  with jax.disable_jit():
    eager = function()
  assert_close(compiled, eager, 1e-5)


@pytest.mark.parametrize("name", BY_VOXEL)
@pytest.mark.parametrize("piece", [32_769, 7_001])
def test_pieces_equal_the_whole(name, piece):
  function, tolerance = BY_VOXEL[name]
  whole = function(slice(None))
  pieces = [
    function(slice(start, start + piece)) for start in range(0, N, piece)
  ]
  assert_close(whole, np.concatenate(pieces), tolerance, n_ties(name))


def n_ties(name):
  """Number of values that may differ, as atoms fit equally well to rounding."""
  return 30 if name == "match" else 0


def assert_close(values, expected, tolerance, n_different=0):
  """Compares relative to the largest value of each column.

  Rounding depends on which operations the compiler fuses.
  """
  assert values.shape == expected.shape
  values, expected = np.asarray(values), np.asarray(expected)
  scale = np.abs(expected).max(axis=0)
  error = np.abs(values - expected) / np.where(scale > 0, scale, 1)
  different = np.count_nonzero(error > tolerance)
  assert different <= n_different, (different, error.max(), np.argmax(error))
