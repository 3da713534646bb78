"""Temporal compression of a dictionary by its singular vectors."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from mrf_jax.errors import UserError

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
  if not 1 <= rank <= atoms.shape[1]:
    raise UserError(
      f"dictionary: rank {rank} is not within 1 and {atoms.shape[1]} frames"
    )
  wide = atoms.astype(np.result_type(atoms.dtype, np.float64))
  _, vectors = np.linalg.eigh(wide.T @ wide.conj())
  basis = vectors[:, ::-1][:, :rank].conj().astype(atoms.dtype)
  projected = atoms @ basis
  length = np.linalg.norm(projected, axis=1)
  return dataclasses.replace(
    dictionary,
    atoms=projected / length[:, None],
    norms=np.asarray(dictionary.norms) * length,
    basis=basis,
  )
