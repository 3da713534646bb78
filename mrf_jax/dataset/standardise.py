"""Standardisation of signals: what a network sees of a scan."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Complex64, Float32, Float64, Inexact

from mrf_jax.checks import check_one_of
from mrf_jax.dataset.signal_reference import SignalReference
from mrf_jax.runtime.threads import map_threads

# Voxels that a cache holds, so that several passes read memory once; and those
# that a thread takes at once.
_ROWS, _ROWS_OF_A_THREAD = 128, 4096

SIGNAL_NORMALISATIONS = ("frame", "subject", "voxel")

# Whose statistics standardise a scan.
STATISTICS_OF = ("training", "scan")
_MOMENTS = ("mean", "variance")

# Powers of two between which squares of signals and their sums neither overflow
# nor vanish in float32, with room for bright voxels.
_USUAL_EXPONENTS = (-30, 30)
_FLOAT32_EXPONENTS = (-126, 126)
# Voxels whose brightness tells that of the scan.
_SAMPLE = 1024


class Standardisation(NamedTuple):
  """What gives the signals of a scan zero mean and unit variance.

  A real number x, the real or the imaginary part of a frame, becomes
  (gain x - mean - rest) factor. Channels are these parts in turn, as complex64
  has them; an axis on which nothing depends has length one.

  Attributes:
    gain: a real number, [voxel, 1], or the real and the imaginary part of a
      complex one, which turns a fingerprint, [voxel, 2].
    mean: of a group, [voxel, channel].
    rest: what float32 leaves of the mean, [voxel, channel].
    factor: one over the standard deviation, or one where a group is constant,
      [voxel, channel].
  """

  gain: Float32[np.ndarray, "voxel part"]
  mean: Float32[np.ndarray, "voxel channel"]
  rest: Float32[np.ndarray, "voxel channel"]
  factor: Float32[np.ndarray, "voxel channel"]

  def of_rows(self, rows: slice) -> "Standardisation":
    """That of some voxels alone."""
    return Standardisation(*(x[rows] if len(x) > 1 else x for x in self))

  def __call__(self, values):
    """Real numbers [voxel, channel], a NumPy or JAX array, standardised."""
    return (self._turned(values) - self.mean - self.rest) * self.factor

  def _turned(self, values):
    """Real numbers [voxel, channel], times the gain."""
    if self.gain.shape[-1] == 1:
      return self.gain * values
    a, b = self.gain[..., :1], self.gain[..., 1:]
    real, imaginary = values[..., ::2], values[..., 1::2]
    parts = (a * real - b * imaginary, a * imaginary + b * real)
    return values.__array_namespace__().stack(parts, -1).reshape(values.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class SignalStatistics:
  """What standardises any scan as the scans that a network was trained on.

  The gain of a scan and the phase of its voxels are its own; the rest are
  numbers of the training scans.

  Attributes:
    reference: of the sequence.
    count: number of values that a mean is of.
    mean: of the training scans' signals with their phase and level brought to
      those of the reference, [channel] of `Standardisation`, or [1].
    variance: likewise, of the real and the imaginary part of a frame alike: one
      of them may be noise, which is not to be as large as the signal.
  """

  reference: SignalReference
  count: float
  mean: Float64[np.ndarray, "channel"]
  variance: Float64[np.ndarray, "channel"]

  @classmethod
  def of_scan(
    cls,
    signals: Complex64[np.ndarray, "voxel frame"],
    *,
    per: str,
    reference: SignalReference,
  ) -> "SignalStatistics":
    """Statistics of one scan; `per` is `frame` or `subject`."""
    if per == "voxel":
      raise ValueError("fingerprints by themselves have no common statistics")
    gain = reference.gains(signals)
    count, (mean,), (variance,) = _group_moments(signals, gain, per)
    if per == "frame":
      variance = np.repeat(variance.reshape(-1, 2).mean(1), 2)
    return cls(reference, float(count[0, 0]), mean, variance)

  @classmethod
  def of_scans(
    cls,
    scans: Iterable[Complex64[np.ndarray, "voxel frame"]],
    *,
    per: str,
    reference: SignalReference,
  ) -> "SignalStatistics":
    """Statistics of several scans together, one of which is read at a time."""
    return cls.pooled(
      [cls.of_scan(scan, per=per, reference=reference) for scan in scans]
    )

  @classmethod
  def pooled(cls, scans: Sequence["SignalStatistics"]) -> "SignalStatistics":
    """Statistics of several scans of one sequence together."""
    counts = np.array([[scan.count] for scan in scans])
    parts = (np.stack([getattr(s, x) for s in scans]) for x in _MOMENTS)
    count, (mean,), (variance,) = _pooled(counts, *parts)
    if len(variance) > 1:
      variance = np.repeat(variance.reshape(-1, 2).mean(1), 2)
    return cls(scans[0].reference, float(count[0, 0]), mean, variance)

  @property
  def deviation(self) -> Float64[np.ndarray, "channel"]:
    """Standard deviation, or one where all signals are equal, [channel]."""
    return _deviation(self.variance)

  def shift_and_factor(
    self,
  ) -> tuple[Float32[np.ndarray, "channel"], Float32[np.ndarray, "channel"]]:
    """What standardises columns of real parts and then of imaginary parts.

    Returns:
      A number to subtract and a factor of each column, or of all together.
    """
    return _in_parts(self.mean), _in_parts(1 / self.deviation)

  def scale_to(
    self, other: "SignalStatistics"
  ) -> tuple[Float32[np.ndarray, "channel"], Float32[np.ndarray, "channel"]]:
    """What makes signals that these standardise those of other statistics.

    Returns:
      A number to subtract and a factor of each column of `normalise_signals`,
      or of all together.
    """
    shift = (other.mean - self.mean) / self.deviation
    factor = self.deviation / other.deviation
    return _in_parts(shift), _in_parts(factor)


def _deviation(variance: np.ndarray) -> np.ndarray:
  """Standard deviation; one for a constant group, which becomes zero."""
  scale = np.sqrt(variance)
  return np.where(scale > 0, scale, 1)


def _in_parts(
  values: Float64[np.ndarray, "channel"],
) -> Float32[np.ndarray, "channel"]:
  """Numbers of all real parts, then of all imaginary parts."""
  return np.concatenate([values[::2], values[1::2]]).astype(np.float32)


def standardisation(
  signals: Complex64[np.ndarray, "voxel frame"],
  *,
  per: str,
  statistics: SignalStatistics | None = None,
) -> Standardisation:
  """What gives signals zero mean and unit variance, from one pass over them.

  Sums within a block of voxels are in float32, those of the blocks in float64.

  Args:
    signals: sliding-window images of one subject's masked voxels.
    per: see `normalise_signals`.
    statistics: likewise.

  Raises:
    UserError: `per` is not one of `SIGNAL_NORMALISATIONS`.
  """
  check_normalisation(per)
  if statistics is None or per == "voxel":
    gain = np.float32(usual_gain(signals))
    _, mean, variance = _group_moments(signals, gain, per)
    gains = np.full((1, 1), gain)
  else:
    turned = statistics.reference.gains(signals)
    gains = turned.astype(np.complex64).view(np.float32)
    mean, variance = statistics.mean[None], statistics.variance[None]
  factor = 1 / _deviation(variance)
  rounded = mean.astype(np.float32)
  numbers = gains, rounded, mean - rounded, factor
  return Standardisation(*(x.astype(np.float32) for x in numbers))


def _group_moments(
  signals: Complex64[np.ndarray, "voxel frame"], gain: Any, per: str
) -> list[np.ndarray]:
  """Count, mean and variance of the groups of a scan, [voxel, channel] each.

  `gain` is a real number, or a complex one of each voxel, [voxel, 1].
  """

  def moments(start: int) -> list[np.ndarray]:
    blocks = (_gained(signals, gain, x) for x in _blocks(start, len(signals)))
    return _together([_moments(block, per) for block in blocks], per)

  starts = range(0, len(signals), _ROWS_OF_A_THREAD)
  count, mean, variance = _together(map_threads(moments, starts), per)
  if per == "subject":
    counts = np.full_like(mean, count[0, 0])
    count, mean, variance = _pooled(*(x.T for x in (counts, mean, variance)))
  return [count, mean, variance]


def _gained(signals, gain, rows: slice) -> Float32[np.ndarray, "voxel channel"]:
  """Real numbers of some voxels, times their gain."""
  if np.ndim(gain):
    return _real(signals[rows] * gain[rows])
  values = _real(signals[rows])
  return values if gain == 1 else values * gain


def normalise_signals(
  signals: Complex64[np.ndarray, "voxel frame"],
  *,
  per: str,
  statistics: SignalStatistics | None = None,
  out: Float32[np.ndarray, "voxel channel"] | None = None,
) -> Float32[np.ndarray, "voxel channel"]:
  """Signals as real numbers of zero mean and unit variance.

  Args:
    signals: sliding-window images of one subject's masked voxels.
    per: group of values that gets zero mean and unit variance: `frame`, the
      real or the imaginary part of a frame in all voxels; `subject`, all
      values; `voxel`, a fingerprint, which loses the amplitude that carries
      proton density.
    statistics: of the training scans, whose mean becomes zero and whose
      variance, that of both parts of a frame, one; None is those of the scan
      itself, as always for `voxel`.
    out: array that the result is written to, such as rows of a larger table.

  Returns:
    [real parts, imaginary parts] of each voxel; zero where a group is constant
    and its mean is its own.

  Raises:
    UserError: `per` is not one of these.
  """
  standardised = standardisation(signals, per=per, statistics=statistics)
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


def by_training_scans(preprocessing: Mapping[str, Any]) -> bool:
  """Whether the statistics of signals are those of the training scans.

  They are a scan's own where `normalise_signals_by` says so or is missing, as
  in stored configurations of before there was a choice, and for fingerprints
  that are standardised one by one.

  Raises:
    UserError: `normalise_signals_by` is not one of `STATISTICS_OF`.
  """
  by = preprocessing.get("normalise_signals_by", "scan")
  check_one_of("preprocessing.normalise_signals_by", by, STATISTICS_OF)
  return by == "training" and preprocessing["normalise_signals_per"] != "voxel"


def check_normalisation(per: str) -> None:
  """Raises `UserError` if `per` is not one of `SIGNAL_NORMALISATIONS`."""
  name = "preprocessing.normalise_signals_per"
  check_one_of(name, per, SIGNAL_NORMALISATIONS)


def _real(
  signals: Complex64[np.ndarray, "voxel frame"],
) -> Float32[np.ndarray, "voxel channel"]:
  """Real and imaginary part of each frame in turn."""
  return np.ascontiguousarray(signals, np.complex64).view(np.float32)


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
