"""Signals that have an equation: spoiled gradient echo and spin echo."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def spgr_signal(
  m0, t1_ms, *, flip_angle_deg, tr_ms, b1=1.0
) -> Float[Array, "..."]:
  """Steady-state spoiled gradient-echo signal, without T2* decay.

    S = M0 sin(a) (1 - E1) / (1 - E1 cos(a)),  E1 = exp(-TR / T1)

  with a = B1 · flip angle. Spoiling is ideal: no transverse magnetisation
  lives from one repetition to the next (Ernst 1966).

  Args:
    m0: equilibrium magnetisation, arbitrary units.
    t1_ms: longitudinal relaxation time, ms.
    flip_angle_deg: nominal flip angle, degrees.
    tr_ms: repetition time, ms.
    b1: factor on the flip angle.

  Returns:
    The signal in units of `m0`, in the shape to which all arguments broadcast.
  """
  m0, t1, flip, tr, b1 = _broadcast(m0, t1_ms, flip_angle_deg, tr_ms, b1)
  return m0 * _steady_state(flip * b1, tr / t1)


def spin_echo_signal(
  m0, t1_ms, t2_ms, *, te_ms, tr_ms, flip_angle_deg=90.0, b1=1.0
) -> Float[Array, "..."]:
  """Spin-echo signal of a train with ideal refocusing.

    S = M0 sin(a) (1 - E1) / (1 - E1 cos(a)) exp(-TE / T2),  E1 = exp(-TR / T1)

  with a = B1 · flip angle. This is the usual approximation of a fast spin
  echo: refocusing pulses are 180° whatever B1 is, so there are no stimulated
  echoes, and longitudinal magnetisation recovers over the whole TR.

  Args:
    m0: equilibrium magnetisation, arbitrary units.
    t1_ms: longitudinal relaxation time, ms.
    t2_ms: transverse relaxation time, ms.
    te_ms: echo time, ms.
    tr_ms: time between excitations, ms.
    flip_angle_deg: nominal flip angle of the excitation, degrees.
    b1: factor on the excitation's flip angle.

  Returns:
    The signal in units of `m0`, in the shape to which all arguments broadcast.
  """
  m0, t1, t2, te, tr, flip, b1 = _broadcast(
    m0, t1_ms, t2_ms, te_ms, tr_ms, flip_angle_deg, b1
  )
  return m0 * _steady_state(flip * b1, tr / t1) * jnp.exp(-te / t2)


def _steady_state(flip_angle_deg: Array, tr_over_t1: Array) -> Array:
  """Share of the magnetisation that each excitation of the train shows.

  1 - E1 and 1 - cos(a) are small differences: expm1 and 2 sin²(a/2) keep
  their float32 digits, which 1 - E1 cos(a) as written loses at 1°.
  """
  a = jnp.deg2rad(flip_angle_deg)
  recovered = -jnp.expm1(-tr_over_t1)
  tipped = 2.0 * jnp.sin(a / 2.0) ** 2
  return jnp.sin(a) * recovered / (recovered + (1.0 - recovered) * tipped)


def _broadcast(*values) -> Sequence[jax.Array]:
  """The values in one shape; explicit, for promotion of ranks may be off.

  They become float32, and float64 under `jax.enable_x64`.
  """
  return jnp.broadcast_arrays(*(jnp.asarray(v, float) for v in values))
