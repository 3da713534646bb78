"""What a coarse dictionary says of each voxel, as a layer of a network."""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.standardise import SignalStatistics
from mrf_jax.maps import MAP_NAMES
from mrf_jax.matching.match_table import (
  LEAST_PD,
  MatchTable,
  TableMatch,
  is_noise,
  match_by_table,
)

# The collection of a network's variables that are given and not trained, and
# the name of the layer, as they stand in bundles.
COLLECTION, LAYER = "match", "match"
# Factor on fingerprints of norm one.
_UNIT = 2.0
# Middle and spread of the logarithms of T1 and T2 (ms), of the share that is
# left over, and of relative standard deviations, so that features are of the
# order of one.
_MIDDLE = np.log([800.0, 80.0, 1e-2, 3e-2, 3e-2]).astype(np.float32)
_SPREAD = np.array([1.0, 1.0, 1.5, 1.0, 1.0], np.float32)
# Relative standard deviations beyond which a signal says nothing, and below
# which differences say nothing.
_DEVIATIONS = (1e-4, 1.0)
# Differences of log PD of neighbours end here: beyond it there is no tissue.
_LARGEST_STEP = 2.0
# Log PD of voxels without a signal, far below any.
_NO_VOXEL = -20.0
_SCALARS = ("offset", "scale")
_OF_MAPS = ("low", "high", "powers")


def match_variables(
  table: MatchTable, statistics: SignalStatistics, map_range: MapRange
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
  """Variables of a network with this layer that are not trained.

  Args:
    table: atoms, in the basis of the signals.
    statistics: what standardises the signals; one mean and variance for all.
    map_range: of the maps that the network learns.
  """
  if len(statistics.mean) != 1:
    raise ValueError("a match needs signals that have one mean and variance")
  values = {
    **table._asdict(),
    "offset": statistics.mean,
    "scale": statistics.deviation,
    "low": map_range.low,
    "high": map_range.high,
    "powers": map_range.powers,
  }
  arrays = {name: np.asarray(x, np.float32) for name, x in values.items()}
  return {COLLECTION: {LAYER: arrays}}


class MatchLayer(nn.Module):
  """Matches fingerprints with some hundred atoms, between which it goes a step.

  See `match_by_table`. Nothing of it is trained.

  Attributes:
    n_atoms: number of atoms.
  """

  n_atoms: int

  @nn.compact
  def __call__(
    self,
    signals: Float[Array, "*voxel channel"],
    b1: Float[Array, "*voxel 1"] | None = None,
  ) -> tuple[Float[Array, "*voxel feature"], Float[Array, "*voxel found"]]:
    """Features of each voxel, and what its match found.

    Voxels of noise have the features of voxels outside of the mask, zeros.

    Args:
      signals: standardised components, real parts and then imaginary parts; all
        zero outside of the mask.
      b1: channel of B1, see `b1_channel`, of which the match does not know; or
        None.

    Returns:
      The shape of the fingerprint, logarithms of what the match found but for
      PD, and B1: nothing that depends on how bright the voxel is, which is
      relative to the voxels of the scan's mask. And PD, T1 and T2 on the scale
      of the network's, then log PD, see `steps_of_pd`.
    """
    is_inside = (signals != 0).any(-1)
    given = self._variables(signals.shape[-1])
    table = MatchTable(*(given[name] for name in MatchTable._fields))
    # Products of few bits would find other atoms.
    signals = signals.astype(jnp.float32) * given["scale"][0]
    signals += given["offset"][0]
    found = match_by_table(table, signals)
    log_pd = jnp.log(jnp.maximum(found.pd, LEAST_PD))
    norms = jnp.sqrt(jnp.square(signals).sum(-1, keepdims=True))
    shapes = signals * (_UNIT / jnp.where(norms > 0, norms, 1))
    parts = [shapes, _logarithms(found)]
    features = jnp.concatenate(parts if b1 is None else [*parts, b1], -1)
    has_signal = is_inside & ~is_noise(found, signals.shape[-1] // 2)
    has_signal = has_signal[..., None]
    maps = _scaled(found, log_pd, given)
    steps_from = jnp.where(has_signal, log_pd[..., None], _NO_VOXEL)
    return (
      jnp.where(has_signal, features, 0),
      jnp.concatenate([maps, steps_from], -1),
    )

  def _variables(self, n_channels: int) -> Mapping[str, Array]:
    """The given variables; zeros before they are given."""
    n = self.n_atoms
    shapes: dict[str, tuple[int, ...]] = dict(
      products=(n_channels, 2 * n),
      norms=(n,),
      growth=(n, 2),
      steps=(n, 2, n_channels),
      log_times=(n, 2),
      deviations=(n, 2),
      longest=(2,),
    )
    shapes |= dict.fromkeys(_SCALARS, (1,))
    shapes |= dict.fromkeys(_OF_MAPS, (len(MAP_NAMES),))
    return {
      name: self.variable(COLLECTION, name, jnp.zeros, shape).value
      for name, shape in shapes.items()
    }


def steps_of_pd(
  log_pd: Float[Array, "batch slice y x"],
) -> Float[Array, "batch y_in x_in neighbour"]:
  """Log PD of the neighbours of each voxel of the middle slice, over its own.

  Of eight in the slice and one in each other slice. They do not depend on how
  bright a scan is.

  Args:
    log_pd: logarithm of the match's PD.

  Returns:
    Steps, for voxels that have eight neighbours.
  """
  middle = log_pd.shape[1] // 2
  own = log_pd[:, middle, 1:-1, 1:-1]
  height, width = log_pd.shape[2:]
  around = [
    log_pd[:, middle, i : height - 2 + i, j : width - 2 + j]
    for i in range(3)
    for j in range(3)
    if (i, j) != (1, 1)
  ]
  around += [
    log_pd[:, k, 1:-1, 1:-1] for k in range(log_pd.shape[1]) if k != middle
  ]
  steps = jnp.stack(around, -1) - own[..., None]
  return jnp.clip(steps, -_LARGEST_STEP, _LARGEST_STEP)


def _logarithms(found: TableMatch) -> Float[Array, "*voxel feature"]:
  """Logarithms of what a match found but for PD, of the order of one."""
  logs = jnp.concatenate(
    [
      found.log_times,
      jnp.log(found.left_over)[..., None],
      jnp.log(jnp.clip(found.deviations, *_DEVIATIONS)),
    ],
    -1,
  )
  middle, spread = (jnp.broadcast_to(x, logs.shape) for x in (_MIDDLE, _SPREAD))
  return (logs - middle) / spread


def _scaled(
  found: TableMatch,
  log_pd: Float[Array, "*voxel"],
  given: Mapping[str, Array],
) -> Float[Array, "*voxel map"]:
  """Maps of a match as `MapRange.scale` has them; PD not below `LEAST_PD`."""
  logs = jnp.concatenate([log_pd[..., None], found.log_times], -1)
  low, high, powers = (
    jnp.broadcast_to(given[name], logs.shape) for name in _OF_MAPS
  )
  values = jnp.where(powers > 0, jnp.exp(powers * logs), logs)
  # Before the variables are given there is no range.
  return (values - low) / jnp.where(high > low, high - low, 1)
