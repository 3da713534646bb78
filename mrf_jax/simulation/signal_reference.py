"""The phase and the level of a sequence's fingerprints, simulated."""

import itertools

import numpy as np
from jaxtyping import Complex128, Float64, Inexact

from mrf_jax.dataset.signal_reference import SignalReference
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.simulation.tissue import BRAIN_AT_1_5T

# The level: factors on T1 and on T2 of each tissue, so that heads and field
# strengths may differ, and on the flip angles.
_TIMES, _B1 = (0.8, 1.0, 1.25), (0.9, 1.0, 1.1)
# λ, relative to the mean power of a fingerprint: the larger, the less does the
# level depend on noise and artefacts, and the more on the tissue.
_NOISE_POWER = 3e-2
# The phase: any matter. T1, ms, T2 as a share of it, within bounds, and factors
# on the flip angles.
_T1_MS = np.geomspace(100.0, 5400.0, 9)
_T2_SHARES, _T2_BOUNDS_MS = (0.03, 0.1, 0.3, 0.7), (10.0, 2460.0)
# Weight of the condition that shares sum to one, beside fingerprints of norm
# one.
_WEIGHT_OF_SUM = 10.0


def make_signal_reference(
  acquisition: Acquisition,
  basis: Inexact[np.ndarray, "frame rank"] | None = None,
) -> SignalReference:
  r"""What the fingerprints of a sequence have in common, whatever the tissue.

  The phase u is the direction from which the fingerprints s_j of matter of any
  T1 and T2, each of norm one, are the least far: that of the largest margin,

  .. math::

    \max_{|u| = 1} \, \min_j \, \mathrm{Re} \, u^H s_j

  so that after an inversion fingerprints of long and of short T1 have one sign
  along it. It points at the point of their convex hull that is nearest to zero
  (Bennett 2000, Duality and geometry in SVM classifiers).

  The level w is a filter that brain tissue passes alike,

  .. math::

    \min_w \sum_j |w^H s_j - 1|^2 + \lambda |w|^2

  with the fingerprints s_j of white matter, grey matter and cerebrospinal
  fluid, each times its proton density: as they share the value one, so do their
  mixtures within a voxel. λ keeps noise and undersampling out.

  Args:
    acquisition: the sequence and its sliding window.
    basis: temporal components on which signals are projected; None is all
      windows.
  """
  tissue, matter = _brain_tissue(), _any_matter()
  t1_ms, t2_ms, b1, pd = np.concatenate([tissue, matter]).T
  frames = simulate_fingerprints(acquisition.sequence, t1_ms, t2_ms, b1=b1)
  windows = sliding_window(
    frames, window=acquisition.window, stride=acquisition.stride
  )
  signals = windows.astype(np.complex128) * pd[:, None]
  phase = _common_direction(signals[len(tissue) :])
  products = signals @ phase.conj()
  signals *= np.exp(-1j * np.angle(products))[:, None]
  level = _common_level(signals[: len(tissue)])
  reference = SignalReference(
    phase.astype(np.complex64), level.astype(np.complex64)
  )
  return reference if basis is None else reference.of_components(basis)


def _brain_tissue() -> Float64[np.ndarray, "atom 4"]:
  """T1 (ms), T2 (ms), B1 and PD of brain tissue."""
  variants = itertools.product(BRAIN_AT_1_5T.values(), _TIMES, _TIMES, _B1)
  return np.array(
    [
      (t1 * by_t1, t2 * by_t2, b1, pd)
      for (t1, t2, pd), by_t1, by_t2, b1 in variants
    ]
  )


def _any_matter() -> Float64[np.ndarray, "atom 4"]:
  """T1 (ms), T2 (ms), B1 and PD over the range of a dictionary."""
  variants = itertools.product(_T1_MS, _T2_SHARES, (_B1[0], _B1[-1]))
  return np.array(
    [
      (t1, np.clip(t1 * share, *_T2_BOUNDS_MS), b1, 1)
      for t1, share, b1 in variants
    ]
  )


def _common_direction(
  signals: Complex128[np.ndarray, "atom frame"],
) -> Complex128[np.ndarray, "frame"]:
  """Direction of the largest margin, of norm one.

  The nearest point to zero of the convex hull, Σ_j a_j s_j with a_j ≥ 0 and
  Σ_j a_j = 1, is a least-squares problem in a.
  """
  # Half a second that commands without training are spared.
  from scipy.optimize import nnls

  units = signals / np.linalg.norm(signals, axis=1, keepdims=True)
  sides = _WEIGHT_OF_SUM * np.ones((1, len(units)))
  matrix = np.concatenate([units.real.T, units.imag.T, sides])
  target = np.zeros(len(matrix))
  target[-1] = _WEIGHT_OF_SUM
  shares, _ = nnls(matrix, target)
  nearest = shares @ units
  return nearest / np.linalg.norm(nearest)


def _common_level(
  signals: Complex128[np.ndarray, "atom frame"],
) -> Complex128[np.ndarray, "frame"]:
  """Filter that all signals, of one phase, pass with about one."""
  gram = signals.conj() @ signals.T
  noise = _NOISE_POWER * np.trace(gram).real / len(gram)
  weights = np.linalg.solve(
    gram + noise * np.eye(len(gram)), np.ones(len(gram))
  )
  return signals.T @ weights
