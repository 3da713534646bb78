"""Extended phase graphs of gradient-spoiled sequences, compiled."""

import functools
import operator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int32

from mrf_jax.sequence.sequence import Sequence
from mrf_jax.signal.blocks import map_blocks
from mrf_jax.signal.preparation import prepared_magnetisation

# Parts of a sequence with a state count of their own, of atoms of many states.
_N_PARTS, _LEAST_STATES = 6, 96


@functools.partial(jax.jit, static_argnames=("n_states", "real", "block"))
def gradient_spoiled_echoes(
  sequence: Sequence,
  t1_ms: Float[Array, "atom"],
  t2_ms: Float[Array, "atom"],
  b1: Float[Array, "atom"] | Float[Array, "1"],
  off_resonance_hz: Float[Array, "atom"],
  *,
  n_states: int,
  real: bool,
  block: int,
  n_blocks: Int32[Array, ""] | None = None,
) -> Float[Array, "atom frame"] | Complex[Array, "atom frame"]:
  """Echoes of a gradient-spoiled sequence (Weigel 2015, eq. 15-27).

  Atoms are computed in blocks whose states stay in a processor's cache; the
  result does not depend on the block.

  Args:
    sequence: the pulse sequence.
    t1_ms: longitudinal relaxation times, ms; the type of the arithmetic.
    t2_ms: transverse relaxation times, ms.
    b1: factors on the flip angles; a single one for all atoms is faster.
    off_resonance_hz: offsets of the Larmor frequency, Hz; not used if `real`.
    n_states: configuration orders kept, counting order zero.
    real: whether all pulses share one phase and no atom is off resonance, so
      that real arithmetic is enough, which takes a third of the time.
    block: atoms computed at once; divides the number of atoms.
    n_blocks: see `map_blocks`.

  Returns:
    Echo of each frame, demodulated by the phase of its pulse.
  """
  return map_blocks(
    lambda *atoms: _echoes_of_block(
      sequence, *atoms, n_states=n_states, real=real
    ),
    (t1_ms, t2_ms, b1, off_resonance_hz),
    block=block,
    n_blocks=n_blocks,
  )


def _echoes_of_block(
  sequence, t1_ms, t2_ms, b1, off_resonance_hz, *, n_states, real
):
  """Echoes of one block, [frame, atom].

  States F_k (transverse) and Z_k (longitudinal) of order k are stored in the
  rotating frame of the current pulse, in which the pulse is a real matrix, with
  c = cos a and s = sin a of its flip angle a:

    F'_k = (1 + c)/2 F_k − (1 − c)/2 F*_-k + s Z_k
    Z'_k = c Z_k − s/2 (F_k + F*_-k)

  From pulse to pulse the frame turns by the difference of the pulse phases. The
  transverse states of both signs are one array F_-(n-1) … F_(n-1), on which
  the spoiler gradient is a shift by one.
  """
  dtype = t1_ms.dtype
  flips = jnp.deg2rad(jnp.asarray(sequence.flip_angles_deg, dtype))
  tr_ms = jnp.asarray(sequence.tr_ms, dtype)[:, None]
  te_ms = jnp.asarray(sequence.te_ms, dtype)[:, None]

  angle = flips[:, None] * b1[None]  # [frame, atom], or [frame, 1]
  c, s = jnp.cos(angle), jnp.sin(angle)
  e1, e2 = jnp.exp(-tr_ms / t1_ms[None]), jnp.exp(-tr_ms / t2_ms[None])
  # The barrier keeps these out of the scan, where XLA would evaluate them for
  # each state of an atom (several times the speed on a CPU).
  per_frame = jax.lax.optimization_barrier(
    ((1 + c) / 2, (1 - c) / 2, c, s, e1, e2, 1 - e1)
  )
  turns = None
  if not real:
    phases = jnp.deg2rad(jnp.asarray(sequence.rf_phases_deg, dtype))
    cycles = off_resonance_hz[None] * tr_ms / 1000  # during one repetition
    # Phase in the frame of the next pulse; the last frame needs none.
    turned = (phases - jnp.roll(phases, -1))[:, None] + 2 * jnp.pi * cycles
    turns = jnp.exp(1j * turned)

  def excite_and_relax(states, frame):
    f, z = states
    n_states = len(z)
    middle = slice(n_states - 1, n_states)  # F_0 in the array
    order_zero = jnp.zeros((n_states, 1), dtype).at[0].set(1)
    per_atom, turn = frame
    cos2, sin2, c, s, e1, e2, recovery = (x[None] for x in per_atom)
    mirrored = f[::-1] if real else jnp.conj(f[::-1])
    z_mirrored = z[:0:-1] if real else jnp.conj(z[:0:-1])
    z_line = jnp.concatenate([z_mirrored, z])
    # The echo is F'_0, computed again: read from `excited`, it would make XLA
    # store all of that, at half the speed.
    echo = cos2 * f[middle] - sin2 * mirrored[middle] + s * z[:1]
    excited = cos2 * f - sin2 * mirrored + s * z_line
    z = c * z - s / 2 * (f[n_states - 1 :] + mirrored[n_states - 1 :])
    z = z * e1 + order_zero * recovery
    relaxed = excited * e2 if real else excited * (e2 * turn[None])
    f = jnp.concatenate([jnp.zeros_like(f[:1]), relaxed[:-1]])
    return (f, z), echo[0]

  states_type = dtype if real else jnp.result_type(dtype, jnp.complex64)
  f = jnp.zeros((1, *t1_ms.shape), states_type)
  z = prepared_magnetisation(sequence, t1_ms, t2_ms).astype(states_type)[None]
  parts = []
  for start, stop, count in _parts(sequence.n_frames, n_states):
    own = operator.itemgetter(slice(start, stop))
    frames = jax.tree.map(own, (per_frame, turns))
    states = _of_orders(f, 2 * count - 1), _of_orders(z, count, is_signed=False)
    (f, z), part = jax.lax.scan(excite_and_relax, states, frames)
    parts.append(part)
  echoes = jnp.concatenate(parts)
  decay = jnp.exp(-te_ms / t2_ms[None])
  if real:
    return echoes * decay
  phase = 2 * jnp.pi * off_resonance_hz[None] * te_ms / 1000
  return echoes * decay * jnp.exp(1j * phase)


def _parts(n_frames: int, n_states: int) -> list[tuple[int, int, int]]:
  """First frame, end, and state count of parts of a sequence.

  Order k is reached after k pulses, and needs k more to return to an echo: at
  the start and the end of a sequence a part of the states is enough.
  """
  # Each part is one more loop to compile.
  size = n_frames if n_states < _LEAST_STATES else -(-n_frames // _N_PARTS)
  parts: list[tuple[int, int, int]] = []
  for start in range(0, n_frames, size):
    stop = min(start + size, n_frames)
    count = max(2, min(n_states, stop + 1, n_frames - start))
    if parts and parts[-1][2] == count:
      parts[-1] = (parts[-1][0], stop, count)
    else:
      parts.append((start, stop, count))
  return parts


def _of_orders(states, size: int, *, is_signed: bool = True):
  """States of more orders, which are zero, or of fewer.

  Those of both signs have order zero in the middle, others at the start.
  """
  missing = size - len(states)
  before = missing // 2 if is_signed else 0
  if missing < 0:
    return states[-before : size - before]
  return jnp.pad(states, ((before, missing - before), (0, 0)))
