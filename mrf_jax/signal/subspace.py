"""Temporal subspaces of fingerprints, by singular vectors."""

import numpy as np
from jaxtyping import Inexact

from mrf_jax.errors import UserError

# Fingerprints that are in double precision at once.
_BLOCK = 8192


def gram_matrix(fingerprints) -> np.ndarray:
  """Gram matrix Σ conj(s) sᵀ of signals s, [voxel, frame], in float64."""
  fingerprints = np.asarray(fingerprints)
  n_frames = fingerprints.shape[1]
  wide = np.result_type(fingerprints.dtype, np.float64)
  gram = np.zeros((n_frames, n_frames), wide)
  for start in range(0, len(fingerprints), _BLOCK):
    block = fingerprints[start : start + _BLOCK].astype(wide)
    gram += block.conj().T @ block
  return gram


def temporal_basis(gram, *, rank: int) -> np.ndarray:
  """Orthonormal basis of the strongest temporal components (McGivney 2014).

  Fingerprints s, whose Gram matrix is given, are projected by `s @ basis`.

  Returns:
    The first right singular vectors of the fingerprints, [frame, rank]; the
    largest entry of each is real and positive.

  Raises:
    UserError: the rank is not between 1 and the number of frames.
  """
  check_rank("compression: rank", rank, n_frames=len(gram))
  _, vectors = np.linalg.eigh(gram)
  basis = vectors[:, ::-1][:, :rank]
  largest = basis[np.abs(basis).argmax(0), np.arange(rank)]
  return basis * (np.abs(largest) / largest)


def check_rank(name: str, rank: int, *, n_frames: int) -> None:
  """Raises `UserError` for a rank that is not between 1 and the frames.

  Args:
    name: what sets the rank, such as a flag, for the error.
    rank: number of temporal components.
    n_frames: number of frames, or of window images, of a fingerprint.
  """
  if not 1 <= rank <= n_frames:
    raise UserError(
      f"{name} is {rank}, not between 1 and {n_frames}, the number of images"
    )


def temporal_subspace(
  signals: Inexact[np.ndarray, "voxel frame"], *, tolerance: float
) -> tuple[
  Inexact[np.ndarray, "voxel rank"], Inexact[np.ndarray, "frame rank"]
]:
  """The smallest temporal subspace that holds signals up to a tolerance.

  The tolerance bounds the norm of the rest, relative to the norm of all signals
  together.

  Returns:
    Coefficients and the orthonormal basis: signals ≈ coefficients @ basis.T.
  """
  wide = signals.astype(np.result_type(signals.dtype, np.float64))
  gram = wide.T @ wide.conj()
  energy, vectors = np.linalg.eigh(gram)
  energy, vectors = energy[::-1].clip(0), vectors[:, ::-1]
  # Energy of the rest at each rank, from one component to all of them (zero).
  rest = np.append(np.cumsum(energy[::-1])[::-1][1:], 0.0)
  rank = 1 + int(np.argmax(rest <= tolerance**2 * energy.sum()))
  basis = vectors[:, :rank].astype(signals.dtype)
  return signals @ basis.conj(), basis
