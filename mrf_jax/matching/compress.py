"""Temporal compression by singular vectors."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from mrf_jax.errors import UserError

# Fingerprints held in double precision at once.
_BLOCK = 8192

if TYPE_CHECKING:
  from mrf_jax.matching.dictionary import Dictionary


def compress(dictionary: "Dictionary", *, rank: int) -> "Dictionary":
  """The dictionary in the space of its first temporal components.

  Atoms are scaled to norm one again after the projection, and signals are
  projected by `match` (McGivney 2014).

  Args:
    dictionary: one that is not compressed.
    rank: components kept.

  Returns:
    The compressed dictionary with its basis.

  Raises:
    UserError: the rank is not between 1 and the number of frames.
  """
  atoms = np.asarray(dictionary.atoms)
  basis = temporal_basis(gram_matrix(atoms), rank=rank).astype(atoms.dtype)
  projected = atoms @ basis
  length = np.linalg.norm(projected, axis=1)
  return dataclasses.replace(
    dictionary,
    atoms=projected / length[:, None],
    norms=np.asarray(dictionary.norms) * length,
    basis=basis,
  )


def gram_matrix(fingerprints) -> np.ndarray:
  """Σ conj(s) sᵀ over the fingerprints s, [frame, frame], double precision.

  Args:
    fingerprints: real or complex [voxel, frame].
  """
  fingerprints = np.asarray(fingerprints)
  n_frames = fingerprints.shape[1]
  wide = np.result_type(fingerprints.dtype, np.float64)
  gram = np.zeros((n_frames, n_frames), wide)
  for start in range(0, len(fingerprints), _BLOCK):
    block = fingerprints[start : start + _BLOCK].astype(wide)
    gram += block.conj().T @ block
  return gram


def temporal_basis(gram, *, rank: int) -> np.ndarray:
  """Orthonormal basis of the strongest temporal components.

  Fingerprints s are projected by `s @ basis`.

  Args:
    gram: of `gram_matrix`, [frame, frame].
    rank: components kept.

  Returns:
    The first right singular vectors of the fingerprints, [frame, rank]; the
    largest entry of each is real and positive.

  Raises:
    UserError: the rank is not between 1 and the number of frames.
  """
  check_rank(rank, n_frames=len(gram))
  _, vectors = np.linalg.eigh(gram)
  basis = vectors[:, ::-1][:, :rank]
  largest = basis[np.abs(basis).argmax(0), np.arange(rank)]
  return basis * (np.abs(largest) / largest)


def check_rank(rank: int, *, n_frames: int) -> None:
  """Raises `UserError` for a rank that is not between 1 and the frames."""
  if not 1 <= rank <= n_frames:
    raise UserError(
      f"compression: rank {rank} is not within 1 and {n_frames} frames"
    )
