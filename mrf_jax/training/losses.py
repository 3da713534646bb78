"""What a network's training makes small."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32

from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES
from mrf_jax.networks.outputs import split_deviations

Loss = Callable[
  [Float32[Array, "*voxel output"], Float32[Array, "*voxel map"]],
  Float32[Array, "*voxel map"],
]
# Bins of log T1, and the deviation of the kernel that smooths their counts.
_BIN = 0.02
_SMOOTHING = 0.1


def squared_error(
  outputs: Float32[Array, "*voxel map"], maps: Float32[Array, "*voxel map"]
) -> Float32[Array, "*voxel map"]:
  """(q^ - q)², the paper's.

  Args:
    outputs: estimated maps, on the scale of [0, 1].
    maps: reference maps.
  """
  return jnp.square(outputs - maps)


def negative_log_likelihood(
  outputs: Float32[Array, "*voxel output"], maps: Float32[Array, "*voxel map"]
) -> Float32[Array, "*voxel map"]:
  """Of a normal distribution whose deviation the network predicts too.

  log s + (q^ - q)² / 2 s²

  A voxel counts by the inverse of its own variance: the milliseconds of white
  matter's T2 are not drowned by the hundreds of cerebrospinal fluid's, and the
  best estimate is the mean all the same (Nix and Weigend 1994).

  Args:
    outputs: estimated maps, then the logarithms of their deviations.
    maps: reference maps.
  """
  estimates, log_deviations = split_deviations(outputs)
  standardised = (estimates - maps) * jnp.exp(-log_deviations)
  return log_deviations + jnp.square(standardised) / 2


def weighted_likelihood(
  outputs: Float32[Array, "*voxel output"], maps: Float32[Array, "*voxel map"]
) -> Float32[Array, "*voxel map"]:
  """The negative log-likelihood, each voxel weighted by its own deviation.

  s² (log s + (q^ - q)² / 2 s²), s² in front taken as a number

  The maps learn by the squared error, the deviations by the likelihood: under
  the likelihood alone, voxels that are uncertain, and all that is not learned
  yet, count for next to nothing (Seitzer 2022, β = 1).

  Args:
    outputs: estimated maps, then the logarithms of their deviations.
    maps: reference maps.
  """
  _, log_deviations = split_deviations(outputs)
  variances = jax.lax.stop_gradient(jnp.exp(2 * log_deviations))
  return variances * negative_log_likelihood(outputs, maps)


# Name to the loss of each map of each voxel, and outputs of a network per map.
LOSSES: dict[str, tuple[Loss, int]] = {
  "squared_error": (squared_error, 1),
  "likelihood": (negative_log_likelihood, 2),
  "weighted_likelihood": (weighted_likelihood, 2),
}


def weighted_mean(
  losses: Float32[Array, "*voxel map"],
  inside: Bool[Array, "*voxel 1"],
  weights: tuple[float, ...],
) -> Float32[Array, ""]:
  """Mean over the voxels inside the mask, and over maps by their weights.

  Args:
    losses: of each map of each voxel.
    inside: whether a voxel is in the mask.
    weights: of the maps; only their proportions count.
  """
  share = jnp.array(weights) / sum(weights)
  sums = jnp.where(inside, losses, 0).sum(tuple(range(losses.ndim - 1)))
  return (sums * share).sum() / inside.sum()


def check_loss(name: str, weights: tuple[float, ...]) -> None:
  """Refuses a loss that is unknown, or weights that are not of the maps.

  Args:
    name: one of `LOSSES`.
    weights: of the maps.

  Raises:
    UserError: they are refused.
  """
  if name not in LOSSES:
    raise UserError(
      f"training.loss: {name!r} is not one of {', '.join(LOSSES)}"
    )
  if len(weights) != len(MAP_NAMES) or not min(weights) > 0:
    raise UserError(
      f"training.map_weights: {tuple(weights)} are not {len(MAP_NAMES)} "
      f"numbers above 0, of {', '.join(MAP_NAMES)}"
    )


def balancing_weights(
  t1_ms: Float[np.ndarray, "voxel"], *, exponent: float
) -> Float[np.ndarray, "voxel"]:
  """Weights of voxels by how rare their T1 is, of mean one.

  w = p(log T1)^(−exponent), p smoothed (Yang 2021)

  With an exponent of one every T1 weighs the same, with zero every voxel.

  Args:
    t1_ms: reference T1 of the training subjects, [voxel], ms.
    exponent: from 0 to 1.
  """
  log_t1 = np.log(np.maximum(t1_ms.astype(float), 1))
  bins = np.rint((log_t1 - log_t1.min()) / _BIN).astype(int)
  reach = int(np.ceil(3 * _SMOOTHING / _BIN))
  kernel = np.exp(
    -((np.arange(-reach, reach + 1) * _BIN / _SMOOTHING) ** 2) / 2
  )
  density = np.convolve(np.bincount(bins), kernel)[
    reach : reach + bins.max() + 1
  ]
  weights = density[bins] ** -exponent
  return weights / weights.mean()
