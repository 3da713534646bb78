"""T1, T2 and proton density of brain tissue, by field strength."""

import copy
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from mrf_jax.dataset.identity import is_same_field
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.simulation.fields import smooth_noise
from mrf_jax.simulation.nuclei import NUCLEI_AT_1_5T

TISSUES = ("wm", "gm", "csf")

_Values = tuple[float, float, float]

# T1 (ms), T2 (ms), PD relative to water. T1 and T2 are within the ranges that
# Ma 2013 lists for 1.5 T (WM 608-756 and 54-81, GM 998-1304 and 78-98, CSF
# 4103-5400 and 1800-2460), about the middle in WM and GM, below it in CSF. PD
# are common textbook values, because no source of the paper gives any.
BRAIN_AT_1_5T = {
  "wm": (685.0, 68.0, 0.70),
  "gm": (1150.0, 88.0, 0.82),
  "csf": (4500.0, 2000.0, 1.00),
}
FIELD_STRENGTH_T = 1.5


def _at(**times: tuple[float, float]) -> dict[str, _Values]:
  """The table of 1.5 T with the T1 and T2 (ms) of another field."""
  other = {k: (*own, BRAIN_AT_1_5T[k][2]) for k, own in times.items()}
  return BRAIN_AT_1_5T | other


# At other fields. 0.55 T: Campbell-Washburn 2019. 3 T: Wansapura 1999. 7 T: T1
# of Rooney 2007 (white) and Wright 2008 (grey matter), T2 of Cox 2010 (white
# and frontal grey matter). T1 of CSF hardly depends on the field (Rooney 2007);
# its T2 and PD are those of 1.5 T.
BRAIN = {
  0.55: _at(wm=(493.0, 89.0), gm=(717.0, 112.0)),
  FIELD_STRENGTH_T: BRAIN_AT_1_5T,
  3.0: _at(wm=(832.0, 79.6), gm=(1331.0, 110.0)),
  7.0: _at(wm=(1220.0, 47.0), gm=(1939.0, 47.0)),
}


def brain_at(field_strength_t: float) -> dict[str, tuple[float, float, float]]:
  """T1 (ms), T2 (ms) and PD of white and grey matter and CSF at a field.

  Fields that are called alike, such as 2.89 and 3 T, have one table.

  Raises:
    UserError: there are no values of this field.
  """
  for known_t, table in BRAIN.items():
    if is_same_field(field_strength_t, known_t):
      return table
  known = ", ".join(f"{t:g}" for t in BRAIN)
  raise UserError(
    f"there are no tissue values of {field_strength_t:g} T, only of {known} T; "
    "matching with a dictionary needs none"
  )


def nuclei_at(field_strength_t: float) -> Float[np.ndarray, "nucleus 3"]:
  """T1 (ms), T2 (ms) and PD of the deep grey nuclei at a field.

  They are as those of cortex to what they are at 1.5 T.
  """
  cortex = np.array(brain_at(field_strength_t)["gm"])
  return np.array(list(NUCLEI_AT_1_5T.values())) * (
    cortex / np.array(BRAIN_AT_1_5T["gm"])
  )


def tissue_maps(
  rng: np.random.Generator,
  points_mm: Float[np.ndarray, "voxel 3"],
  *,
  between_subjects: float,
  within_tissue: float,
  local_variation: Mapping[str, float] | None = None,
  field_strength_t: float = FIELD_STRENGTH_T,
  nuclei: Int[np.ndarray, "voxel"] | None = None,
) -> dict[str, Maps]:
  """Random T1, T2 and PD of each tissue at every voxel.

  A value of `brain_at` is multiplied by 1 + a + b + c, where a is a normal
  number of the subject and b and c are smooth fields inside the tissue (over 40
  and 12 mm), each of T1, T2 and PD by itself.

  Args:
    rng: random numbers of the subject.
    points_mm: places of the voxels.
    between_subjects: relative standard deviation of a for T1 and T2; that of PD
      is a third.
    within_tissue: of b, likewise.
    local_variation: of c, likewise, by the name of the tissue; none where it is
      not named.
    field_strength_t: main field, T.
    nuclei: number of the nearest deep grey nucleus of each voxel; None is a
      head without them.

  Returns:
    Maps of `TISSUES`, and with nuclei of "deep_grey", in which each voxel has
    the values of its nucleus.
  """
  values = {
    name: [np.full(len(points_mm), value) for value in row]
    for name, row in brain_at(field_strength_t).items()
  }
  if nuclei is not None:
    values["deep_grey"] = list(nuclei_at(field_strength_t)[nuclei].T)
  # A stream of its own, which leaves the others as they are; the first one that
  # is spawned belongs to lesions.
  _, local_rng = copy.deepcopy(rng).spawn(2)
  result = {}
  for tissue, rows in values.items():
    spread = (local_variation or {}).get(tissue, 0.0)
    columns = []
    for row, share in zip(rows, (1.0, 1.0, 1 / 3), strict=True):
      subject = between_subjects * share * np.clip(rng.normal(), -2.5, 2.5)
      field = smooth_noise(rng, points_mm, correlation_mm=40.0)
      factor = 1 + subject + within_tissue * share * field
      if spread:
        local = smooth_noise(local_rng, points_mm, correlation_mm=12.0)
        factor = factor + spread * share * np.clip(local, -3, 3)
      columns.append((row * np.maximum(factor, 0.2)).astype(np.float32))
    t1_ms, t2_ms, pd = columns
    result[tissue] = Maps(pd=pd, t1_ms=t1_ms, t2_ms=np.minimum(t2_ms, t1_ms))
  return result


def mix(
  fractions: Float[np.ndarray, "tissue voxel"], maps: dict[str, Maps]
) -> Maps:
  r"""True maps of voxels that contain several tissues, of volume share f each.

  .. math::

    \mathrm{PD} = \sum_i f_i \mathrm{PD}_i, \quad
    \frac{1}{T_1} = \sum_i \frac{f_i \mathrm{PD}_i}{\mathrm{PD}}
    \frac{1}{T_{1,i}}

  and 1 / T2 likewise.

  Relaxation rates are averaged with the tissues' shares of the protons.
  """
  water = np.stack(
    [f * m.pd for f, m in zip(fractions, maps.values(), strict=True)]
  )
  pd = water.sum(0)
  share = water / np.maximum(pd, 1e-9)

  def mean_rate(name):
    rates = np.stack([1 / getattr(m, name) for m in maps.values()])
    return (1 / np.maximum((share * rates).sum(0), 1e-9)).astype(np.float32)

  return Maps(
    pd=pd.astype(np.float32),
    t1_ms=mean_rate("t1_ms"),
    t2_ms=mean_rate("t2_ms"),
  )
