"""Nodes of an interpolation: how many, and grids that are combined."""

import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebval3d

from mrf_jax.matching.interpolation_nodes import combined, grids_of

RNG = np.random.default_rng(0)


def values_of(coefficients, counts):
  """Values of a polynomial at the nodes of a grid, [*node, 1]."""
  mesh = np.meshgrid(*map(chebpts1, counts), indexing="ij")
  return chebval3d(*mesh, coefficients)[..., None]


def test_two_grids_give_the_polynomials_that_either_has():
  coarse, fine, full = (6, 5, 3), (4, 2, 11), (6, 5, 11)
  coefficients = np.zeros(full)
  for counts in (coarse, fine):
    own = tuple(map(slice, counts))
    coefficients[own] = RNG.standard_normal(counts)
  found = combined(
    [values_of(coefficients, counts) for counts in (coarse, fine)]
  )
  np.testing.assert_allclose(found, values_of(coefficients, full), atol=1e-12)
  # One grid is not changed.
  one = values_of(coefficients, full)
  assert combined([one]) is one


def test_sparse_grids_leave_out_high_degrees_along_several_axes():
  steep, slow = 10.0 ** -np.arange(6), np.full(100, 1e-3)
  slow[:5] = [1.0, 0.3, 0.1, 0.03, 0.01]
  (full,) = grids_of([steep, slow], 1e-5, is_sparse=False)
  assert full == (6, 100)
  coarse, fine = grids_of([steep, slow], 1e-5, is_sparse=True)
  # All of the steep one for what is smooth along the slow one, and beyond it
  # those that exceed the tolerance there.
  assert coarse[0] == 6
  assert coarse[1] <= 5
  assert fine[1] == 100
  assert 3 <= fine[0] < 6
  assert np.prod(coarse) + np.prod(fine) < 600


def test_small_panels_have_one_grid():
  assert grids_of([np.ones(1), np.ones(1)], 1e-5, is_sparse=True) == ((1, 1),)
  even = 10.0 ** -np.arange(3)
  assert grids_of([even, even], 1e-9, is_sparse=True) == ((3, 3),)
