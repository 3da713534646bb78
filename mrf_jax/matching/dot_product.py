"""Dictionary matching: the atom of the largest inner product (Ma 2013)."""

import collections
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Complex64, Float32, Int32

from mrf_jax.dataset.standardise import usual_gain
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.matching.dictionary import Dictionary
from mrf_jax.runtime.precision import PRECISIONS, check_precision
from mrf_jax.sequence.sliding_window import how_to_make_windows

# Voxels and atoms of a tile of the similarity matrix, of which only tiles are
# in memory. On a CPU a tile stays in the caches from its product to its maxima.
_CPU_TILE = (512, 1024)
_ACCELERATOR_TILE = (4096, 4096)
# Bytes of atoms on the device at once, which matching needs besides its inputs.
_CPU_CHUNK_BYTES = 2**26
_ACCELERATOR_CHUNK_BYTES = 2**30


def match(
  dictionary: Dictionary, signals, *, precision: str = "float32"
) -> Maps:
  r"""Maps of the atoms that match best.

  The best atom d of a signal s, and its proton density, are

  .. math::

    \hat d = \arg\max_d |\langle d, s \rangle|, \quad
    \mathrm{PD} = \frac{|\langle \hat d, s \rangle|}{n},

  with the norm n of the atom before its normalisation; a signal of zeros has PD
  zero.

  Args:
    dictionary: full or compressed.
    signals: fingerprints of the same window, complex [voxel, frame].
    precision: of the products, one of `PRECISIONS`.

  Returns:
    Maps, [voxel] each.

  Raises:
    UserError: the number of frames differs, signals are not finite, or the
      precision is unknown.
  """
  signals, gain = usual_scale(signals)
  best, score = best_atoms(dictionary, signals, precision=precision)
  return maps_of(dictionary, best, score / gain)


def usual_scale(signals) -> tuple[np.ndarray, float]:
  """Signals whose squares float32 can hold, and the factor they were given."""
  signals = np.asarray(signals)
  gain = usual_gain(signals) if signals.ndim == 2 else 1.0
  return (signals, 1.0) if gain == 1.0 else (signals * np.float32(gain), gain)


def maps_of(dictionary: Dictionary, best, score) -> Maps:
  """Maps of the atoms that were chosen, with their scores |⟨atom, signal⟩|."""
  return Maps(
    pd=score / np.asarray(dictionary.norms)[best],
    t1_ms=np.asarray(dictionary.t1_ms)[best],
    t2_ms=np.asarray(dictionary.t2_ms)[best],
  )


