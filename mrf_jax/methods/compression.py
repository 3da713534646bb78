"""Temporal compression of scans, in a basis of the training subjects."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Complex64

from mrf_jax.methods.study import Study
from mrf_jax.runtime.progress import progress
from mrf_jax.signal.subspace import gram_matrix, temporal_basis


@dataclasses.dataclass(frozen=True)
class CompressedScans:
  """All scans of a study in the basis of one fold.

  Attributes:
    basis: the strongest temporal components of the training subjects.
    signals: `signals @ basis` of each subject, also of the left-out one.
  """

  basis: Complex64[np.ndarray, "frame rank"]
  signals: list[Complex64[np.ndarray, "voxel rank"]]


def compress_scans(
  study: Study, *, rank: int, left_out: Sequence[int]
) -> dict[int, CompressedScans]:
  """Projects all scans on the bases of some folds, by their left-out subject.

  The basis of a fold does not depend on the scan of its left-out subject. Each
  scan is read twice.
  """
  numbers = range(len(study.subjects))
  grams = [
    gram_matrix(study.signals(k))
    for k in progress(numbers, total=len(numbers), text="temporal components")
  ]
  bases = [
    temporal_basis(sum(grams[k] for k in numbers if k != out), rank=rank)
    for out in left_out
  ]
  # One product with the bases of all folds, so that a scan is read once for it:
  # reading takes longer than multiplying.
  joined = np.concatenate(bases, axis=1).astype(np.complex64)
  projected = [
    study.signals(k) @ joined
    for k in progress(numbers, total=len(numbers), text="compressing")
  ]
  columns = [
    slice(start, start + rank) for start in range(0, joined.shape[1], rank)
  ]
  return {
    out: CompressedScans(joined[:, own], [p[:, own] for p in projected])
    for out, own in zip(left_out, columns, strict=True)
  }
