"""Compiled or not, at once or in pieces: the numbers stay what they are.

Above 32,768 voxels, where a compiler has given other voxels' results before.
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
TRAIN = make_sequence(np.linspace(10, 60, 8), 12.0, 2.0, inversion_time_ms=20.0)
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
  return simulate_fingerprints(TRAIN, v["t1_ms"][rows], v["t2_ms"][rows])


def derivatives(rows):
  v = voxels()
  found = fingerprint_derivatives(TRAIN, v["t1_ms"][rows], v["t2_ms"][rows])
  return np.stack([found.signals, found.by_t1_ms, found.by_t2_ms], 1)


def bounds(rows):
  v = voxels()
  found = cramer_rao_bounds(
    TRAIN, v["t1_ms"][rows], v["t2_ms"][rows], noise_sd=0.01, window=2
  )
  return found.stack()


def t2(rows):
  return np.stack(fit_t2(voxels()["echoes"][rows], te_ms=TE_MS), 1)


def t1(rows):
  signals = voxels()["flips"][rows]
  found = fit_vfa_t1(signals, flip_angles_deg=FLIPS_DEG, tr_ms=6.0)
  return np.stack(found, 1)


@functools.cache
def dictionary():
  return build_dictionary(
    TRAIN, np.geomspace(300, 3000, 12), np.geomspace(20, 1500, 12)
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
  """More atoms than rows that were mixed up."""
  axis = np.geomspace(20, 3000, 270)
  found = build_dictionary(TRAIN, axis, axis)
  assert found.n_atoms > 32_768
  return np.asarray(found.atoms)


def by_atlas():
  """One slice of 182 × 182."""
  shape = (1, 182, 182)
  mask = np.ones(shape, bool)
  rng = np.random.default_rng(0)
  parts = rng.standard_normal((2, 2, 4, *shape), np.float32)
  query, scan = parts[0] + 1j * parts[1]
  maps = rng.random((3, *shape), np.float32)
  found = match_atlas(
    query.astype(np.complex64),
    mask,
    [AtlasScan(scan.astype(np.complex64), maps, mask)],
    window=(3, 3, 1),
    patch=(1, 1, 1),
    n_neighbours=2,
  )
  return np.asarray(found)


@pytest.mark.parametrize("name", BY_VOXEL)
def test_compiled_equals_eager(name):
  function, tolerance = BY_VOXEL[name]
  compiled = function(slice(None))
  with jax.disable_jit():
    eager = function(slice(None))
  close(compiled, eager, tolerance, others(name))


@pytest.mark.parametrize("function", [atoms, by_atlas])
def test_compiled_equals_eager_as_a_whole(function):
  compiled = function()
  with jax.disable_jit():
    eager = function()
  close(compiled, eager, 1e-5)


@pytest.mark.parametrize("name", BY_VOXEL)
@pytest.mark.parametrize("piece", [32_769, 7_001])
def test_pieces_equal_the_whole(name, piece):
  function, tolerance = BY_VOXEL[name]
  whole = function(slice(None))
  pieces = [
    function(slice(start, start + piece)) for start in range(0, N, piece)
  ]
  close(whole, np.concatenate(pieces), tolerance, others(name))


def others(name):
  """Numbers that may differ: of atoms that fit equally well, to rounding."""
  return 30 if name == "match" else 0


def close(found, wanted, tolerance, others=0):
  """By the largest of each column; rounding differs with what is fused."""
  assert found.shape == wanted.shape
  found, wanted = np.asarray(found), np.asarray(wanted)
  scale = np.abs(wanted).max(axis=0)
  error = np.abs(found - wanted) / np.where(scale > 0, scale, 1)
  different = np.count_nonzero(error > tolerance)
  assert different <= others, (different, error.max(), np.argmax(error))
