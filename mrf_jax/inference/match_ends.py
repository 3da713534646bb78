"""Voxels that lie beyond the atoms of the match that a network contains."""

import jax
import numpy as np
from jaxtyping import Bool, Complex64

from mrf_jax.inference.model import Model
from mrf_jax.matching.match_table import MatchTable, match_by_table
from mrf_jax.networks.match_layer import COLLECTION, LAYER

# Voxels that are matched at once.
_BLOCK = 4096


def beyond_match(
  model: Model, components: Complex64[np.ndarray, "voxel component"]
) -> Bool[np.ndarray, "voxel"] | None:
  """Whether the match finds T1 or T2 below the first or above the last atom.

  Outside of the atoms, where a step leads from those at the ends, a network has
  learned nothing.

  Args:
    model: the trained network.
    components: signals of a scan, see `seen_components`.

  Returns:
    Such voxels; None if the network contains no match.
  """
  given = model.variables.get(COLLECTION, {}).get(LAYER)
  if given is None:
    return None
  assert model.statistics is not None
  table = MatchTable(*(np.asarray(given[x]) for x in MatchTable._fields))
  first, last = table.log_times.min(0), table.log_times.max(0)
  # As the network sees them: squares of other scales are beyond float32.
  signals = components * model.statistics.reference.gains(components)
  beyond = np.empty(len(signals), bool)
  # All blocks have one size, however large the scan is.
  for start in range(0, len(signals), _BLOCK):
    block = signals[start : start + _BLOCK].astype(np.complex64)
    parts = np.zeros((_BLOCK, 2 * block.shape[1]), np.float32)
    parts[: len(block)] = np.concatenate([block.real, block.imag], 1)
    # Accelerators would otherwise round the factors, and find other atoms.
    with jax.default_matmul_precision("highest"):
      found = np.asarray(_log_times(table, parts))[: len(block)]
    beyond[start : start + _BLOCK] = ((found < first) | (found > last)).any(1)
  return beyond


@jax.jit
def _log_times(table, parts):
  """Log T1 and log T2 of signals, ms, with the step from the best atom."""
  return match_by_table(table, parts).log_times
