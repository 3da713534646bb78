"""Voxels of which the match that a network contains knows little."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Complex64

from mrf_jax.inference.model import Model
from mrf_jax.matching.match_table import MatchTable, is_noise, match_by_table
from mrf_jax.networks.match_layer import COLLECTION, LAYER

# Voxels that are matched at once: their energies stay in the cache of a CPU.
_BLOCK = 1024


class MatchDoubts(NamedTuple):
  """Voxels whose estimates a match makes doubtful.

  Attributes:
    is_beyond: T1 or T2 of a signal is below the first or above the last atom: a
      network has learned nothing there.
    is_noise: there is no more signal than in noise: the network takes the voxel
      to be outside of the mask.
  """

  is_beyond: Bool[np.ndarray, "voxel"]
  is_noise: Bool[np.ndarray, "voxel"]


def contains_match(model: Model) -> bool:
  """Whether a network contains a match."""
  return COLLECTION in model.variables


def match_doubts(
  model: Model, components: Complex64[np.ndarray, "voxel component"]
) -> MatchDoubts | None:
  """Voxels that the match finds beyond its atoms, or to be noise.

  Args:
    model: the trained network.
    components: signals of a scan, see `seen_components`.

  Returns:
    Such voxels; None if the network contains no match.
  """
  if not contains_match(model):
    return None
  given = model.variables[COLLECTION][LAYER]
  assert model.statistics is not None
  table = MatchTable(*(np.asarray(given[x]) for x in MatchTable._fields))
  first, last = table.log_times.min(0), table.log_times.max(0)
  # As the network sees them: squares of other scales are beyond float32.
  signals = components * model.statistics.reference.gains(components)
  doubts = MatchDoubts(*np.empty((2, len(signals)), bool))
  # All blocks have one size, however large the scan is.
  for start in range(0, len(signals), _BLOCK):
    block = signals[start : start + _BLOCK].astype(np.complex64)
    parts = np.zeros((_BLOCK, 2 * block.shape[1]), np.float32)
    parts[: len(block)] = np.concatenate([block.real, block.imag], 1)
    # Accelerators would otherwise round the factors, and find other atoms.
    with jax.default_matmul_precision("highest"):
      log_times, of_noise = (np.asarray(x) for x in _matched(table, parts))
    rows = slice(start, start + len(block))
    log_times = log_times[: len(block)]
    is_beyond = ((log_times < first) | (log_times > last)).any(1)
    doubts.is_noise[rows] = of_noise[: len(block)]
    doubts.is_beyond[rows] = is_beyond & ~doubts.is_noise[rows]
  return doubts


@jax.jit
def _matched(table, parts):
  """Log T1 and log T2 of signals, ms, and whether they are noise."""
  found = match_by_table(table, parts)
  return found.log_times, is_noise(found, parts.shape[-1] // 2)
