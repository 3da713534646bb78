"""Temporal subspaces of fingerprints, by singular vectors."""

import numpy as np
from jaxtyping import Complex64, Inexact

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


def projected(
  signals: Complex64[np.ndarray, "voxel frame"],
  basis: Inexact[np.ndarray, "frame rank"],
) -> Complex64[np.ndarray, "voxel rank"]:
  """`signals @ basis`, without complex products for a real basis."""
  if np.iscomplexobj(basis):
    return signals @ basis
  return signals.real @ basis + 1j * (signals.imag @ basis)


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
