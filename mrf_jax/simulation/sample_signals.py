"""True signals of a head whose voxels are sums of samples of maps.

Samples have any T1 and T2. They are divided by T2, in bands that do not
overlap: fingerprints of a narrow band span few temporal components and need few
nodes, so that they are interpolated faster than they are simulated. Bands with
few samples, or in which the interpolation would err by more than the tolerance
(noise that was fitted has any T1), are simulated sample by sample.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Inexact

from mrf_jax.matching.atom_interpolant import AtomInterpolant
from mrf_jax.runtime.threads import one_blas_thread
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.simulation.phantom import Phantom
from mrf_jax.simulation.signal_interpolant import (
  are_valid,
  make_signal_interpolant,
  no_signals,
)

# Edges of the bands, ms.
_EDGES_MS = 40.0 * 2.0 ** np.arange(7)
# Samples of a band from which on it is interpolated: the seconds that an
# interpolant takes are those of so many simulations.
_INTERPOLATED = 32768
# Samples whose fingerprints are in memory at once.
_AT_ONCE = 16384


@dataclasses.dataclass(frozen=True)
class SampleSignals:
  """Noiseless signals of the voxels of a sampled phantom in every frame.

  Attributes:
    phantom: the phantom, with `is_sampled`.
    sequence: the pulse sequence.
    interpolants: of each band of T2; None if its samples are simulated.
  """

  phantom: Phantom
  sequence: Sequence
  interpolants: tuple[AtomInterpolant | None, ...]

  def of_slice(self, z: int) -> Inexact[np.ndarray, "voxel frame"]:
    """Signals of the masked voxels of slice z.

    Returns:
      float32, or complex64 if the phases of the pulses differ.
    """
    rows = self.phantom.rows(z)
    signals = no_signals(self.sequence, rows.stop - rows.start)
    voxels, columns, density = _samples(self.phantom, rows)
    bands = _bands(columns[1])
    for number, interpolant in enumerate(self.interpolants):
      own = np.flatnonzero(bands == number)
      if interpolant is None or not own.size:
        continue
      basis = interpolant.basis
      components = np.zeros((len(signals), basis.shape[1]), basis.dtype)
      for part in _parts(own):
        values = interpolant.at(*(column[part] for column in columns))
        _add(components, voxels[part], density[part], values)
      with one_blas_thread():
        signals += components @ basis.conj().T
    is_left = np.array([i is None for i in self.interpolants])[bands]
    for part in _parts(np.flatnonzero(is_left)):
      t1_ms, t2_ms, b1 = (column[part] for column in columns)
      echoes = simulate_fingerprints(
        self.sequence, t1_ms, t2_ms, b1=b1, keep_real=True
      )
      _add(signals, voxels[part], density[part], echoes)
    return signals


def make_sample_signals(
  phantom: Phantom,
  sequence: Sequence,
  *,
  tolerance: float,
) -> SampleSignals:
  """True signals, interpolated where a band of T2 has many samples.

  Args:
    phantom: the phantom, with `is_sampled`.
    sequence: the pulse sequence.
    tolerance: see `make_true_signals`.
  """
  _, columns, _ = _samples(phantom, slice(None))
  bands = _bands(columns[1])
  interpolants: list[AtomInterpolant | None] = []
  for number in range(len(_EDGES_MS) + 1):
    own = [column[bands == number] for column in columns]
    many = tolerance > 0 and len(own[0]) >= _INTERPOLATED
    interpolant = None
    if many and are_valid(*own).all():
      interpolant = make_signal_interpolant(sequence, own, tolerance=tolerance)
    interpolants.append(interpolant)
  return SampleSignals(phantom, sequence, tuple(interpolants))


def _samples(
  phantom: Phantom, rows: slice
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
  """Samples inside the head, of some of the masked voxels.

  Returns:
    Number of the voxel of each sample, its T1, T2 (ms) and B1, and its share of
    the voxel's protons.
  """
  shares = phantom.fractions[:, rows]
  sample, voxels = np.nonzero(shares)
  maps = list(phantom.tissues.values())
  t1_ms, t2_ms, pd = (
    np.concatenate(
      [
        getattr(own, name)[rows][share > 0]
        for own, share in zip(maps, shares, strict=True)
      ]
    )
    for name in ("t1_ms", "t2_ms", "pd")
  )
  b1 = phantom.b1[rows][voxels]
  return voxels, [t1_ms, t2_ms, b1], shares[sample, voxels] * pd


def _bands(t2_ms: np.ndarray) -> np.ndarray:
  """Number of the band that each T2 is in."""
  return np.searchsorted(_EDGES_MS, t2_ms, side="right")


def _parts(numbers: np.ndarray) -> Iterator[np.ndarray]:
  """Samples a few at a time."""
  for start in range(0, len(numbers), _AT_ONCE):
    yield numbers[start : start + _AT_ONCE]


def _add(
  totals: Inexact[np.ndarray, "voxel n"],
  voxels: np.ndarray,
  density: np.ndarray,
  values: Inexact[np.ndarray, "sample n"],
) -> None:
  """Adds the values of samples, times their density, to those of voxels."""
  from scipy import sparse

  first, last = int(voxels.min()), int(voxels.max()) + 1
  places = (voxels - first, np.arange(len(voxels)))
  matrix = sparse.csr_matrix(
    (density, places), shape=(last - first, len(voxels))
  )
  totals[first:last] += matrix @ values
