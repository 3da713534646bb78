"""Pre-processing of images and maps, and the way back (METHODS of Balsiger)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Complex64, Float32, Float64

from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES, Maps

# Rows that are squared at once.
_ROWS = 1024

# What PD, T1 and T2 are no less than before a power or a logarithm is taken.
_LEAST = (1e-3, 1.0, 1.0)

SIGNAL_NORMALISATIONS = ("frame", "subject", "voxel")


def clip_outliers(maps: Maps, *, percentiles: tuple[float, float]) -> Maps:
  """Maps of one subject with each map clipped to its own percentiles.

  Args:
    maps: [voxel] each.
    percentiles: lower and upper percentile; the paper's are 0.1 and 99.9.

  Returns:
    The clipped maps.
  """
  values = maps.stack()
  low, high = np.percentile(values, percentiles, axis=0)
  return Maps.unstack(np.clip(values, low, high).astype(np.float32))


def normalise_signals(
  signals: Complex64[np.ndarray, "voxel frame"],
  *,
  per: str,
  out: Float32[np.ndarray, "voxel 2T"] | None = None,
) -> Float32[np.ndarray, "voxel 2T"]:
  """Real and imaginary parts side by side, zero mean and unit variance.

  Args:
    signals: sliding-window images of one subject's masked voxels.
    per: what is standardised by itself: `frame`, each part of each frame over
      all voxels; `subject`, everything at once; `voxel`, each fingerprint,
      which discards the amplitude that carries proton density.
    out: takes the result, such as the rows of a larger table.

  Returns:
    [real parts, imaginary parts] of each voxel. What does not vary is zero.

  Raises:
    UserError: `per` is not one of these.
  """
  check_normalisation(per)
  values = np.concatenate([signals.real, signals.imag], axis=1, out=out)
  axis = {"frame": 0, "subject": None, "voxel": 1}[per]
  mean = values.mean(axis, keepdims=True, dtype=np.float64)
  values -= mean.astype(np.float32)
  scale = np.sqrt(_mean_square(values, per))
  values /= np.where(scale > 0, scale, 1).astype(np.float32)
  return values


def check_normalisation(per: str) -> None:
  """Raises `UserError` for a way that `normalise_signals` does not know."""
  if per not in SIGNAL_NORMALISATIONS:
    raise UserError(
      f"preprocessing.normalise_signals_per: {per!r} is not one of "
      + ", ".join(SIGNAL_NORMALISATIONS)
    )


def _mean_square(values: np.ndarray, per: str) -> np.ndarray:
  """What is standardised together has one, to be divided by its root.

  Rows are summed in float64, some at a time in float32: all squares at once
  would take as much memory as the signals.
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
  """Raises `UserError` for powers that `to_scale` cannot take."""
  if len(powers) != len(MAP_NAMES) or not all(0 <= p <= 1 for p in powers):
    raise UserError(
      f"training.map_powers: {tuple(powers)} are not {len(MAP_NAMES)} numbers "
      f"from 0 to 1, of {', '.join(MAP_NAMES)}"
    )


def to_scale(maps, *, powers: Sequence[float]):
  """Maps [..., 3] on the scale on which a network learns them.

  q^p, or log q where p is zero

  An error of T1 or T2 counts the less the longer they are, the smaller the
  power: by itself with one, in proportion with zero.

  Args:
    maps: PD, T1 and T2, physical units, NumPy's or JAX's; but for a power of
      one, T1 and T2 below a millisecond count as one, PD below 0.001 as that.
    powers: of each map.
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
    return xp.maximum(values, xp.zeros_like(values)) ** (1 / p)

  return xp.stack([root(values[..., i], p) for i, p in enumerate(powers)], -1)


@dataclasses.dataclass(frozen=True)
class MapRange:
  """Lowest and highest value of each map over the training subjects.

  Attributes:
    low: [3], in the order of `MAP_NAMES`; of `to_scale`.
    high: [3].
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
    """The range of the training subjects' maps, never of the left-out one's.

    Args:
      training_maps: clipped maps of the training subjects.
      powers: see `to_scale`.

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
    """Deviations of network outputs [..., 3] in physical units.

    Args:
      deviations: standard deviations of `values`.
      values: the outputs themselves: the slope of maps over them is what
        physical deviations depend on.
    """
    xp = values.__array_namespace__()
    deviations = deviations * (self.high - self.low)
    maps = self.unscale(values)
    slopes = [
      maps[..., i] ** (1 - p) / (p or 1) for i, p in enumerate(self.powers)
    ]
    return deviations * xp.stack(slopes, -1)
