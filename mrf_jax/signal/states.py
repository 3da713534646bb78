"""State counts: configuration orders that an extended phase graph needs."""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from mrf_jax.sequence.sequence import Sequence

# State counts that are compiled and tried, in steps of about a third.
_LADDER = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536)
# Probe atoms: T2 in steps of 26 %, with five T1 from T2 to 10 s and three B1;
# together they fill two compiled calls.
_PROBE_T2_MS = np.geomspace(5.0, 10_000.0, 34)
_PROBE_B1 = (0.7, 1.0, 1.3)
_N_PROBE_T1 = 5
# Atoms between the probes may have slightly larger errors than these.
_SAFETY = 0.5

# Echoes of atoms, [atom, frame], from T1, T2 (ms), B1 and a state count.
Simulator = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


def exact_states(sequence: Sequence) -> int:
  """The state count above which more orders change nothing.

  Order k is reached after k repetitions and needs k more to return to 0.
  """
  return max(2, sequence.n_frames // 2 + 1)


class StateTable:
  """State counts by T2 that keep the truncation error below a bound.

  The bound is relative to the largest echo of each atom. Probe atoms of many
  T1, T2 and B1 are simulated with more and more states, and compared with the
  exact graph, until their error is below it.
  """

  def __init__(
    self, sequence: Sequence, *, tolerance: float, simulate: Simulator
  ):
    """Makes an empty table; `needed` fills it as far as it has to.

    The tolerance of an echo is relative to the atom's largest.
    """
    self._exact = exact_states(sequence)
    self._tolerance = _SAFETY * tolerance
    self._simulate = simulate
    self._errors: dict[int, np.ndarray] = {}
    shares = np.linspace(0, 1, _N_PROBE_T1)
    self._t1_ms, self._t2_ms, self._b1 = np.array(
      [
        (t2 * (max(t2, 10_000.0) / t2) ** share, t2, b1)
        for t2 in _PROBE_T2_MS
        for share in shares
        for b1 in _PROBE_B1
      ]
    ).T

  def needed(self, t2_ms: Float[np.ndarray, "atom"]) -> Int[np.ndarray, "atom"]:
    """State count of each atom."""
    # The count of an atom is that of the probes with the next longer T2.
    edge = np.searchsorted(_PROBE_T2_MS, t2_ms * (1 - 1e-6))
    counts = np.full(edge.shape, self._exact)
    undecided = edge < _PROBE_T2_MS.size
    for n_states in _LADDER:
      if n_states >= self._exact or not undecided.any():
        break
      good = undecided.copy()
      good[undecided] = self._good(n_states)[edge[undecided]]
      counts[good] = n_states
      undecided &= ~good
    return counts

  def _good(self, n_states: int) -> np.ndarray:
    """Whether the error of each probe T2 is below the bound, [T2]."""
    if n_states not in self._errors:
      exact = self._exact_echoes
      echoes = self._echoes(n_states)
      error = np.abs(echoes - exact).max(1) / np.abs(exact).max(1)
      self._errors[n_states] = error.reshape(_PROBE_T2_MS.size, -1).max(1)
    # A longer T2 never needs fewer states.
    worst = np.maximum.accumulate(self._errors[n_states])
    return worst <= self._tolerance

  @functools.cached_property
  def _exact_echoes(self) -> np.ndarray:
    """Echoes of the probes without truncation."""
    return self._echoes(self._exact)

  def _echoes(self, n_states: int) -> np.ndarray:
    """Echoes of the probes with so many states, [probe, frame]."""
    return self._simulate(self._t1_ms, self._t2_ms, self._b1, n_states)
