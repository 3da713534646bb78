"""Normalisation of signals and maps, and its inverse (METHODS of Balsiger)."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex64, Float32, Float64, Inexact

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.runtime.threads import map_threads

# Voxels that a cache holds, so that several passes read memory once; and those
# that a thread takes at once.
_ROWS, _ROWS_OF_A_THREAD = 128, 4096

# Least PD, T1 and T2 before a power or a logarithm, whose slope is infinite at
# zero.
_LEAST = (1e-3, 1.0, 1.0)

SIGNAL_NORMALISATIONS = ("frame", "subject", "voxel")

# Powers of two between which squares of signals and their sums neither overflow
# nor vanish in float32, with room for bright voxels.
_USUAL_EXPONENTS = (-30, 30)
_FLOAT32_EXPONENTS = (-126, 126)
# Voxels whose brightness tells that of the scan.
_SAMPLE = 1024


def clip_outliers(maps: Maps, *, percentiles: tuple[float, float]) -> Maps:
  """Maps of one subject, each clipped to its percentiles (paper: 0.1, 99.9)."""
  values = maps.stack()
  low, high = np.percentile(values, percentiles, axis=0)
  return Maps.unstack(np.clip(values, low, high).astype(np.float32))


class Standardisation(NamedTuple):
  """What gives the signals of a scan zero mean and unit variance.

  A real number x, the real or the imaginary part of a frame, becomes
  (gain x - mean - rest) factor. Channels are these parts in turn, as complex64
  has them; an axis on which nothing depends has length one.

  Attributes:
    gain: `usual_gain`, [1, 1].
    mean: of a group, [voxel, channel].
    rest: what float32 leaves of the mean, [voxel, channel].
    factor: one over the standard deviation, or one where a group is constant,
      [voxel, channel].
  """

  gain: Float32[np.ndarray, "1 1"]
  mean: Float32[np.ndarray, "voxel channel"]
  rest: Float32[np.ndarray, "voxel channel"]
  factor: Float32[np.ndarray, "voxel channel"]

  def of_rows(self, rows: slice) -> "Standardisation":
    """That of some voxels alone."""
    return Standardisation(*(x[rows] if len(x) > 1 else x for x in self))

  def __call__(self, values):
    """Real numbers [voxel, channel], a NumPy or JAX array, standardised."""
    return (self.gain * values - self.mean - self.rest) * self.factor


def standardisation(
  signals: Complex64[np.ndarray, "voxel frame"], *, per: str
) -> Standardisation:
  """What gives signals zero mean and unit variance, from one pass over them.

  Sums within a block of voxels are in float32, those of the blocks in float64.

  Args:
    signals: sliding-window images of one subject's masked voxels.
    per: see `normalise_signals`.

  Raises:
    UserError: `per` is not one of `SIGNAL_NORMALISATIONS`.
  """
  check_normalisation(per)
  values = _real(signals)
  gain = np.float32(usual_gain(signals))

  def moments(start: int) -> list[np.ndarray]:
    blocks = (values[rows] for rows in _blocks(start, len(values)))
    scaled = (block if gain == 1 else block * gain for block in blocks)
    return _together([_moments(block, per) for block in scaled], per)

  starts = range(0, len(values), _ROWS_OF_A_THREAD)
  _, mean, variance = _together(map_threads(moments, starts), per)
  if per == "subject":
    counts = np.ones_like(mean)
    _, mean, variance = _pooled(*(x.T for x in (counts, mean, variance)))
  scale = np.sqrt(variance)
  factor = 1 / np.where(scale > 0, scale, 1)  # constant: 1
  rounded = mean.astype(np.float32)
  numbers = np.full((1, 1), gain), rounded, mean - rounded, factor
  return Standardisation(*(x.astype(np.float32) for x in numbers))


def normalise_signals(
  signals: Complex64[np.ndarray, "voxel frame"],
  *,
  per: str,
  out: Float32[np.ndarray, "voxel channel"] | None = None,
) -> Float32[np.ndarray, "voxel channel"]:
  """Signals as real numbers of zero mean and unit variance.

  Args:
    signals: sliding-window images of one subject's masked voxels.
    per: group of values that gets zero mean and unit variance: `frame`, the
      real or the imaginary part of a frame in all voxels; `subject`, all
      values; `voxel`, a fingerprint, which loses the amplitude that carries
      proton density.
    out: array that the result is written to, such as rows of a larger table.

  Returns:
    [real parts, imaginary parts] of each voxel; zero where a group is constant.

  Raises:
    UserError: `per` is not one of these.
  """
  standardised = standardisation(signals, per=per)
  values = _real(signals)
  n_voxels, n_frames = signals.shape
  if out is None:
    out = np.empty((n_voxels, 2 * n_frames), np.float32)

  def write(start: int) -> None:
    for rows in _blocks(start, n_voxels):
      block = standardised.of_rows(rows)(values[rows])
      out[rows, :n_frames] = block[:, ::2]
      out[rows, n_frames:] = block[:, 1::2]

  map_threads(write, range(0, n_voxels, _ROWS_OF_A_THREAD))
  return out


def usual_gain(signals: Inexact[np.ndarray, "voxel frame"]) -> float:
  """Factor that brings signals of an extreme scale near one; 1 for others.

  It is a power of two, which leaves the digits as they are: scans in units of
  1e-22 or of 1e20 are then like any other.
  """
  sample = signals[:: max(1, len(signals) // _SAMPLE)]
  largest = np.abs(sample).max(1, initial=0.0)
  usual = largest[np.isfinite(largest) & (largest > 0)]
  median = float(np.median(usual)) if usual.size else 1.0
  exponent = int(np.frexp(median)[1])
  low, high = _USUAL_EXPONENTS
  if low <= exponent <= high:
    return 1.0
  return float(np.ldexp(1.0, int(np.clip(-exponent, *_FLOAT32_EXPONENTS))))


def check_normalisation(per: str) -> None:
  """Raises `UserError` if `per` is not one of `SIGNAL_NORMALISATIONS`."""
  name = "preprocessing.normalise_signals_per"
  check_one_of(name, per, SIGNAL_NORMALISATIONS)


def _real(
  signals: Complex64[np.ndarray, "voxel frame"],
) -> Float32[np.ndarray, "voxel channel"]:
  """Real and imaginary part of each frame in turn."""
  return np.ascontiguousarray(signals).view(np.float32)


def _blocks(start: int, n_voxels: int) -> list[slice]:
  """Blocks of the rows that a thread takes at once."""
  stop = min(start + _ROWS_OF_A_THREAD, n_voxels)
  return [slice(k, min(k + _ROWS, stop)) for k in range(start, stop, _ROWS)]


def _moments(
  block: Float32[np.ndarray, "voxel channel"], per: str
) -> list[np.ndarray]:
  """Count, mean and variance of the groups of a block, [voxel, channel] each.

  Of differences, first from the first value of a group and then from their
  mean, so that a mean far from zero costs no digits, and a constant group has
  no variance at all.
  """
  axis, sums = (1, "vc,vc->v") if per == "voxel" else (0, "vc,vc->c")
  count = block.shape[axis]
  first = block.take([0], axis)
  block = block - first
  mean = block.mean(axis, keepdims=True)
  block -= mean
  rest = block.mean(axis, keepdims=True).astype(np.float64)
  square = np.einsum(sums, block, block).astype(np.float64) / count
  variance = np.maximum(square.reshape(mean.shape) - rest**2, 0)
  return [np.full(mean.shape, count), (rest + mean) + first, variance]


def _together(parts: Sequence[list[np.ndarray]], per: str) -> list[np.ndarray]:
  """Count, mean and variance of the groups of several blocks of voxels."""
  joined = [np.concatenate(values) for values in zip(*parts, strict=True)]
  return joined if per == "voxel" else _pooled(*joined)


def _pooled(counts, means, variances) -> list[np.ndarray]:
  """Count, mean and variance of the parts along the first axis together."""
  total = counts.sum(0, keepdims=True)
  shares = counts / total
  # Differences: equal means have exactly their mean.
  mean = means[:1] + np.sum(shares * (means - means[:1]), 0, keepdims=True)
  variances = variances + (means - mean) ** 2
  return [total, mean, np.sum(shares * variances, 0, keepdims=True)]


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
      UserError: a map is constant.
    """
    values = np.concatenate([m.stack() for m in training_maps])
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
    """Least and greatest PD (a.u.), T1 and T2 (ms) of estimates, if bounded."""
    if self.bounds is None:
      return None
    return from_scale(self.bounds, powers=self.powers)

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
    """Standard deviations of network outputs [..., 3] in physical units.

    To first order they are multiplied by the slope of a map over its output:
    dq/dv = q^(1 - p) / p, or q where p is zero. That of the network's own
    output: a bound on the map does not make the network any surer.
    """
    xp = values.__array_namespace__()
    deviations = deviations * (self.high - self.low)
    maps = self.unbounded().unscale(values)
    slopes = [
      maps[..., i] ** (1 - p) / (p or 1) for i, p in enumerate(self.powers)
    ]
    return deviations * xp.stack(slopes, -1)
