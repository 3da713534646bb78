"""What a real scan has that an ideal one has not, besides white noise."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Imperfections:
  """Causes of error of a simulated scan; the default is none.

  The field of the magnet and the phase of the object belong to the phantom,
  and the profile of the slice to the sequence.

  Attributes:
    inversion_efficiency: share of the magnetisation that the inversion turns,
      relative to what the sequence states.
    motion: arguments of `random_poses`; the head is at rest while its reference
      maps are acquired. None is at rest all the time.
    gradient_delays_us: see `Spiral.delayed`.
    noise_correlation: between neighbouring coils, see `noise_covariance`.
    estimated_sensitivities: whether the reconstruction has to estimate the
      coils' sensitivities from the scan.
    b1_map_error: standard deviation of the B1 map that is measured besides the
      scan, white noise; None measures none.
  """

  inversion_efficiency: float = 1.0
  motion: Mapping[str, float] | None = None
  gradient_delays_us: tuple[float, float] = (0.0, 0.0)
  noise_correlation: float = 0.0
  estimated_sensitivities: bool = False
  b1_map_error: float | None = None


IDEAL = Imperfections()
