"""What true signals of all phantoms share: their array and interpolants."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Inexact

from mrf_jax.matching.atom_interpolant import (
  AtomInterpolant,
  InterpolationError,
  make_atom_interpolant,
)
from mrf_jax.runtime.threads import one_blas_thread
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.signal.states import exact_states

# Fingerprints that tell its error.
_N_CHECKS = 256
# Configuration orders up to which so few fingerprints are not truncated: to
# find out how far they may be costs more.
_MOST_STATES = 512


def are_valid(t1_ms, t2_ms, b1) -> Bool[np.ndarray, "voxel"]:
  """Which voxels can be simulated; the simulation says more of the others."""
  return (0 < t2_ms) & (t2_ms <= t1_ms) & (t1_ms < np.inf) & np.isfinite(b1)


def no_signals(
  sequence: Sequence, n_voxels: int
) -> Inexact[np.ndarray, "voxel frame"]:
  """Zeros to add signals to: complex if the phases of the pulses differ."""
  dtype = np.float32 if sequence.has_real_echoes else np.complex64
  return np.zeros((n_voxels, sequence.n_frames), dtype)


def make_signal_interpolant(
  sequence: Sequence,
  columns: Iterable[np.ndarray],
  *,
  tolerance: float,
) -> AtomInterpolant | None:
  """Fingerprints of a sequence at any T1, T2 and B1 between the ends of some.

  Args:
    sequence: the pulse sequence.
    columns: T1 and T2, ms, and B1, [voxel] each.
    tolerance: error relative to the norm of a fingerprint, at most; half of it
      may be of interpolation, and half be left out by the temporal components.

  Returns:
    The interpolant, or None if it would err by more.
  """
  ends = ([v.min(), v.max()] for v in columns)
  n_states = exact_states(sequence)
  try:
    with one_blas_thread():
      interpolant = make_atom_interpolant(
        Acquisition(sequence),
        *ends,
        rank=None,
        largest_error=tolerance / 2,
        n_checks=_N_CHECKS,
        n_states=n_states if n_states <= _MOST_STATES else None,
      )
  except InterpolationError:
    return None
  return interpolant if interpolant.left_out <= tolerance / 2 else None
