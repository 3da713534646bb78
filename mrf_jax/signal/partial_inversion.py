"""Fingerprints after an inversion of part of the magnetisation."""

import dataclasses

import numpy as np
from jaxtyping import Inexact

from mrf_jax.errors import UserError
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.signal.fingerprints import simulate_fingerprints


def simulate_partly_inverted(
  sequence: Sequence, t1_ms, t2_ms, *, efficiency: float, **options
) -> Inexact[np.ndarray, "voxel frame"]:
  """Signal evolution of each voxel, if the inversion turns a share of it.

  The magnetisation after it, (1 − 2 e) M0, is a mean of that after a whole
  inversion and of that after none, and all that follows is linear in it.

  Args:
    sequence: the pulse sequence; one without an inversion stays as it is.
    t1_ms: longitudinal relaxation times, [voxel], ms.
    t2_ms: transverse relaxation times, [voxel] or scalar, ms.
    efficiency: the share e, from 0 to 1.
    **options: of `simulate_fingerprints`.

  Raises:
    UserError: the efficiency is not from 0 to 1; or see
      `simulate_fingerprints`.
  """
  if not 0 <= efficiency <= 1:
    raise UserError(f"inversion efficiency is {efficiency:g}, not from 0 to 1")
  echoes = simulate_fingerprints(sequence, t1_ms, t2_ms, **options)
  if efficiency == 1 or sequence.inversion_time_ms is None:
    return echoes
  without = dataclasses.replace(sequence, inversion_time_ms=None)
  others = simulate_fingerprints(without, t1_ms, t2_ms, **options)
  share = echoes.real.dtype.type(efficiency)
  return share * echoes + (1 - share) * others
