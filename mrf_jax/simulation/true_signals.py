"""True signals of a phantom: what its scan would be without coils and noise.

Fingerprints of a tissue are smooth functions of T1, T2 and B1, so that a few
hundred of them tell all others (`matching/atom_interpolant.py`).
"""

import dataclasses

import numpy as np
from jaxtyping import Inexact

from mrf_jax.matching.atom_interpolant import AtomInterpolant
from mrf_jax.runtime.threads import one_blas_thread
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.simulation.phantom import Phantom
from mrf_jax.simulation.sample_signals import SampleSignals, make_sample_signals
from mrf_jax.simulation.signal_interpolant import (
  are_valid,
  make_signal_interpolant,
  no_signals,
)

# A tissue with a smaller share of a voxel is left out, which saves simulations.
_LEAST_FRACTION = 1e-4
# Voxels of a tissue from which on it is interpolated. Below, about as many
# fingerprints would be simulated for the interpolation.
_INTERPOLATED = 4096


@dataclasses.dataclass(frozen=True)
class TrueSignals:
  """Noiseless signals of the voxels of a phantom in every frame.

  A signal is the sum over the tissues of a voxel, each with its own T1 and T2
  and the B1 of the voxel.

  Attributes:
    phantom: the phantom.
    sequence: the pulse sequence.
    interpolants: of each tissue; None if its voxels are simulated one by one.
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
    components, bases = [], []
    for tissue, fraction, interpolant in zip(
      self.phantom.tissues.values(),
      self.phantom.fractions[:, rows],
      self.interpolants,
      strict=True,
    ):
      voxels = np.flatnonzero(fraction > _LEAST_FRACTION)
      if not voxels.size:
        continue
      t1_ms, t2_ms, b1 = (
        values[rows][voxels]
        for values in (tissue.t1_ms, tissue.t2_ms, self.phantom.b1)
      )
      density = (fraction * tissue.pd[rows])[voxels, None]
      if interpolant is None:
        echoes = simulate_fingerprints(
          self.sequence,
          t1_ms,
          t2_ms,
          b1=b1,
          keep_real=True,
        )
        signals[voxels] += density * echoes
        continue
      basis = interpolant.basis
      own = np.zeros((len(signals), basis.shape[1]), basis.dtype)
      own[voxels] = density * interpolant.at(t1_ms, t2_ms, b1)
      components.append(own)
      bases.append(basis)
    if components:
      with one_blas_thread():
        signals += np.hstack(components) @ np.hstack(bases).conj().T
    return signals


def make_true_signals(
  phantom: Phantom,
  sequence: Sequence,
  *,
  tolerance: float = 0.0,
) -> TrueSignals | SampleSignals:
  """True signals, interpolated where a tissue has many voxels.

  Args:
    phantom: the phantom.
    sequence: the pulse sequence.
    tolerance: error of the interpolated fingerprint of a tissue, relative to
      its norm, at most; zero interpolates none.
  """
  if phantom.is_sampled:
    return make_sample_signals(phantom, sequence, tolerance=tolerance)
  interpolants = tuple(
    _interpolant(phantom, sequence, k, tolerance) if tolerance > 0 else None
    for k in range(len(phantom.tissues))
  )
  return TrueSignals(phantom, sequence, interpolants)


def mean_magnitude(signals: Inexact[np.ndarray, "voxel frame"]) -> float:
  """Mean magnitude of signals, to which noise levels are relative.

  Those are the true signals of the first slice in
  `Phantom.by_distance_from_the_middle`.
  """
  return float(np.abs(signals).mean(dtype=np.float64))


def _interpolant(
  phantom: Phantom,
  sequence: Sequence,
  k: int,
  tolerance: float,
) -> AtomInterpolant | None:
  """Fingerprints of tissue k at any T1, T2 and B1 that its voxels have.

  Returns:
    The interpolant; None if there are few voxels or it would err by more than
    the tolerance, and if a value is not valid, about which the simulation says
    more.
  """
  tissue = list(phantom.tissues.values())[k]
  voxels = phantom.fractions[k] > _LEAST_FRACTION
  t1_ms, t2_ms, b1 = (
    values[voxels] for values in (tissue.t1_ms, tissue.t2_ms, phantom.b1)
  )
  if len(b1) < _INTERPOLATED or not are_valid(t1_ms, t2_ms, b1).all():
    return None
  return make_signal_interpolant(
    sequence, (t1_ms, t2_ms, b1), tolerance=tolerance
  )
