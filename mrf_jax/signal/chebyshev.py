"""Axes of an interpolation by Chebyshev polynomials."""

import dataclasses

import numpy as np
from jaxtyping import Float64, Inexact
from numpy.polynomial.chebyshev import chebpts1, chebvander


@dataclasses.dataclass(frozen=True)
class Axis:
  """Values from low to high as coordinates from -1 to 1.

  Attributes:
    low: first value.
    high: last value; an axis of one value has one node.
    is_logarithmic: whether the coordinate rises with the logarithm.
  """

  low: float
  high: float
  is_logarithmic: bool = False

  @property
  def is_single(self) -> bool:
    """Whether there is no more than one value."""
    return self.high <= self.low

  def coordinates(self, values) -> Float64[np.ndarray, "point"]:
    """Coordinates of values; those outside are taken at the nearest end."""
    values = np.clip(np.asarray(values, float), self.low, self.high)
    if self.is_single:
      return np.zeros(values.shape)
    low, high, values = (self._scaled(v) for v in (self.low, self.high, values))
    return np.clip((2 * values - low - high) / (high - low), -1, 1)

  def values(self, coordinates) -> Float64[np.ndarray, "point"]:
    """Values at coordinates."""
    coordinates = np.asarray(coordinates, float)
    if self.is_single:
      return np.full(coordinates.shape, self.low)
    low, high = self._scaled(self.low), self._scaled(self.high)
    scaled = (low + high + coordinates * (high - low)) / 2
    return np.exp(scaled) if self.is_logarithmic else scaled

  def slopes(self, coordinates) -> Float64[np.ndarray, "point"]:
    """Change of the value with the coordinate."""
    values = self.values(coordinates)
    half = (self._scaled(self.high) - self._scaled(self.low)) / 2
    return half * (values if self.is_logarithmic else np.ones_like(values))

  def nodes(self, n_nodes: int) -> Float64[np.ndarray, "node"]:
    """Values at which a function is known: roots of a polynomial."""
    return self.values(chebpts1(n_nodes))

  def weights(self, values, n_nodes: int) -> Float64[np.ndarray, "point node"]:
    """Matrix from a function at the nodes to its interpolated values."""
    return interpolation_weights(self.coordinates(values), n_nodes)

  def _scaled(self, values):
    return np.log(values) if self.is_logarithmic else values


def to_polynomials(n_nodes: int) -> Float64[np.ndarray, "polynomial node"]:
  """Matrix from a function at the nodes to its coefficients.

  The polynomials are orthogonal over the nodes (discrete cosine transform).
  """
  matrix = 2 / n_nodes * chebvander(chebpts1(n_nodes), n_nodes - 1).T
  matrix[0] /= 2
  return matrix


def interpolation_weights(
  coordinates: Float64[np.ndarray, "point"], n_nodes: int
) -> Float64[np.ndarray, "point node"]:
  """Matrix from a function at the nodes to its values at coordinates."""
  return chebvander(coordinates, n_nodes - 1) @ to_polynomials(n_nodes)


def along_axis(
  matrix: Inexact[np.ndarray, "new old"],
  values: Inexact[np.ndarray, "..."],
  axis: int,
) -> Inexact[np.ndarray, "..."]:
  """Values with a matrix applied to one of their axes."""
  return np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)


def tail_norms(
  coefficients: Inexact[np.ndarray, "..."], *, axis: int
) -> Inexact[np.ndarray, "..."]:
  """Norm over the last axis of each polynomial and all after it."""
  energies = np.flip(np.sum(np.abs(coefficients) ** 2, -1), axis)
  return np.flip(np.sqrt(np.cumsum(energies, axis)), axis)
