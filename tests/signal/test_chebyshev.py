"""Axes and weights of polynomial interpolation."""

import numpy as np
import pytest

from mrf_jax.signal.chebyshev import Axis, to_polynomials

AXES = [Axis(-2.0, 3.0), Axis(10.0, 2500.0, is_logarithmic=True)]


@pytest.mark.parametrize("axis", AXES)
def test_coordinates_and_values_are_inverse(axis):
  coordinates = np.linspace(-1, 1, 7)
  values = axis.values(coordinates)
  np.testing.assert_allclose(values[[0, -1]], [axis.low, axis.high])
  np.testing.assert_allclose(axis.coordinates(values), coordinates, atol=1e-12)
  # Values outside are taken at the nearest end.
  outside = axis.coordinates([axis.low - 1, axis.high + 1])
  np.testing.assert_allclose(outside, [-1, 1])


@pytest.mark.parametrize("axis", AXES)
def test_polynomials_are_interpolated_exactly(axis):
  def function(values):
    x = axis.coordinates(values)
    return x**4 - 2 * x + 0.5

  values = axis.values(np.linspace(-1, 1, 11))
  found = axis.weights(values, 5) @ function(axis.nodes(5))
  np.testing.assert_allclose(found, function(values), atol=1e-12)


def test_coefficients_are_those_of_the_polynomials():
  nodes = Axis(-1.0, 1.0).nodes(6)
  # T_0 + 3 T_2 = 1 + 3 (2 x² - 1)
  found = to_polynomials(6) @ (1 + 3 * (2 * nodes**2 - 1))
  np.testing.assert_allclose(found, [1, 0, 3, 0, 0, 0], atol=1e-12)


def test_single_value_has_one_node():
  axis = Axis(1.0, 1.0)
  assert axis.is_single
  np.testing.assert_array_equal(axis.nodes(1), [1.0])
  np.testing.assert_array_equal(axis.weights([1.0, 1.0], 1), [[1.0], [1.0]])
