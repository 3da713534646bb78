"""Images of a slice whose field is not uniform, by a map of it.

A voxel at the frequency f turns by e^(2πi f t) while a readout goes on; a
positive frequency turns the phase forwards, beside e^(-2πi k·r) of the
encoding. The conjugate phase turns it back (Noll 1991), by segments of time
(`off_resonance.py`), of which each takes one gridding.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Complex64, Float, Float64

from mrf_jax.kspace.off_resonance import TimeSegments, make_time_segments

# Largest error of e^(2πi f t) at any sample and voxel.
_LARGEST_ERROR = 1e-3


@dataclasses.dataclass(frozen=True)
class FieldCorrection:
  """The conjugate phase of a field during a readout.

  Attributes:
    b0_hz: frequency of each voxel, [y, x].
    segments: of the readout.
  """

  b0_hz: Float[np.ndarray, "y x"]
  segments: TimeSegments

  def parts(
    self, mask: Bool[np.ndarray, "y x"]
  ) -> Iterator[
    tuple[Complex64[np.ndarray, "sample"], Complex64[np.ndarray, "voxel"]]
  ]:
    """Factors of the samples before a gridding, and of the voxels after it.

    The sum of all griddings is the image.
    """
    radians_per_s = 2 * np.pi * self.b0_hz[mask]
    for time_s, weights in zip(
      self.segments.times_s, self.segments.weights.T, strict=True
    ):
      turns = np.exp(-1j * radians_per_s * time_s).astype(np.complex64)
      yield weights.conj(), turns


def make_field_correction(
  b0_hz: Float[np.ndarray, "y x"],
  times_s: Float64[np.ndarray, "read"],
  *,
  n_readouts: int = 1,
) -> FieldCorrection | None:
  """The correction of a field; None if it is zero everywhere.

  Args:
    b0_hz: frequency of each voxel.
    times_s: time of each sample of a readout, s.
    n_readouts: of a frame, one after another.

  Raises:
    UserError: so large a field over so long a readout needs too many segments.
  """
  if not np.any(b0_hz):
    return None
  rates = 2j * np.pi * b0_hz.ravel().astype(np.float64)
  segments = make_time_segments(
    rates.astype(np.complex128), times_s, largest_error=_LARGEST_ERROR
  )
  of_frame = np.tile(segments.weights, (n_readouts, 1))
  return FieldCorrection(b0_hz, dataclasses.replace(segments, weights=of_frame))
