"""Normalisation of maps, and its inverse (METHODS of Balsiger)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES, Maps

# Least PD, T1 and T2 before a power or a logarithm, whose slope is infinite at
# zero.
_LEAST = (1e-3, 1.0, 1.0)
# Least median PD of which powers and logarithms are learned.
_LEAST_TYPICAL_PD = 0.05


def clip_outliers(maps: Maps, *, percentiles: tuple[float, float]) -> Maps:
  """Maps of one subject, each clipped to its percentiles (paper: 0.1, 99.9)."""
  values = maps.stack()
  low, high = np.percentile(values, percentiles, axis=0)
  return Maps.unstack(np.clip(values, low, high).astype(np.float32))


def check_powers(powers: Sequence[float]) -> None:
  """Raises `UserError` unless there is a power from 0 to 1 for each map."""
  if len(powers) != len(MAP_NAMES) or not all(0 <= p <= 1 for p in powers):
    raise UserError(
      f"training.map_powers: {tuple(powers)} are not {len(MAP_NAMES)} numbers "
      f"from 0 to 1, one for each of {', '.join(MAP_NAMES)}"
    )


def to_scale(maps, *, powers: Sequence[float]):
  r"""Maps [..., 3] on the scale on which a network learns them.

  .. math:: q^p, \text{ or } \log q \text{ where } p = 0

  With power one the network learns absolute errors, with power zero relative
  ones; in between, errors of long T1 and T2 count the less, the smaller the
  power.

  Args:
    maps: PD, T1 and T2 in physical units, a NumPy or JAX array. For powers
      other than one, T1 and T2 are at least 1 ms and PD is at least 0.001.
    powers: power p of each map.
  """
  if set(powers) == {1}:
    return maps
  xp = maps.__array_namespace__()

  def power(values, p, least):
    if p == 1:
      return values
    values = xp.maximum(values, xp.full_like(values, least))
    return values**p if p else xp.log(values)

  scaled = [
    power(maps[..., i], p, least)
    for i, (p, least) in enumerate(zip(powers, _LEAST, strict=True))
  ]
  return xp.stack(scaled, -1)


def from_scale(values, *, powers: Sequence[float]):
  """The inverse of `to_scale`."""
  if set(powers) == {1}:
    return values
  xp = values.__array_namespace__()

  def root(values, p):
    if p == 1:
      return values
    if not p:
      return xp.exp(values)
    # A network may predict values below zero, which have no root.
    return xp.maximum(values, xp.zeros_like(values)) ** (1 / p)

  return xp.stack([root(values[..., i], p) for i, p in enumerate(powers)], -1)


@dataclasses.dataclass(frozen=True)
class MapRange:
  """Lowest and highest value of each map over the training subjects.

  Attributes:
    low: lowest values on the scale of `to_scale`, in the order of `MAP_NAMES`.
    high: highest values, likewise.
    powers: see `to_scale`.
    bounds: least and greatest values of estimates, on the same scale; None
      bounds none.
  """

  low: Float64[np.ndarray, "3"]
  high: Float64[np.ndarray, "3"]
  powers: tuple[float, ...] = (1.0, 1.0, 1.0)
  bounds: Float64[np.ndarray, "2 3"] | None = None

  @classmethod
  def of(
    cls,
    training_maps: Sequence[Maps],
    *,
    powers: tuple[float, ...] = (1.0, 1.0, 1.0),
  ) -> "MapRange":
    """The range of the training subjects' maps, without the left-out subject.

    Raises:
      UserError: a map is constant, or PD is so small that its logarithm would
        end at that of the least PD there is.
    """
    values = np.concatenate([m.stack() for m in training_maps])
    typical_pd = np.median(values[:, 0])
    if powers[0] != 1 and typical_pd < _LEAST_TYPICAL_PD:
      raise UserError(
        f"training maps: half of PD is below {typical_pd:.3g}; give it as 1 in "
        "water, or in any unit in which it is larger"
      )
    values = to_scale(values, powers=powers)
    low, high = values.min(0).astype(float), values.max(0).astype(float)
    for name, lowest, highest in zip(MAP_NAMES, low, high, strict=True):
      if not highest > lowest:
        raise UserError(f"training maps: {name} is {lowest:g} in every voxel")
    return cls(low, high, tuple(powers))

  def bounded(self) -> "MapRange":
    """The same, which bounds estimates by its lowest and highest values.

    Both scales have the same order, so bounds on one are bounds on the other.
    """
    return dataclasses.replace(self, bounds=np.stack([self.low, self.high]))

  def unbounded(self) -> "MapRange":
    """The same, which bounds no estimates."""
    return dataclasses.replace(self, bounds=None)

  def with_unbounded_pd(self) -> "MapRange":
    """The same, with bounds, if any, for T1 and T2 alone."""
    if self.bounds is None:
      return self
    bounds = self.bounds.copy()
    bounds[:, MAP_NAMES.index("pd")] = -np.inf, np.inf
    return dataclasses.replace(self, bounds=bounds)

  def widened(self, training_maps: Sequence[Maps]) -> "MapRange":
    """The same scale, with bounds, if any, that hold further training maps."""
    if self.bounds is None:
      return self
    values = np.concatenate([m.stack() for m in training_maps])
    values = to_scale(values, powers=self.powers)
    low, high = self.bounds
    bounds = np.stack(
      [np.minimum(low, values.min(0)), np.maximum(high, values.max(0))]
    )
    return dataclasses.replace(self, bounds=bounds)

  def physical_bounds(self) -> Float64[np.ndarray, "2 3"] | None:
    """Least and greatest PD (a.u.), T1 and T2 (ms) of estimates, if bounded.

    They are infinite for a map without bounds.
    """
    if self.bounds is None:
      return None
    values = from_scale(self.bounds, powers=self.powers)
    return np.where(np.isfinite(self.bounds), values, self.bounds)

  def scale(self, values):
    """Maps [..., 3] in physical units to the range [0, 1]."""
    values = to_scale(values, powers=self.powers)
    return (values - self.low) / (self.high - self.low)

  def unscale(self, values):
    """Network outputs [..., 3] back to physical units, within the bounds."""
    values = values * (self.high - self.low) + self.low
    if self.bounds is not None:
      values = values.clip(self.bounds[0], self.bounds[1])
    return from_scale(values, powers=self.powers)

  def unscale_deviations(self, deviations, values):
    r"""Standard deviations of network outputs [..., 3] in physical units.

    They are multiplied by the slope of a map over its output, dq/dv =
    q^(1 - p) / p, or q where p is zero. That of the network's own output: a
    bound on the map does not make the network any surer. The slope of a power
    between zero and one is that at

    .. math:: \sqrt{v^2 + s^2 / 2}

    instead of v, for which the standard deviation of the square of a normal
    variable (p = 1/2) is exact: at v = 0, where the slope is zero, nothing is
    sure.
    """
    xp = values.__array_namespace__()
    deviations = deviations * (self.high - self.low)
    values = values * (self.high - self.low) + self.low

    def slope(v, s, p):
      if p == 1:
        return xp.ones_like(v)
      if p == 0:
        return xp.exp(v)
      v = xp.maximum(v, xp.zeros_like(v))
      middle = xp.sqrt(xp.square(v) + xp.square(s) / 2)
      return middle ** (1 / p - 1) / p

    slopes = [
      slope(values[..., i], deviations[..., i], p)
      for i, p in enumerate(self.powers)
    ]
    return deviations * xp.stack(slopes, -1)