def best_atoms(
  dictionary: Dictionary,
  signals,
  *,
  precision: str = "float32",
  voxel_block: int | None = None,
  atom_block: int | None = None,
  chunk_bytes: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Index and score |⟨atom, signal⟩| of each voxel's best atom.

  Args:
    dictionary: full or compressed.
    signals: complex [voxel, frame].
    precision: of the products, one of `PRECISIONS`.
    voxel_block: voxels of one compiled call; None depends on the device, also
      in the following.
    atom_block: atoms whose scores are computed at once in a call.
    chunk_bytes: bytes of atoms that are on the device at once.

  Returns:
    Atom indices [voxel] and scores [voxel]; of equal scores the first atom.

  Raises:
    UserError: the number of frames differs, signals are not finite, or the
      precision is unknown.
  """
  check_precision(precision)
  signals = check_signals(dictionary, signals)
  on_cpu = jax.default_backend() == "cpu"
  tile = _CPU_TILE if on_cpu else _ACCELERATOR_TILE
  voxel_block, atom_block = voxel_block or tile[0], atom_block or tile[1]
  if chunk_bytes is None:
    chunk_bytes = _CPU_CHUNK_BYTES if on_cpu else _ACCELERATOR_CHUNK_BYTES
  best = np.zeros(len(signals), np.int32)
  squared = np.full(len(signals), -1, np.float32)
  voxel_block = min(voxel_block, max(1, len(signals)))
  for first, atoms in _chunks(dictionary.atoms, chunk_bytes):
    search = functools.partial(
      _match_block,
      atoms,
      dictionary.basis,
      np.int32(first),
      atom_block=_even(len(atoms), atom_block),
      precision=precision,
    )
    for rows, (atom, score, is_finite) in _blockwise(
      search, voxel_block, signals, best, squared
    ):
      if not is_finite:
        raise not_finite(signals)
      n_rows = len(best[rows])
      best[rows], squared[rows] = atom[:n_rows], score[:n_rows]
    # Before the next atoms are on the device.
    del atoms, search
  return best, np.sqrt(squared)


def check_signals(dictionary: Dictionary, signals) -> np.ndarray:
  """Signals as an array; `UserError` if they lack the dictionary's frames."""
  signals = np.asarray(signals)
  basis = dictionary.basis
  frames = dictionary.atoms.shape[1] if basis is None else len(basis)
  if signals.ndim != 2 or signals.shape[1] != frames:
    message = (
      f"match: signals have shape {signals.shape}, the dictionary needs "
      f"[voxel, {frames}]"
    )
    if (dictionary.window, dictionary.stride) != (1, 1):
      how = how_to_make_windows(dictionary.window, dictionary.stride)
      message += f"; {how}"
    raise UserError(message)
  return signals


def real_signals(signals, basis, *, is_complex: bool, precision: str):
  """Real rows whose products with real atoms are the parts of ⟨atom, signal⟩.

  A real dictionary needs two real products, of the signal's real and imaginary
  part. A complex one has twice the columns: real parts, then imaginary parts.

  Returns:
    The rows of all real parts, then of all imaginary parts, [2 voxel, column],
    of signals that are projected on the basis, if there is one.
  """
  products = PRECISIONS[precision].products
  if is_complex:
    if basis is not None:
      basis = basis.astype(signals.dtype)
      signals = jnp.matmul(signals, basis, precision=products)
    real, imag = signals.real, signals.imag
    return jnp.concatenate(
      [
        jnp.concatenate([real, imag], 1),
        jnp.concatenate([imag, -real], 1),
      ]
    )
  rows = jnp.concatenate([signals.real, signals.imag])
  if basis is None:
    return rows
  return jnp.matmul(rows, basis.astype(rows.dtype), precision=products)


def best_of_tile(
  rows: Float32[Array, "row column"],
  atoms: Float32[Array, "atom column"],
  *,
  precision: str,
) -> tuple[Float32[Array, "voxel"], Int32[Array, "voxel"]]:
  """Highest |⟨atom, signal⟩|² of each voxel, and the first atom that has it.

  Rows and atoms are those of `real_signals` and `real_atoms`.
  """
  dtype, products = PRECISIONS[precision]
  n_voxels = len(rows) // 2
  parts = jnp.matmul(
    rows.astype(dtype),
    atoms.astype(dtype).T,
    precision=products,
    preferred_element_type=jnp.float32,
  )
  squared = parts[:n_voxels] ** 2 + parts[n_voxels:] ** 2
  highest = jnp.max(squared, axis=1)
  # `argmax` is a loop over single numbers on a CPU; two plain reductions take a
  # third of the time.
  numbers = lax.broadcasted_iota(jnp.int32, squared.shape, 1)
  is_highest = squared == highest[:, None]
  index = jnp.min(jnp.where(is_highest, numbers, atoms.shape[0] - 1), axis=1)
  return highest, index


@functools.partial(jax.jit, static_argnames=("atom_block", "precision"))
def _match_block(
  atoms: Float32[Array, "atom column"],
  basis: Array | None,
  first: Int32[Array, ""] | np.int32,
  signals: Complex64[Array, "voxel frame"],
  best: Int32[Array, "voxel"],
  squared: Float32[Array, "voxel"],
  *,
  atom_block: int,
  precision: str,
) -> tuple[Int32[Array, "voxel"], Float32[Array, "voxel"], Bool[Array, ""]]:
  """Best atoms and squared scores of all so far, and whether all is finite."""
  n_atoms, n_columns = atoms.shape
  n_frames = signals.shape[1] if basis is None else basis.shape[1]
  rows = real_signals(
    signals, basis, is_complex=n_columns > n_frames, precision=precision
  )

  def score_block(i, so_far):
    best, squared = so_far
    # The last block ends with the last atom, and repeats some without effect.
    start = jnp.minimum(i * atom_block, n_atoms - atom_block)
    block = lax.dynamic_slice_in_dim(atoms, start, atom_block)
    highest, index = best_of_tile(rows, block, precision=precision)
    better = highest > squared
    return (
      jnp.where(better, first + start + index, best),
      jnp.where(better, highest, squared),
    )

  n_blocks = -(-n_atoms // atom_block)
  best, squared = lax.fori_loop(0, n_blocks, score_block, (best, squared))
  return best, squared, jnp.isfinite(rows).all()


def _chunks(atoms, chunk_bytes: int) -> Iterator[tuple[int, Array]]:
  """Parts of the atoms as real numbers on the device, all of one size.

  Yields:
    The number of the first atom, and the atoms, [atom, column].
  """
  size = max(1, chunk_bytes // (atoms.shape[1] * atoms.dtype.itemsize))
  size = _even(len(atoms), size)
  for start in range(0, len(atoms), size):
    first = min(start, len(atoms) - size)
    yield first, real_atoms(jnp.asarray(atoms[first : first + size]))


def _even(total: int, most: int) -> int:
  """Size of equal parts, so that the last one repeats little."""
  size = -(-total // -(-total // most))
  return min(total, most, -(-size // 64) * 64)


def real_atoms(atoms):
  """Real atoms unchanged, complex ones as real parts, then imaginary parts."""
  if jnp.iscomplexobj(atoms):
    return jnp.concatenate([atoms.real, atoms.imag], 1)
  return atoms


def _blockwise(function, size: int, *arrays: np.ndarray):
  """Results of a compiled function for blocks of rows.

  The next call is started before the results of a call are copied.

  Yields:
    The rows and the results, on the host.
  """
  n_rows = len(arrays[0])
  pending: collections.deque = collections.deque()
  for start in range(0, n_rows, size):
    rows = slice(start, min(start + size, n_rows))
    blocks = [array[rows] for array in arrays]
    if (missing := start + size - n_rows) > 0:
      # The last block repeats its last row.
      blocks = [
        np.pad(b, [(0, missing)] + [(0, 0)] * (b.ndim - 1), "edge")
        for b in blocks
      ]
    pending.append((rows, function(*blocks)))
    if len(pending) > 1:
      done, results = pending.popleft()
      yield done, [np.asarray(x) for x in results]
  for done, results in pending:
    yield done, [np.asarray(x) for x in results]


def not_finite(signals) -> UserError:
  """The error that says how many voxels have a signal that is not finite."""
  n_bad = sum(
    int(np.count_nonzero(~np.isfinite(signals[start : start + 4096]).all(1)))
    for start in range(0, len(signals), 4096)
  )
  return UserError(f"match: {n_bad} voxels have signals that are not finite")
