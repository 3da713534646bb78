"""Normalisation of signals and maps, and its inverse (METHODS of Balsiger)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Complex64, Float32, Float64, Inexact

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES, Maps

# Rows whose squares are in memory at once.
_ROWS = 1024

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
  check_normalisation(per)
  values = np.concatenate([signals.real, signals.imag], axis=1, out=out)
  gain = usual_gain(signals)
  if gain != 1.0:
    values *= np.float32(gain)
  axis = {"frame": 0, "subject": None, "voxel": 1}[per]
  mean = values.mean(axis, keepdims=True, dtype=np.float64)
  values -= mean.astype(np.float32)
  scale = np.sqrt(_mean_square(values, per))
  values /= np.where(scale > 0, scale, 1).astype(np.float32)  # constant: 0
  return values


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


def _mean_square(values: np.ndarray, per: str) -> np.ndarray:
  """Mean square of each group of `normalise_signals`.

  Blocks of rows are summed in float32 and their sums in float64: all squares
  at once would take as much memory as the signals.
  """
  n_voxels, n_columns = values.shape
  if per == "voxel":
    return np.einsum("vc,vc->v", values, values)[:, None] / n_columns
  sums = np.zeros(n_columns)
  for start in range(0, n_voxels, _ROWS):
    block = values[start : start + _ROWS]
    sums += np.einsum("vc,vc->c", block, block)
  return sums / n_voxels if per == "frame" else sums.mean() / n_voxels


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
  """

  low: Float64[np.ndarray, "3"]
  high: Float64[np.ndarray, "3"]
  powers: tuple[float, ...] = (1.0, 1.0, 1.0)

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

  def scale(self, values):
    """Maps [..., 3] in physical units to the range [0, 1]."""
    values = to_scale(values, powers=self.powers)
    return (values - self.low) / (self.high - self.low)

  def unscale(self, values):
    """Network outputs [..., 3] back to physical units."""
    values = values * (self.high - self.low) + self.low
    return from_scale(values, powers=self.powers)

  def unscale_deviations(self, deviations, values):
    """Standard deviations of network outputs [..., 3] in physical units.

    To first order they are multiplied by the slope of a map over its output:
    dq/dv = q^(1 - p) / p, or q where p is zero.
    """
    xp = values.__array_namespace__()
    deviations = deviations * (self.high - self.low)
    maps = self.unscale(values)
    slopes = [
      maps[..., i] ** (1 - p) / (p or 1) for i, p in enumerate(self.powers)
    ]
    return deviations * xp.stack(slopes, -1)
