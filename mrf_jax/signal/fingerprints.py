"""Fingerprints: simulated signal evolutions, and their derivatives."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Inexact

from mrf_jax.checks import check_at_least
from mrf_jax.errors import UserError
from mrf_jax.runtime.threads import map_threads
from mrf_jax.sequence.sequence import Sequence, make_sequence
from mrf_jax.signal.bloch import balanced_echoes
from mrf_jax.signal.epg import gradient_spoiled_echoes
from mrf_jax.signal.slice_profile import SliceProfile, sinc_slice_profile
from mrf_jax.signal.states import StateTable, exact_states

# Atoms of one compiled call, and of one block in it. On a CPU the states of a
# block stay in the cache, and XLA does not spread a call of 256 over threads of
# its own, for which ours would wait. An accelerator needs more atoms at once.
_CPU_CALL, _CPU_BLOCK = 256, 64
_ACCELERATOR_CALL = 32768
# Largest truncation error of an atom, relative to its largest echo.
TOLERANCE = 1e-4


class _Atoms(NamedTuple):
  """Parameters of all atoms, [atom] each, of the type of the arithmetic."""

  t1_ms: np.ndarray
  t2_ms: np.ndarray
  b1: np.ndarray
  off_resonance_hz: np.ndarray


def simulate_fingerprints(
  sequence: Sequence,
  t1_ms,
  t2_ms,
  *,
  b1=1.0,
  off_resonance_hz=0.0,
  slice_profile: SliceProfile | None = None,
  n_states: int | None = None,
  tolerance: float = TOLERANCE,
  dtype=np.float32,
  keep_real: bool = False,
  is_tissue: bool = True,
  text: str | None = None,
) -> Inexact[np.ndarray, "voxel frame"]:
  """Signal evolution of each voxel, from equilibrium magnetisation one.

  Gradient-spoiled sequences by extended phase graphs, balanced ones by Bloch's
  equations. In float32 the echoes are within 1e-6 of float64 at T2 below
  400 ms and within 3e-6 up to 2500 ms (720 frames of `tailored`, largest echo
  about 0.3).

  Args:
    sequence: the pulse sequence.
    t1_ms: longitudinal relaxation times, [voxel], ms.
    t2_ms: transverse relaxation times, [voxel] or scalar, ms.
    b1: factors on the flip angles, [voxel] or scalar.
    off_resonance_hz: offsets of the Larmor frequency, [voxel] or scalar, Hz.
    slice_profile: sub-slices whose signals are added; None is that of the
      sequence's pulses, if it states them, else an ideal slice.
    n_states: configuration orders kept, counting order 0; None chooses them
      by T2.
    tolerance: bound on the truncation error if `n_states` is None, relative to
      the largest echo of the voxel.
    dtype: of the arithmetic, float32 or float64.
    keep_real: whether to return real numbers if all pulses share one phase and
      no voxel is off resonance.
    is_tissue: whether T2 > T1, which no tissue has, is an error; nodes of an
      interpolation may have it.
    text: label of the progress bar; None shows none.

  Returns:
    Echoes demodulated by the phase of their own pulse, [voxel, frame], complex
    unless `keep_real`.

  Raises:
    UserError: a relaxation time is not positive and finite, or T2 > T1; the
      error names field, voxel and value.
  """
  atoms = _checked_atoms(
    t1_ms,
    t2_ms,
    b1,
    off_resonance_hz,
    n_states,
    dtype,
    is_tissue=is_tissue,
  )
  simulate = functools.partial(
    _run,
    _echoes_of_call,
    1,
    sequence,
    n_states=n_states,
    tolerance=tolerance,
    text=text,
  )
  profile = slice_profile or _profile_of(sequence)
  if profile is None:
    (echoes,) = simulate(atoms)
  else:
    (echoes,) = _sum_of_sub_slices(simulate, atoms, profile)
  if keep_real:
    return echoes
  return echoes.astype(np.result_type(echoes.dtype, np.complex64))


def _profile_of(sequence: Sequence) -> SliceProfile | None:
  """That of the sequence's pulses, or None for an ideal slice."""
  product = sequence.slice_time_bandwidth
  if product is None:
    return None
  return sinc_slice_profile(time_bandwidth=product)


def _sum_of_sub_slices(
  simulate: Callable[[_Atoms], np.ndarray], atoms: _Atoms, profile: SliceProfile
) -> np.ndarray:
  """S = Σ w_i S(f_i B1) with weight w_i and flip factor f_i of sub-slice i.

  Returns:
    The signals, and their derivatives by T1, T2 and B1 if `simulate` has them,
    [result, atom, frame].
  """
  total = None
  for factor, weight in zip(profile.flip_factors, profile.weights, strict=True):
    number = atoms.b1.dtype.type
    part = simulate(atoms._replace(b1=atoms.b1 * number(factor)))
    part *= number(weight)
    # By B1, of which each sub-slice sees a share.
    part[3:] *= number(factor)
    total = part if total is None else total + part
  assert total is not None
  return total


