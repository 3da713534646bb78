"""Tissue masks: thresholds of the reference T1 map, as in the paper."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from mrf_jax.errors import UserError

# White matter, grey matter, cerebrospinal fluid, lesions of simulated subjects
# that have some, and all masked voxels.
TISSUES = ("wm", "gm", "csf", "lesion", "brain")


def tissue_masks(
  t1_ms: Float[np.ndarray, "voxel"],
  *,
  thresholds_ms: Mapping[str, tuple[float, float]],
  lesion: Float[np.ndarray, "voxel"] | None = None,
) -> dict[str, Bool[np.ndarray, "voxel"]]:
  """Which voxels belong to which tissue.

  Voxel i is of a tissue where low <= T1_i < high; `brain` holds every voxel.

  Args:
    t1_ms: reference T1, [voxel], ms.
    thresholds_ms: tissue to (low, high), ms; `brain` needs none.
    lesion: volume share of lesion, [voxel], or None. Where there is some, the
      thresholds name no tissue; above a half, the tissue is `lesion`.

  Returns:
    One mask for each tissue of `thresholds_ms` and `brain`, in the order of
    `TISSUES`.

  Raises:
    UserError: an unknown tissue, or a range without content.
  """
  known = ("wm", "gm", "csf")
  for tissue, limits in thresholds_ms.items():
    if tissue not in known:
      raise UserError(
        f"tissue thresholds: unknown tissue {tissue!r}; "
        f"known are {', '.join(known)}"
      )
    if len(limits) != 2 or not limits[0] < limits[1]:
      raise UserError(
        f"tissue thresholds: {tissue} needs (low, high) in ms with "
        f"low < high, got {tuple(limits)}"
      )

  t1_ms = np.asarray(t1_ms)
  masks = {}
  for tissue in known:
    if tissue in thresholds_ms:
      low, high = thresholds_ms[tissue]
      masks[tissue] = (t1_ms >= low) & (t1_ms < high)
  masks["brain"] = np.ones(t1_ms.shape, bool)
  if lesion is not None:
    masks = {name: mask & (lesion == 0) for name, mask in masks.items()}
    masks["lesion"] = lesion > 0.5
  return masks
