"""Magnetisation after the preparation of a pulse sequence."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from mrf_jax.sequence.sequence import Sequence


def prepared_magnetisation(
  sequence: Sequence, t1_ms: Float[Array, "atom"], t2_ms: Float[Array, "atom"]
) -> Float[Array, "atom"]:
  r"""Longitudinal magnetisation right before the first excitation.

  .. math::

    M &= 1 - 2 \eta e^{-\mathrm{TI} / T_1} && \text{after an inversion of
    efficiency } \eta, \\
    M &= 1 - e^{-\mathrm{TS} / T_1} && \text{after a saturation,}

  and :math:`M e^{-\mathrm{TE} / T_2}` after a T2 preparation, from equilibrium
  M = 1. The pulses of a preparation do not depend on B1.
  """
  magnetisation = jnp.ones_like(t1_ms)
  if sequence.inversion_time_ms is not None:
    recovery = jnp.exp(-sequence.inversion_time_ms / t1_ms)
    magnetisation = 1 - 2 * sequence.inversion_efficiency * recovery
  elif sequence.saturation_time_ms is not None:
    magnetisation = -jnp.expm1(-sequence.saturation_time_ms / t1_ms)
  if sequence.t2_preparation_ms is not None:
    magnetisation *= jnp.exp(-sequence.t2_preparation_ms / t2_ms)
  return magnetisation
