"""Laws that operators, simulators, fits and matchers obey, as checks.

Tests of an operator call the checks of its kind with small random input. Errors
are relative to the largest value of each column, since rounding depends on
which operations a compiler fuses.
"""

from collections.abc import Callable, Iterable

import jax
import numpy as np


def complex_noise(*shape: int, seed: int = 0) -> np.ndarray:
  """Complex standard normal numbers, complex64."""
  parts = np.random.default_rng(seed).standard_normal((*shape, 2), np.float32)
  return parts.view(np.complex64)[..., 0]


def check_adjoint(
  forward: Callable, adjoint: Callable, x, y, *, rel: float = 1e-3
) -> None:
  """⟨y, A x⟩ = ⟨Aᴴ y, x⟩ (dot-product test)."""
  left, right = np.vdot(y, forward(x)), np.vdot(adjoint(y), x)
  assert abs(left - right) <= rel * abs(left), (left, right)


def check_linear(function: Callable, x, y, *, rel: float = 1e-4) -> None:
  """A (a x + b y) = a A x + b A y, for real a and b."""
  whole = function(x + 2 * y)
  assert_close(whole, function(x) + 2 * function(y), rel)


def check_scale_and_phase(
  maps_of: Callable,
  signals,
  *,
  factor: complex = 4j,
  scales_pd: bool = True,
  rel: float = 1e-5,
) -> None:
  """A factor of the signals changes PD by its magnitude, T1 and T2 not at all.

  Args:
    maps_of: signals to maps, [voxel, 3], PD, T1 and T2.
    signals: fingerprints, complex.
    factor: of the signals. By default a power of two and a quarter turn, with
      which the products are the same in floating point.
    scales_pd: whether PD follows the signals; else it stays too.
  """
  scale = np.array([abs(factor) if scales_pd else 1.0, 1.0, 1.0])
  before, after = maps_of(signals), maps_of(signals * np.complex64(factor))
  assert_close(np.asarray(after), np.asarray(before) * scale, rel)


def check_pieces(
  function: Callable,
  size: int,
  piece: int,
  *,
  rel: float = 1e-5,
  n_different: int = 0,
) -> None:
  """Pieces, which are slices of the voxels, give the rows of the whole.

  Where two atoms fit equally well to rounding, `n_different` values may differ
  more than `rel`.
  """
  starts = range(0, size, piece)
  pieces = [function(slice(start, start + piece)) for start in starts]
  whole = function(slice(None))
  assert_close(np.concatenate(pieces), whole, rel, n_different)


def check_blocks(
  function: Callable, monkeypatch, blocks: Iterable, *, rel: float = 1e-5
) -> None:
  """Blocks of other sizes (module, name, value) give the same result."""
  whole = np.asarray(function())
  for module, name, value in blocks:
    assert getattr(module, name) != value
    monkeypatch.setattr(module, name, value)
  assert_close(np.asarray(function()), whole, rel)


def check_compiled(
  function: Callable, *, rel: float = 1e-5, n_different: int = 0
) -> None:
  """Compiled and operation by operation, a function gives the same."""
  compiled = function()
  with jax.disable_jit():
    eager = function()
  assert_close(compiled, eager, rel, n_different)


def assert_close(values, expected, rel: float, n_different: int = 0) -> None:
  """Compares relative to the largest value of each column."""
  values, expected = np.asarray(values), np.asarray(expected)
  assert values.shape == expected.shape
  scale = np.abs(expected).max(axis=0)
  error = np.abs(values - expected) / np.where(scale > 0, scale, 1)
  different = np.count_nonzero(~(error <= rel))
  assert different <= n_different, (different, error.max(), np.argmax(error))
