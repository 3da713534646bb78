"""Mean absolute error and root mean square error of maps, by tissue."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float64

from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES, Maps

# (tissue, map name) to (MAE, RMSE): the errors of one left-out subject.
SubjectErrors = dict[tuple[str, str], tuple[float, float]]
# Sentence for tables in which `on_scale_of` was used.
RELATIVE_PD = (
  "Proton density of dictionaries is relative: its errors are those after one "
  "gain for each scan."
)


def map_errors(
  estimate: Maps,
  reference: Maps,
  masks: Mapping[str, Bool[np.ndarray, "voxel"]],
) -> SubjectErrors:
  """Computes MAE and RMSE of each map in each tissue of one subject.

  MAE = mean |q^ - q|,  RMSE = sqrt(mean (q^ - q)^2)

  Args:
    estimate: estimated maps, [voxel]; pd in arbitrary units, times in ms.
    reference: reference maps, [voxel], in the same units.
    masks: tissue to its voxels, [voxel].

  Returns:
    (tissue, map) to (MAE, RMSE), in the unit of the map; nan for both where
    the tissue has no voxel.

  Raises:
    UserError: shapes differ, or values are not finite.
  """
  differences = {}
  for name in MAP_NAMES:
    # Sums of squares over 1e5 voxels lose digits in float32.
    q_hat = np.asarray(getattr(estimate, name), np.float64)
    q = np.asarray(getattr(reference, name), np.float64)
    if q_hat.shape != q.shape:
      raise UserError(
        f"map {name}: the estimate has shape {q_hat.shape}, "
        f"the reference {q.shape}"
      )
    # In the table, nan stands for a tissue without voxels.
    for whose, values in (("estimate", q_hat), ("reference", q)):
      n_bad = np.count_nonzero(~np.isfinite(values))
      if n_bad:
        raise UserError(
          f"map {name}: the {whose} is not finite in {n_bad} of "
          f"{values.size} voxels"
        )
    differences[name] = q_hat - q

  errors = {}
  for tissue, mask in masks.items():
    mask = np.asarray(mask, bool)
    for name, difference in differences.items():
      if mask.shape != difference.shape:
        raise UserError(
          f"tissue {tissue}: the mask has shape {mask.shape}, "
          f"map {name} {difference.shape}"
        )
      errors[tissue, name] = _mae_rmse(difference[mask])
  return errors


def on_scale_of(estimate: Maps, reference: Maps) -> tuple[Maps, float]:
  """A scan's maps with proton density on the scale of another map.

  The proton density of a dictionary is the size of the signals, whose unit is
  the scanner's. One gain for the scan brings it to the reference: the median of
  reference / estimate, which a few voxels at the edge of the atoms do not move.

  Returns:
    The maps, and the gain; 1 where no voxel has a proton density in both.
  """
  q_hat = np.asarray(estimate.pd, np.float64)
  q = np.asarray(reference.pd, np.float64)
  both = (q_hat > 0) & (q > 0)
  gain = float(np.median(q[both] / q_hat[both])) if both.any() else 1.0
  pd = (gain * q_hat).astype(np.float32)
  return Maps(pd, estimate.t1_ms, estimate.t2_ms), gain


def expected_errors(
  deviations: Maps, masks: Mapping[str, Bool[np.ndarray, "voxel"]]
) -> SubjectErrors:
  """MAE and RMSE to expect of unbiased, normally distributed estimates.

  MAE = sqrt(2 / pi) mean(sd),  RMSE = sqrt(mean(sd^2))

  from standard deviations of the estimates, with keys as of `map_errors`.
  """
  errors = {}
  for tissue, mask in masks.items():
    for name in MAP_NAMES:
      sd = np.asarray(getattr(deviations, name), np.float64)[mask]
      mae, rmse = _mae_rmse(sd)
      errors[tissue, name] = (float(np.sqrt(2 / np.pi)) * mae, rmse)
  return errors


def _mae_rmse(difference: Float64[np.ndarray, "voxel"]) -> tuple[float, float]:
  if difference.size == 0:
    return float("nan"), float("nan")
  mae = np.mean(np.abs(difference))
  rmse = np.sqrt(np.mean(difference**2))
  return float(mae), float(rmse)
