"""Tissue masks by thresholds of the reference T1 map, as in the paper."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from mrf_jax.errors import UserError

# White matter, grey matter and cerebrospinal fluid.
PAPER_TISSUES = ("wm", "gm", "csf")
# Also the lesions of some simulated subjects, and all masked voxels.
TISSUES = (*PAPER_TISSUES, "lesion", "brain")


def tissue_masks(
  t1_ms: Float[np.ndarray, "voxel"],
  *,
  thresholds_ms: Mapping[str, tuple[float, float]],
  lesion: Float[np.ndarray, "voxel"] | None = None,
) -> dict[str, Bool[np.ndarray, "voxel"]]:
  """Masks of the voxels of each tissue.

  Voxel i belongs to a tissue if low <= T1_i < high; `brain` has every voxel.

  Args:
    t1_ms: reference T1, [voxel], ms.
    thresholds_ms: tissue to (low, high), ms; `brain` needs none.
    lesion: volume share of lesion, [voxel], or None. Voxels with any lesion
      belong to no other tissue; with more than one half, to `lesion`.

  Returns:
    Tissue to its mask: those of `thresholds_ms`, `brain`, and `lesion` if
    shares are given.

  Raises:
    UserError: a tissue is unknown, or a range is empty.
  """
  for tissue, limits in thresholds_ms.items():
    if tissue not in PAPER_TISSUES:
      raise UserError(
        f"tissue thresholds: unknown tissue {tissue!r}; "
        f"known are {', '.join(PAPER_TISSUES)}"
      )
    if len(limits) != 2 or not limits[0] < limits[1]:
      raise UserError(
        f"tissue thresholds: {tissue} needs (low, high) in ms with "
        f"low < high, got {tuple(limits)}"
      )

  t1_ms = np.asarray(t1_ms)
  masks = {}
  for tissue in PAPER_TISSUES:
    if tissue in thresholds_ms:
      low, high = thresholds_ms[tissue]
      masks[tissue] = (t1_ms >= low) & (t1_ms < high)
  masks["brain"] = np.ones(t1_ms.shape, bool)
  if lesion is not None:
    masks = {name: mask & (lesion == 0) for name, mask in masks.items()}
    masks["lesion"] = lesion > 0.5
  return masks
