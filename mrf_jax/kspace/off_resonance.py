"""Off-resonance and decay during a readout, by segments of time.

A sample at time t sees the sum of e^(z(r) t) e^(-2πi k·r) x(r) over the voxels
r, where z = 2πi f − R2' has the frequency f of the voxel's field and the rate
of its decay. The exponential is close to a sum of few products of a function of
time and one of the voxel (Noll 1991; with weights by least squares, Sutton
2003): each takes one encoding without it.
"""

import dataclasses

import numpy as np
from jaxtyping import Complex64, Complex128, Float64, Inexact

from mrf_jax.errors import UserError
from mrf_jax.kspace.encoding import SampleEncoding

# Voxels that the weights are fitted to, besides those of extreme rates, and
# most segments.
_FITTED = 2000
_MOST_SEGMENTS = 64
# Singular values of the fit, relative to the largest.
_CUTOFF = 1e-12


@dataclasses.dataclass(frozen=True)
class TimeSegments:
  """Interpolation of e^(z t) between a few times.

  Attributes:
    times_s: the times, [segment], s, from that of the echo.
    weights: of each segment at each sample, [sample, segment].
    error: largest error of e^(z t) at the samples, of the voxels fitted to.
  """

  times_s: Float64[np.ndarray, "segment"]
  weights: Complex64[np.ndarray, "sample segment"]
  error: float


@dataclasses.dataclass(frozen=True)
class OffResonance:
  """Samples of voxels that precess and decay while they are read.

  Attributes:
    samples: the encoding without it.
    rates_per_s: 2πi times the frequency in Hz, minus the rate of decay,
      [voxel], 1/s.
    segments: of the readout.
  """

  samples: SampleEncoding
  rates_per_s: Complex128[np.ndarray, "voxel"]
  segments: TimeSegments

  def forward(
    self, images: Inexact[np.ndarray, "voxel frame"]
  ) -> Complex64[np.ndarray, "frame coil sample"]:
    """K-space of images as they are at the time of the echo."""
    total = None
    for time_s, weights in zip(
      self.segments.times_s, self.segments.weights.T, strict=True
    ):
      factors = np.exp(self.rates_per_s * time_s).astype(np.complex64)
      part = self.samples.forward(images * factors[:, None])
      part *= weights
      total = part if total is None else total + part
    assert total is not None
    return total


def make_time_segments(
  rates_per_s: Complex128[np.ndarray, "voxel"],
  times_s: Float64[np.ndarray, "sample"],
  *,
  largest_error: float,
) -> TimeSegments:
  """As few segments as the error allows.

  Args:
    rates_per_s: z of each voxel, see `OffResonance`.
    times_s: of each sample, s, from that of the echo.
    largest_error: of e^(z t) at any sample and voxel.

  Raises:
    UserError: so large a field over so long a readout needs too many segments.
  """
  rates = _some(rates_per_s)
  first, last = float(times_s.min()), float(times_s.max())
  wanted = np.exp(rates[:, None] * times_s)  # [voxel, sample]
  # As many segments as turns are too few for any weights.
  widest_hz = np.ptp(rates.imag) / (2 * np.pi)
  fewest = max(1, int(widest_hz * (last - first)))
  for count in range(fewest, _MOST_SEGMENTS + 1):
    ends = (
      np.linspace(first, last, count) if count > 1 else [(first + last) / 2]
    )
    at_ends = np.exp(rates[:, None] * np.asarray(ends))
    weights = np.linalg.lstsq(at_ends, wanted, rcond=_CUTOFF)[0]
    error = float(np.abs(at_ends @ weights - wanted).max())
    if error <= largest_error:
      return TimeSegments(
        np.asarray(ends, np.float64), weights.T.astype(np.complex64), error
      )
  raise UserError(
    f"off-resonance: a field over {widest_hz:.0f} Hz during a readout of "
    f"{1e3 * (last - first):.3g} ms; is it in Hz?"
  )


def _some(rates: Complex128[np.ndarray, "voxel"]) -> np.ndarray:
  """Rates of some voxels, with the extreme ones."""
  order = np.argsort(rates.imag)
  rows = np.linspace(0, len(rates) - 1, min(_FITTED, len(rates))).astype(int)
  ends = [rates.real.argmin(), rates.real.argmax()]
  return np.concatenate([rates[order[rows]], rates[ends]])
