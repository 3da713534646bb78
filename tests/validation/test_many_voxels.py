"""Compiled and eager results are equal, and so are those of pieces.

With more than 32,768 voxels, where jax 0.10.2 mixes up rows (jax issue 39103).
"""

import functools

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
from tests.laws import check_compiled, check_pieces, complex_noise
from tests.relaxometry.examples import spgr

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
  return {
    "t1_ms": t1_ms,
    "t2_ms": t2_ms,
    "echoes": np.exp(-TE_MS / t2_ms[:, None]),
    "flips": spgr(np.ones(N), t1_ms, FLIPS_DEG, tr_ms=6.0),
    "noise": rng.standard_normal((N, 16)).view(complex).astype(np.complex64),
  }


@functools.cache
def dictionary():
  return build_dictionary(
    SEQUENCE, np.geomspace(300, 3000, 12), np.geomspace(20, 1500, 12)
  )


def fingerprints(v):
  return simulate_fingerprints(SEQUENCE, v["t1_ms"], v["t2_ms"])


def derivatives(v):
  parts = fingerprint_derivatives(SEQUENCE, v["t1_ms"], v["t2_ms"])
  return np.stack([parts.signals, parts.by_t1_ms, parts.by_t2_ms], 1)


def bounds(v):
  return cramer_rao_bounds(
    SEQUENCE, v["t1_ms"], v["t2_ms"], noise_sd=0.01, window=2
  ).stack()


def t1(v):
  fit = fit_vfa_t1(v["flips"], flip_angles_deg=FLIPS_DEG, tr_ms=6.0)
  return np.stack(fit, 1)


# Functions of some voxels, with the largest relative error.
BY_VOXEL = {
  "simulate_fingerprints": (fingerprints, 1e-5),
  "fingerprint_derivatives": (derivatives, 1e-5),
  "cramer_rao_bounds": (bounds, 1e-3),
  "fit_t2": (lambda v: np.stack(fit_t2(v["echoes"], te_ms=TE_MS), 1), 1e-4),
  "fit_vfa_t1": (t1, 1e-3),
  "match": (
    lambda v: match(dictionary(), fingerprints(v) + 0.001 * v["noise"]).stack(),
    1e-5,
  ),
}


def of_rows(name):
  """The function of a slice of the voxels, and options of its check."""
  function, rel = BY_VOXEL[name]
  # Atoms may fit equally well to rounding.
  options = {"rel": rel, "n_different": 30 if name == "match" else 0}
  return (
    lambda rows: function({key: a[rows] for key, a in voxels().items()}),
    options,
  )


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
  query, scan = complex_noise(2, 4, *shape)
  maps = np.random.default_rng(0).random((3, *shape), np.float32)
  estimates = match_atlas(
    query,
    mask,
    [AtlasScan(scan, maps, mask)],
    window=(3, 3, 1),
    patch=(1, 1, 1),
    n_neighbours=2,
  )
  return np.asarray(estimates)


@pytest.mark.parametrize("name", BY_VOXEL)
def test_compiled_equals_eager(name):
  function, options = of_rows(name)
  check_compiled(lambda: function(slice(None)), **options)


@pytest.mark.parametrize("function", [atoms, by_atlas])
def test_compiled_equals_eager_as_a_whole(function):
  check_compiled(function)


@pytest.mark.parametrize("name", BY_VOXEL)
@pytest.mark.parametrize("piece", [32_769, 7_001])
def test_pieces_equal_the_whole(name, piece):
  function, options = of_rows(name)
  check_pieces(function, N, piece, **options)
