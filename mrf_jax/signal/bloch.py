"""Bloch simulation of balanced sequences (bSSFP): one spin a voxel."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int32

from mrf_jax.sequence.sequence import Sequence
from mrf_jax.signal.blocks import map_blocks
from mrf_jax.signal.preparation import prepared_magnetisation


@functools.partial(jax.jit, static_argnames="block")
def balanced_echoes(
  sequence: Sequence,
  t1_ms: Float[Array, "atom"],
  t2_ms: Float[Array, "atom"],
  b1: Float[Array, "atom"] | Float[Array, "1"],
  off_resonance_hz: Float[Array, "atom"],
  *,
  block: int,
  n_blocks: Int32[Array, ""] | None = None,
) -> Complex[Array, "atom frame"]:
  r"""Echoes of a sequence whose gradients are rewound in each repetition.

  Without dephasing by gradients a voxel is one magnetisation vector M = (x, y,
  z). Bloch's equations are solved exactly: the pulse of a frame rotates M about
  the y axis by its flip angle a, and until the next pulse

  .. math::

    x + i y \leftarrow E_2 e^{i \varphi} (x + i y), \quad
    z \leftarrow E_1 z + 1 - E_1,

  where φ is the phase from off-resonance and from the step of the pulse phases.
  Arguments are as in `epg.gradient_spoiled_echoes`.
  """
  return map_blocks(
    lambda *atoms: _echoes_of_block(sequence, *atoms),
    (t1_ms, t2_ms, b1, off_resonance_hz),
    block=block,
    n_blocks=n_blocks,
  )


def _echoes_of_block(sequence, t1_ms, t2_ms, b1, off_resonance_hz):
  """Echoes of one block, [frame, atom], in the frame of each pulse."""
  dtype = t1_ms.dtype
  flips = jnp.deg2rad(jnp.asarray(sequence.flip_angles_deg, dtype))
  phases = jnp.deg2rad(jnp.asarray(sequence.rf_phases_deg, dtype))
  tr_ms = jnp.asarray(sequence.tr_ms, dtype)[:, None]
  te_ms = jnp.asarray(sequence.te_ms, dtype)[:, None]
  angle = flips[:, None] * b1[None]  # [frame, atom], or [frame, 1]
  omega = 2 * jnp.pi * off_resonance_hz[None] / 1000  # radians per ms
  turned = (phases - jnp.roll(phases, -1))[:, None] + omega * tr_ms
  e1, e2 = jnp.exp(-tr_ms / t1_ms[None]), jnp.exp(-tr_ms / t2_ms[None])
  per_frame = jax.lax.optimization_barrier(
    (
      jnp.cos(angle),
      jnp.sin(angle),
      e1,
      1 - e1,
      e2 * jnp.cos(turned),
      e2 * jnp.sin(turned),
    )
  )

  def excite_and_relax(magnetisation, frame):
    x, y, z = magnetisation
    c, s, e1, recovery, e2_cos, e2_sin = frame
    x, z = c * x + s * z, c * z - s * x
    after = (e2_cos * x - e2_sin * y, e2_sin * x + e2_cos * y)
    return (*after, e1 * z + recovery), (x, y)

  zeros = jnp.zeros_like(t1_ms)
  start = (zeros, zeros, prepared_magnetisation(sequence, t1_ms, t2_ms))
  _, (x, y) = jax.lax.scan(excite_and_relax, start, per_frame)
  decay = jnp.exp(-te_ms / t2_ms[None])
  return jax.lax.complex(x, y) * decay * jnp.exp(1j * omega * te_ms)
