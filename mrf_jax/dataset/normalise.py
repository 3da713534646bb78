"""Pre-processing of images and maps, and the way back (METHODS of Balsiger)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Complex64, Float32, Float64

from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES, Maps

# Rows that are squared at once.
_ROWS = 1024

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


def to_scale(maps, *, log_times: bool):
  """Maps [..., 3] on the scale on which a network learns them.

  Args:
    maps: PD, T1 and T2, physical units, NumPy's or JAX's.
    log_times: whether T1 and T2 are learned as natural logarithms, of at least
      a millisecond; else all maps are learned as they are.
  """
  if not log_times:
    return maps
  xp = maps.__array_namespace__()
  times = xp.log(xp.maximum(maps[..., 1:], xp.ones_like(maps[..., 1:])))
  return xp.concatenate([maps[..., :1], times], -1)


def from_scale(values, *, log_times: bool):
  """The inverse of `to_scale`."""
  if not log_times:
    return values
  xp = values.__array_namespace__()
  return xp.concatenate([values[..., :1], xp.exp(values[..., 1:])], -1)


@dataclasses.dataclass(frozen=True)
class MapRange:
  """Lowest and highest value of each map over the training subjects.

  Attributes:
    low: [3], in the order of `MAP_NAMES`; of `to_scale`.
    high: [3].
    log_times: see `to_scale`.
  """

  low: Float64[np.ndarray, "3"]
  high: Float64[np.ndarray, "3"]
  log_times: bool = False

  @classmethod
  def of(
    cls, training_maps: Sequence[Maps], *, log_times: bool = False
  ) -> "MapRange":
    """The range of the training subjects' maps, never of the left-out one's.

    Args:
      training_maps: clipped maps of the training subjects.
      log_times: see `to_scale`.

    Raises:
      UserError: a map is constant.
    """
    values = np.concatenate([m.stack() for m in training_maps])
    values = to_scale(values, log_times=log_times)
    low, high = values.min(0).astype(float), values.max(0).astype(float)
    for name, lowest, highest in zip(MAP_NAMES, low, high, strict=True):
      if not highest > lowest:
        raise UserError(f"training maps: {name} is {lowest:g} in every voxel")
    return cls(low, high, log_times)

  def scale(self, values):
    """Maps [..., 3] in physical units to the range [0, 1]."""
    values = to_scale(values, log_times=self.log_times)
    return (values - self.low) / (self.high - self.low)

  def unscale(self, values):
    """Network outputs [..., 3] back to physical units."""
    values = values * (self.high - self.low) + self.low
    return from_scale(values, log_times=self.log_times)

  def unscale_deviations(self, deviations, values):
    """Deviations of network outputs [..., 3] in physical units.

    Args:
      deviations: standard deviations of `values`.
      values: the outputs themselves, whose logarithms have the slope that
        physical deviations depend on.
    """
    deviations = deviations * (self.high - self.low)
    if not self.log_times:
      return deviations
    maps = self.unscale(values)
    return np.concatenate(
      [deviations[..., :1], deviations[..., 1:] * maps[..., 1:]], -1
    )
