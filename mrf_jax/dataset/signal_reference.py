"""Phase and level of the fingerprints of a scan, by what its sequence says.

A receiver multiplies all signals of a scan by some gain, and those of a voxel
by some phase. Neither says anything about T1 and T2.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Complex64, Inexact, Integer

from mrf_jax.runtime.threads import map_threads

# Voxels that a thread takes at once.
_ROWS = 4096
# Range of logarithms of the level in which most of the signal is: brain tissue
# varies by half of it, and skin, bone and air are mostly outside.
_RANGE = 0.6


@dataclasses.dataclass(frozen=True, eq=False)
class SignalReference:
  """What fingerprints of a sequence have in common, whatever the tissue.

  Attributes:
    phase: a fingerprint s is turned until <phase, s> is real and positive,
      [frame].
    level: |<level, s>| is about one in white matter, grey matter and
      cerebrospinal fluid, and in any mixture of them, [frame].
  """

  phase: Complex64[np.ndarray, "frame"]
  level: Complex64[np.ndarray, "frame"]

  def of_components(
    self, basis: Inexact[np.ndarray, "frame rank"]
  ) -> "SignalReference":
    """The same for signals that are projected, `signals @ basis`."""
    return SignalReference(
      *((basis.T @ x).astype(np.complex64) for x in (self.phase, self.level))
    )

  def filters(self) -> Complex64[np.ndarray, "frame 2"]:
    """`signals @ filters` are <phase, s> and <level, s> of each voxel."""
    return np.stack([self.phase, self.level], 1).conj()

  def gains(
    self, signals: Complex64[np.ndarray, "voxel frame"]
  ) -> Complex64[np.ndarray, "voxel 1"]:
    """What turns the signals of a scan and brings its level to one.

    All have the same magnitude. Signals that have no phase are not turned, and
    a scan without any keeps its level.
    """
    products = np.empty((len(signals), 2), np.complex64)
    filters = self.filters()

    def multiply(start: int) -> None:
      rows = slice(start, start + _ROWS)
      np.matmul(signals[rows], filters, out=products[rows])

    map_threads(multiply, range(0, len(signals), _ROWS))
    return scan_gains(products)

  def gain(self, signals: Complex64[np.ndarray, "voxel frame"]) -> float:
    """Magnitude of all gains of a scan."""
    return float(np.abs(self.gains(signals)[0, 0])) if len(signals) else 1.0


def scan_gains(
  products: Inexact[Any, "voxel 2"], inside: Any = True
) -> Inexact[Any, "voxel 1"]:
  """`SignalReference.gains` from the products; NumPy or JAX arrays.

  Args:
    products: <phase, s> and <level, s>.
    inside: whether a row is a voxel of the scan, [voxel]; True is all.
  """
  xp = products.__array_namespace__()
  size = xp.abs(products[:, :1])
  has_phase = size > 0
  turned = products[:, :1].conj() / xp.where(has_phase, size, 1)
  level = scan_level(xp.where(inside, xp.abs(products[:, 1]), 0))
  return xp.where(has_phase, turned, 1) / level


def scan_level(values: Inexact[Any, "voxel"]) -> Inexact[Any, ""]:
  """The level of the voxels that have most of the signal; NumPy or JAX arrays.

  Args:
    values: level of each voxel; those that are 0 do not count.

  Returns:
    The median of the values in that range of 0.6 of their logarithms whose sum
    is the largest; 1 if none is above 0. Air may be most of the voxels.
  """
  xp = values.__array_namespace__()
  size = values.shape[0]
  is_voxel = (values > 0) & xp.isfinite(values)
  logs = xp.sort(
    xp.where(is_voxel, xp.log(xp.where(is_voxel, values, 1)), xp.inf)
  )
  # Infinite logarithms, at the end, are no voxels.
  sums = xp.cumsum(xp.where(logs < xp.inf, xp.exp(logs), 0))
  sums = xp.concatenate([xp.zeros_like(sums[:1]), sums])
  ends = _counts_below(logs, logs + _RANGE)
  ends = xp.minimum(ends, is_voxel.sum())
  starts = xp.minimum(xp.arange(size), ends)
  start = xp.argmax(sums[ends] - sums[starts])
  count = ends[start] - start
  known = xp.where(logs < xp.inf, logs, 0)
  middle = [
    known[xp.clip(start + half // 2, 0, size - 1)]
    for half in (count - 1, count)
  ]
  return xp.where(count > 0, xp.exp((middle[0] + middle[1]) / 2), 1)


def _counts_below(
  values: Inexact[Any, "voxel"], limits: Inexact[Any, "voxel"]
) -> Integer[Any, "voxel"]:
  """How many of the values are not above each limit; both are sorted."""
  if isinstance(values, np.ndarray):
    return np.searchsorted(values, limits, side="right")
  # That of JAX needs to know the number of voxels when a model is exported.
  xp = values.__array_namespace__()
  order = xp.argsort(xp.concatenate([values, limits]), stable=True)
  places = xp.argsort(order)
  return places[values.shape[0] :] - xp.arange(values.shape[0])
