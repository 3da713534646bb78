"""Closed-form signal of the ideally spoiled gradient echo (SPGR)."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def spgr_signal(
  m0, t1_ms, *, flip_angle_deg, tr_ms, b1=1.0
) -> Float[Array, "..."]:
  r"""Steady-state spoiled gradient-echo signal, without T2* decay.

  .. math::

    S = M_0 \sin a \, \frac{1 - E_1}{1 - E_1 \cos a}, \quad
    E_1 = e^{-\mathrm{TR} / T_1}

  with a = B1 · flip angle. Spoiling is ideal: no transverse magnetisation
  is left after a repetition (Ernst 1966).

  Args:
    m0: equilibrium magnetisation, arbitrary units.
    t1_ms: longitudinal relaxation time, ms.
    flip_angle_deg: nominal flip angle, degrees.
    tr_ms: repetition time, ms.
    b1: factor on the flip angle.

  Returns:
    The signal in units of `m0`, in the shape to which all arguments broadcast.
  """
  arguments = (m0, t1_ms, flip_angle_deg, tr_ms, b1)
  # Broadcast explicitly, since rank promotion may be off. The type is float32,
  # or float64 under `jax.enable_x64`.
  m0, t1, flip, tr, b1 = jnp.broadcast_arrays(
    *(jnp.asarray(x, float) for x in arguments)
  )
  a = jnp.deg2rad(flip * b1)
  # 1 - E1 and 1 - cos(a) are small differences, whose digits the equation as
  # written loses at 1°. expm1 and 2 sin²(a/2) keep them.
  recovered = -jnp.expm1(-tr / t1)
  tipped = 2.0 * jnp.sin(a / 2.0) ** 2
  steady = recovered / (recovered + (1.0 - recovered) * tipped)
  return m0 * jnp.sin(a) * steady