@dataclasses.dataclass(frozen=True)
class FingerprintDerivatives:
  """Fingerprints and their derivatives.

  Attributes:
    signals: echoes, [voxel, frame], real if all pulses share one phase and no
      voxel is off resonance.
    by_t1_ms: derivative with respect to T1, [voxel, frame], 1/ms.
    by_t2_ms: derivative with respect to T2, [voxel, frame], 1/ms.
    by_b1: derivative with respect to the factor on the flip angles,
      [voxel, frame]; None if it was not asked for.
  """

  signals: np.ndarray
  by_t1_ms: np.ndarray
  by_t2_ms: np.ndarray
  by_b1: np.ndarray | None


def fingerprint_derivatives(
  sequence: Sequence,
  t1_ms,
  t2_ms,
  *,
  b1=1.0,
  off_resonance_hz=0.0,
  n_states: int | None = None,
  tolerance: float = TOLERANCE,
  dtype=np.float32,
  with_b1: bool = True,
) -> FingerprintDerivatives:
  """Fingerprints with exact derivatives, by forward-mode differentiation.

  The arguments are those of `simulate_fingerprints`; `tolerance` bounds the
  error of the signals. `with_b1` tells whether the derivative with respect to
  B1, a fifth of the time, is computed.

  Returns:
    Signals and derivatives.

  Raises:
    UserError: see `simulate_fingerprints`.
  """
  atoms = _checked_atoms(t1_ms, t2_ms, b1, off_resonance_hz, n_states, dtype)
  count = 3 if with_b1 else 2
  simulate = functools.partial(
    _run,
    functools.partial(_derivatives_of_call, count=count),
    1 + count,
    sequence,
    n_states=n_states,
    tolerance=tolerance,
  )
  profile = _profile_of(sequence)
  if profile is None:
    results = simulate(atoms)
  else:
    results = _sum_of_sub_slices(simulate, atoms, profile)
  return FingerprintDerivatives(*results, *[None] * (3 - count))


def _echoes_of_call(sequence, t1, t2, b1, offset, *, n_states, real, **blocks):
  """The echoes of one compiled call, [1, atom, frame]."""
  atoms = (t1, t2, b1, offset)
  if sequence.balanced:
    return balanced_echoes(sequence, *atoms, **blocks)[None]
  return gradient_spoiled_echoes(
    sequence, *atoms, n_states=n_states, real=real, **blocks
  )[None]


@functools.partial(
  jax.jit, static_argnames=("count", "n_states", "real", "block")
)
def _derivatives_of_call(sequence, t1, t2, b1, offset, *, count, **options):
  """Echoes and derivatives by the first `count` of T1, T2, B1, a row each.

  Returns:
    [1 + count, atom, frame].
  """
  at = (t1, t2, b1)

  def echoes(*first):
    t1, t2, b1 = (*first, *at[count:])
    return _echoes_of_call(sequence, t1, t2, b1, offset, **options)[0]

  def along(*tangents):
    return jax.jvp(echoes, at[:count], tangents)

  basis = jnp.eye(count, dtype=t1.dtype)[:, :, None]
  tangents = jnp.broadcast_to(basis, (count, count, t1.size))
  # The echoes are those of all directions, and computed once.
  values, derivatives = jax.vmap(along, out_axes=(None, 0))(*tangents)
  return jnp.concatenate([values[None], derivatives])


def _checked_atoms(
  t1_ms, t2_ms, b1, off_resonance_hz, n_states, dtype, *, is_tissue=True
) -> _Atoms:
  """The parameters of every atom, of one type and shape."""
  where = "simulate_fingerprints"
  if n_states is not None:
    check_at_least(f"{where}: n_states", n_states, 2)
  if dtype not in (np.float32, np.float64):
    raise UserError(f"{where}: dtype is {dtype}, not float32 or float64")
  given = [
    np.atleast_1d(np.asarray(x, dtype))
    for x in (t1_ms, t2_ms, b1, off_resonance_hz)
  ]
  try:
    atoms = _Atoms(*np.broadcast_arrays(*given))
  except ValueError as error:
    shapes = ", ".join(str(x.shape) for x in given)
    raise UserError(
      f"{where}: t1_ms, t2_ms, b1 and off_resonance_hz have shapes {shapes}"
    ) from error
  t1, t2, factor, offset = atoms
  if t1.ndim != 1:
    raise UserError(f"{where}: t1_ms has shape {t1.shape}, not [voxel]")
  for name, values, bad, why in (
    ("t1_ms", t1, ~(np.isfinite(t1) & (t1 > 0)), "not positive and finite"),
    ("t2_ms", t2, ~(np.isfinite(t2) & (t2 > 0)), "not positive and finite"),
    ("t2_ms", t2, is_tissue & (t2 > t1), "longer than its t1_ms"),
    ("b1", factor, ~np.isfinite(factor), "not finite"),
    ("off_resonance_hz", offset, ~np.isfinite(offset), "not finite"),
  ):
    if bad.any():
      voxel = int(np.argmax(bad))
      raise UserError(f"{where}: {name}[{voxel}] is {values[voxel]:g}, {why}")
  return atoms


