"""Fast spin echo signal, with refocusing pulses of any flip angle."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mrf_jax.errors import UserError


def fast_spin_echo_signal(
  m0,
  t1_ms,
  t2_ms,
  *,
  echo_spacing_ms: float,
  n_echoes: int,
  tr_ms: float,
  flip_angle_deg: float = 90.0,
  refocusing_deg: float = 180.0,
  b1=1.0,
) -> Float[Array, "voxel echo"]:
  """Echo magnitudes of a CPMG echo train in its steady state.

  An extended phase graph in steps of half an echo spacing (Hennig 1988): below
  180°, or if B1 is not one, stimulated echoes bring T1 into the echoes and
  lengthen the apparent T2. Transverse magnetisation is spoiled at the end of
  each repetition, and longitudinal magnetisation is that of the steady state.

  Args:
    m0: equilibrium magnetisation, [voxel], arbitrary units.
    t1_ms: longitudinal relaxation times, [voxel], ms.
    t2_ms: transverse relaxation times, [voxel], ms.
    echo_spacing_ms: time from one echo to the next, ms.
    n_echoes: length of the echo train.
    tr_ms: time between excitations, ms.
    flip_angle_deg: nominal excitation angle, degrees.
    refocusing_deg: nominal refocusing angle, degrees.
    b1: factor on all flip angles, [voxel] or scalar.

  Returns:
    Magnitudes at 1, 2, … n_echoes spacings, in units of `m0`.

  Raises:
    UserError: the echo train does not fit into TR.
  """
  if not 0 < n_echoes * echo_spacing_ms < tr_ms:
    raise UserError(
      f"fast spin echo: {n_echoes} echoes of {echo_spacing_ms:g} ms do not "
      f"fit into a TR of {tr_ms:g} ms"
    )
  columns = (jnp.asarray(x, jnp.float32) for x in (m0, t1_ms, t2_ms, b1))
  return _signal(
    *jnp.broadcast_arrays(*columns),
    *(jnp.float32(x) for x in (echo_spacing_ms, tr_ms)),
    *(jnp.deg2rad(jnp.float32(x)) for x in (flip_angle_deg, refocusing_deg)),
    n_echoes=n_echoes,
  )


@functools.partial(jax.jit, static_argnames="n_echoes")
def _signal(m0, t1, t2, b1, spacing, tr, flip, refocusing, *, n_echoes):
  """Echo magnitudes, [voxel, echo], of arguments in ms and radians."""
  echo_train = functools.partial(
    _echo_train, t1, t2, spacing, flip * b1, refocusing * b1, n_echoes
  )
  # Echoes and Mz after the last one are affine functions of the Mz before the
  # excitation, which two of its values determine.
  echoes_from_0, mz_from_0 = echo_train(jnp.zeros_like(t1))
  echoes_from_1, mz_from_1 = echo_train(jnp.ones_like(t1))
  # Steady state: Mz = 1 − E + E (mz_from_0 + (mz_from_1 − mz_from_0) Mz), with
  # E of the time from the last echo to the next excitation.
  e1 = jnp.exp(-(tr - n_echoes * spacing) / t1)
  slope = e1 * (mz_from_1 - mz_from_0)
  steady = (1 - e1 + e1 * mz_from_0) / (1 - slope)
  echoes = echoes_from_0 + (echoes_from_1 - echoes_from_0) * steady[None]
  return jnp.abs(m0[None] * echoes).T


def _echo_train(t1, t2, spacing, flip, refocusing, n_echoes, mz):
  """Echoes [echo, voxel], and Mz after the last, from Mz before excitation."""
  n_states = n_echoes + 1  # higher orders do not return to order 0 in time
  e1, e2 = jnp.exp(-spacing / 2 / t1), jnp.exp(-spacing / 2 / t2)
  c, s = jnp.cos(refocusing), jnp.sin(refocusing)
  f = jnp.zeros((2 * n_states - 1, *t1.shape), jnp.complex64)
  z = jnp.zeros((n_states, *t1.shape), jnp.complex64)
  f = f.at[n_states - 1].set(mz * jnp.sin(flip))
  z = z.at[0].set(mz * jnp.cos(flip))

  def half_spacing(f, z):
    f = jnp.concatenate([jnp.zeros_like(f[:1]), f[:-1]]) * e2[None]
    return f, (z * e1[None]).at[0].add(1 - e1)

  def refocus(f, z):
    # About the axis of the excited magnetisation (Meiboom and Gill 1958): the
    # pulse of `epg.py` with a phase of 90°.
    mirrored = jnp.conj(f[::-1])
    z_line = jnp.concatenate([jnp.conj(z[:0:-1]), z])
    mixed = (f - mirrored)[n_states - 1 :]
    z = c[None] * z + 0.5j * s[None] * mixed
    f = (1 + c[None]) / 2 * f + (1 - c[None]) / 2 * mirrored
    return f + 1j * s[None] * z_line, z

  def echo(states, _):
    states = half_spacing(*refocus(*half_spacing(*states)))
    return states, states[0][n_states - 1]

  (_, z), echoes = jax.lax.scan(echo, (f, z), None, length=n_echoes)
  return echoes, z[0].real
