"""Standard dictionary matching: the atom of largest inner product (Ma 2013)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex64, Float32, Int32

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.matching.dictionary import Dictionary

# Sizes of one tile of the similarity matrix, which never exists as a whole.
_VOXEL_BLOCK = 2048
_ATOM_BLOCK = 2048


def match(dictionary: Dictionary, signals) -> Maps:
  """Maps of the atoms that fit best, arg max |⟨atom, signal⟩|.

  Proton density is the factor between atom and signal, |⟨atom, signal⟩| over
  the atom's norm; a signal of zeros gets PD zero.

  Args:
    dictionary: full or compressed.
    signals: fingerprints through the same window, complex [voxel, frame].

  Returns:
    Maps, [voxel] each.

  Raises:
    UserError: the number of frames differs, or signals are not finite.
  """
  best, score = best_atoms(dictionary, signals)
  norms = np.asarray(dictionary.norms)
  return Maps(
    pd=score / norms[best],
    t1_ms=np.asarray(dictionary.t1_ms)[best],
    t2_ms=np.asarray(dictionary.t2_ms)[best],
  )


def best_atoms(
  dictionary: Dictionary,
  signals,
  *,
  voxel_block: int = _VOXEL_BLOCK,
  atom_block: int = _ATOM_BLOCK,
) -> tuple[np.ndarray, np.ndarray]:
  """Index and score |⟨atom, signal⟩| of each voxel's best atom.

  Args:
    dictionary: full or compressed.
    signals: complex [voxel, frame].
    voxel_block: voxels of one compiled call.
    atom_block: atoms scored at once within it.

  Returns:
    Atom indices [voxel] and scores [voxel]; of equal scores the first atom.

  Raises:
    UserError: the number of frames differs, or signals are not finite.
  """
  signals = np.asarray(signals)
  basis = dictionary.basis
  frames = dictionary.atoms.shape[1] if basis is None else len(basis)
  if signals.ndim != 2 or signals.shape[1] != frames:
    raise UserError(
      f"match: signals have shape {signals.shape}, the dictionary wants "
      f"[voxel, {frames}]"
    )
  bad = np.count_nonzero(~np.isfinite(signals).all(1))
  if bad:
    raise UserError(f"match: {bad} voxels have signals that are not finite")
  atom_block = min(atom_block, dictionary.n_atoms)
  atoms = _pad_atoms(jnp.asarray(dictionary.atoms), atom_block)
  best = np.empty(len(signals), np.int32)
  score = np.empty(len(signals), np.float32)
  voxel_block = min(voxel_block, max(1, len(signals)))
  for start in range(0, len(signals), voxel_block):
    stop = min(start + voxel_block, len(signals))
    block = signals[np.minimum(np.arange(start, start + voxel_block), stop - 1)]
    index, squared = _match_block(atoms, block, basis)
    best[start:stop] = np.asarray(index)[: stop - start]
    score[start:stop] = np.sqrt(np.asarray(squared)[: stop - start])
  return best, score


def _pad_atoms(atoms, atom_block: int):
  """Atoms in blocks, [block, atom, frame]; the padding repeats atom zero."""
  n_blocks = -(-len(atoms) // atom_block)
  padding = n_blocks * atom_block - len(atoms)
  filled = jnp.concatenate([atoms, jnp.repeat(atoms[:1], padding, 0)])
  return filled.reshape(n_blocks, atom_block, -1)


@jax.jit
def _match_block(
  atoms: Float32[Array, "block atom frame"],
  signals: Complex64[Array, "voxel frame"],
  basis: Array | None,
) -> tuple[Int32[Array, "voxel"], Float32[Array, "voxel"]]:
  """Best atom and its squared score, with a running maximum over blocks.

  A real dictionary costs two real products, ⟨d, Re s⟩² + ⟨d, Im s⟩².
  """
  if basis is not None:
    signals = signals @ basis.astype(signals.dtype)
  n_voxels = len(signals)
  if _is_complex(atoms):
    parts = jnp.conj(signals)
  else:
    parts = jnp.concatenate([signals.real, signals.imag])

  def score_block(best, numbered):
    number, block = numbered
    product = parts @ block.T
    if _is_complex(atoms):
      squared = product.real**2 + product.imag**2
    else:
      squared = product[:n_voxels] ** 2 + product[n_voxels:] ** 2
    index = jnp.argmax(squared, axis=1)
    highest = jnp.max(squared, axis=1)
    better = highest > best[1]
    index = index.astype(jnp.int32) + number * len(block)
    return (
      jnp.where(better, index, best[0]),
      jnp.where(better, highest, best[1]),
    ), None

  start = jnp.zeros(n_voxels, jnp.int32), jnp.full(n_voxels, -1.0)
  numbers = jnp.arange(len(atoms), dtype=jnp.int32)
  best, _ = jax.lax.scan(score_block, start, (numbers, atoms))
  return best


def _is_complex(array) -> bool:
  return jnp.issubdtype(array.dtype, jnp.complexfloating)