def _run(
  function, n_results, sequence, atoms, *, n_states, tolerance, text=None
) -> np.ndarray:
  """Results of a compiled function for all atoms, [result, atom, frame]."""
  t1, _, b1, offset = atoms
  n_atoms = t1.size
  real = sequence.has_real_echoes and not np.any(offset)
  on_cpu = jax.default_backend() == "cpu"
  size = _CPU_CALL if on_cpu else _ACCELERATOR_CALL
  block = _CPU_BLOCK if on_cpu else size
  dtype = t1.dtype if real else np.result_type(t1.dtype, np.complex64)
  results = np.empty((n_results, n_atoms, sequence.n_frames), dtype)
  # With one B1 for all atoms, sine and cosine are not computed for each.
  same_b1 = function is _echoes_of_call and bool(np.all(b1 == b1[:1]))

  def simulate(call: tuple[np.ndarray, int]) -> None:
    rows, states = call
    # The last call is padded by repetition, so that one program serves all,
    # and its blocks of nothing else are left out.
    padded = np.resize(rows, size)
    columns = atoms._make(column[padded] for column in atoms)
    if same_b1:
      columns = columns._replace(b1=b1[:1])
    # Double precision is switched on for this thread only.
    wide = t1.dtype == np.float64
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
      values = function(
        sequence,
        *columns,
        n_states=states,
        real=real,
        block=block,
        n_blocks=np.int32(-(-rows.size // block)),
      )
      # Rows that follow each other are copied as a slice, without the
      # interpreter's lock.
      first, last = rows[0], rows[-1]
      is_slice = last - first + 1 == rows.size
      target = slice(first, last + 1) if is_slice else rows
      results[:, target] = np.asarray(values)[:, : rows.size]

  counts = state_counts(sequence, atoms.t2_ms, n_states, tolerance)
  map_threads(simulate, _calls(counts, size), text=text)
  return results


def state_counts(
  sequence: Sequence, t2_ms, n_states: int | None, tolerance: float
) -> np.ndarray:
  """Configuration orders that each atom is simulated with, [atom].

  Args:
    sequence: the pulse sequence.
    t2_ms: transverse relaxation times, [atom], ms.
    n_states: of all atoms; None chooses them by T2.
    tolerance: see `simulate_fingerprints`.
  """
  if sequence.balanced:
    return np.zeros(t2_ms.size, int)
  if n_states is not None:
    return np.full(t2_ms.size, min(n_states, exact_states(sequence)))
  return _state_table(_as_key(sequence), tolerance).needed(t2_ms)


def _calls(counts: np.ndarray, size: int) -> list[tuple[np.ndarray, int]]:
  """The atoms of each compiled call, and the state count that they share.

  The first call of each count comes first: threads compile different programs
  beside each other, where they would wait for one.
  """
  calls = []
  for states in np.unique(counts)[::-1]:
    rows = np.flatnonzero(counts == states)
    calls += [
      (start, rows[start : start + size], int(states))
      for start in range(0, rows.size, size)
    ]
  calls.sort(key=lambda call: call[0] > 0)
  return [(rows, states) for _, rows, states in calls]


def _as_key(sequence: Sequence) -> tuple:
  """The fields of a sequence as a key of the cache."""
  return tuple(
    (name, tuple(value) if isinstance(value, np.ndarray) else value)
    for name, value in vars(sequence).items()
  )


@functools.lru_cache(maxsize=32)
def _state_table(key: tuple, tolerance: float) -> StateTable:
  """The state counts of a sequence, computed once."""
  sequence = make_sequence(**dict(key))

  def simulate(t1_ms, t2_ms, b1, n_states):
    return simulate_fingerprints(
      sequence, t1_ms, t2_ms, b1=b1, n_states=n_states, keep_real=True
    )

  return StateTable(sequence, tolerance=tolerance, simulate=simulate)
