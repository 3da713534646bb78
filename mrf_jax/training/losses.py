"""Losses of a training, and weights of voxels and maps in them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES
from mrf_jax.networks.outputs import split_deviations
from mrf_jax.runtime.typing import AnyArray

Loss = Callable[
  [Float32[Array, "*voxel output"], Float32[Array, "*voxel map"]],
  Float32[Array, "*voxel map"],
]
# Width of the bins of log T1, and standard deviation of the Gaussian that
# smooths their counts.
_BIN = 0.02
_SMOOTHING = 0.1
# So small that features are those of the maps; the optimiser divides the
# gradients of the deviations' own weights by their size.
_SHARE_OF_DEVIATIONS = 1e-3


def squared_error(
  outputs: Float32[Array, "*voxel map"], maps: Float32[Array, "*voxel map"]
) -> Float32[Array, "*voxel map"]:
  r"""Squared error of each map, the paper's loss.

  .. math:: (\hat q - q)^2
  """
  return jnp.square(outputs - maps)


def negative_log_likelihood(
  outputs: Float32[Array, "*voxel output"], maps: Float32[Array, "*voxel map"]
) -> Float32[Array, "*voxel map"]:
  r"""Negative log-likelihood of a normal distribution, without its constant.

  .. math:: \log s + \frac{(\hat q - q)^2}{2 s^2}

  (Nix and Weigend 1994). The network predicts the estimate :math:`\hat q`, then
  log s of its standard deviation s. A voxel has the weight of its inverse
  variance, so that errors of a few milliseconds in the T2 of white matter count
  next to errors of hundreds in cerebrospinal fluid. The best estimate is the
  mean, as for the squared error.
  """
  estimates, log_deviations = split_deviations(outputs)
  standardised = (estimates - maps) * jnp.exp(-log_deviations)
  return log_deviations + jnp.square(standardised) / 2


def weighted_likelihood(
  outputs: Float32[Array, "*voxel output"], maps: Float32[Array, "*voxel map"]
) -> Float32[Array, "*voxel map"]:
  r"""Negative log-likelihood, each voxel weighted by its predicted variance.

  .. math:: s^2 \left( \log s + \frac{(\hat q - q)^2}{2 s^2} \right)

  (Seitzer 2022, β = 1). The first s² is a constant for the gradient. The maps
  then have the gradient of the squared error, and the standard deviations that
  of the likelihood. Under the likelihood alone, voxels that are uncertain, or
  not learned yet, have almost no weight.
  """
  _, log_deviations = split_deviations(outputs)
  variances = jax.lax.stop_gradient(jnp.exp(2 * log_deviations))
  return variances * negative_log_likelihood(outputs, maps)


def separate_likelihood(
  outputs: Float32[Array, "*voxel output"], maps: Float32[Array, "*voxel map"]
) -> Float32[Array, "*voxel map"]:
  r"""Squared error for the maps, likelihood for the standard deviations.

  .. math:: \frac{(\hat q - q)^2}{2} +
    w \left( \log s + \frac{e^2}{2 s^2} \right), \quad e = \hat q - q

  with a small constant w, and e a constant for the gradient (after Stirn 2023).
  The maps have the gradient of the squared error, and every voxel has as much
  weight in what its standard deviation learns: with that of its variance
  (`weighted_likelihood`), those of white and grey matter, which err by little,
  come out too large.
  """
  estimates, log_deviations = split_deviations(outputs)
  error = jax.lax.stop_gradient(estimates - maps)
  standardised = error * jnp.exp(-log_deviations)
  likelihood = log_deviations + jnp.square(standardised) / 2
  share = _SHARE_OF_DEVIATIONS * likelihood
  return jnp.square(estimates - maps) / 2 + share


# Name of a loss to its function, and to the outputs that the network needs for
# each map.
LOSSES: dict[str, tuple[Loss, int]] = {
  "squared_error": (squared_error, 1),
  "likelihood": (negative_log_likelihood, 2),
  "weighted_likelihood": (weighted_likelihood, 2),
  "separate_likelihood": (separate_likelihood, 2),
}
# Losses whose values do not show how a training goes, to the one that is
# watched and drawn besides, and to words on the values that are printed. The
# weight s² makes the weighted likelihood rise to zero as the deviations s
# become smaller; the separate one is a sum of two.
_WATCHED = {
  "weighted_likelihood": "likelihood",
  "separate_likelihood": "likelihood",
}
LOSS_NOTES = {"weighted_likelihood": "weighted: rises to 0"}


def watched_loss(name: str) -> str | None:
  """Name of the loss that falls where one that is minimised rises, or None."""
  return _WATCHED.get(name)


def weighted_mean(
  losses: Float32[Array, "*voxel map"],
  inside: Bool[AnyArray, "*voxel 1"],
  weights: tuple[float, ...],
) -> Float32[Array, ""]:
  """Mean loss over the voxels inside the mask, and weighted mean over the maps.

  Only the proportions of the weights matter.
  """
  share = jnp.array(weights) / sum(weights)
  sums = jnp.where(inside, losses, 0).sum(tuple(range(losses.ndim - 1)))
  return (sums * share).sum() / inside.sum()


def check_loss(name: str, weights: tuple[float, ...]) -> None:
  """Raises `UserError` for an unknown loss, or weights that are not valid."""
  check_one_of("training.loss", name, LOSSES)
  if len(weights) != len(MAP_NAMES) or not min(weights) > 0:
    raise UserError(
      f"training.map_weights: {tuple(weights)} are not {len(MAP_NAMES)} "
      f"numbers above 0, of {', '.join(MAP_NAMES)}"
    )


def balancing_weights(
  t1_ms: Float[np.ndarray, "voxel"], *, exponent: float
) -> Float[np.ndarray, "voxel"]:
  r"""Loss weights that balance rare and frequent T1 values, of mean one.

  .. math:: w \propto p(\log T_1)^{-e}

  with the smoothed density p and the exponent e (Yang 2021). With an exponent
  of one all T1 values have the same weight in total, with zero all voxels have.
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
