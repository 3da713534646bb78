"""Folders of T1, T2 and PD maps from which heads are simulated."""

import functools

import numpy as np

from mrf_jax.importing.map_folder import check_different_heads, read_head_maps
from tests.importing.head_maps import (
  AFFINE,
  head_volumes,
  save_head,
  save_volume,
)
from tests.wrong_inputs.cases import Case, Seen

_FOLDER = "head-01"
_INSIDE = (14, 18, 15)


def _read(folder) -> Seen:
  """What is read of a folder, and whether it is the head that was made."""
  head, made = read_head_maps(folder), head_volumes()
  inside = made["t1"] > 0
  right = np.array_equal(head.mask, inside) and all(
    np.allclose(own, made[name][inside], rtol=1e-5)
    for name, own in (("t1", head.maps.t1_ms), ("t2", head.maps.t2_ms))
  )
  result = (
    f"medians T1 {np.median(head.maps.t1_ms):.4g} ms, T2 "
    f"{np.median(head.maps.t2_ms):.4g} ms, PD {np.median(head.maps.pd):.3g} "
    f"in {np.count_nonzero(head.mask):,} voxels"
  )
  return Seen(result, right, head.notes)


def _case(case: str, expected: str, words: str, **changes) -> Case:
  """A case of which some maps are changed: name to function of the values."""

  def run(folder):
    volumes = head_volumes()
    for name, change in changes.items():
      values = change(volumes[name])
      kind = np.complex64 if np.iscomplexobj(values) else np.float32
      volumes[name] = values.astype(kind)
    return _read(save_head(folder / _FOLDER, volumes=volumes))

  return Case(case, expected, words, run)


def _folder_case(case: str, expected: str, words: str, change) -> Case:
  """A case of which the files of a sound head are changed."""

  def run(folder):
    change(save_head(folder / _FOLDER))
    return _read(folder / _FOLDER)

  return Case(case, expected, words, run)


def _set(value: float):
  """Sets one voxel inside of the head."""

  def change(values):
    values[_INSIDE] = value
    return values

  return change


def _rate(times_ms: np.ndarray) -> np.ndarray:
  """A rate in 1/s where there is a time."""
  return np.where(times_ms > 0, 1000 / times_ms.clip(1), 0)


def _in_s(times_ms: np.ndarray) -> np.ndarray:
  return times_ms / 1000


def _of_one_value(value: float):
  return lambda values: value * (values > 0)


def _as_bids(folder, *, divisor: float) -> None:
  """Names of BIDS for T1 and T2, divided."""
  for name in ("t1", "t2"):
    (folder / f"{name}.nii.gz").unlink()
    path = folder / f"sub-01_{name.upper()}map.nii.gz"
    save_volume(path, (head_volumes()[name] / divisor).astype(np.float32))


def _without_t2(folder) -> None:
  (folder / "t2.nii.gz").rename(folder / "t2_old.nii.gz")


def _two_of_t1(folder) -> None:
  save_volume(folder / "x_T1map.nii", head_volumes()["t1"] / 1000)


def _pd_elsewhere(folder) -> None:
  moved = AFFINE.copy()
  moved[0, 3] += 2
  save_volume(folder / "pd.nii.gz", head_volumes()["pd"], moved)


def _t1_without_directions(folder) -> None:
  save_volume(folder / "t1.nii.gz", head_volumes()["t1"], None)


def _b1_of(values):
  def change(folder):
    inside = head_volumes()["t1"] > 0
    b1 = np.where(inside, values, 0).astype(np.float32)
    save_volume(folder / "b1.nii.gz", b1)

  return change


def _in_metres(folder) -> Seen:
  metres = AFFINE / [[1000], [1000], [1000], [1]]
  return _read(save_head(folder / _FOLDER, affine=metres))


def _one_head_twice(folder) -> Seen:
  heads = [read_head_maps(save_head(folder / name)) for name in "ab"]
  check_different_heads({head.folder: head.digest for head in heads})
  return Seen("two heads", False)


_SECONDS = "which looks like seconds"
CASES: list[Case] = [
  _case("as they should be", "right", ""),
  _case("NaN outside", "right", "", t1=lambda v: np.where(v > 0, v, np.nan)),
  _case("PD of a fit's scale", "right", "", pd=lambda v: 4000 * v),
  _case("one PD everywhere", "named", "PD is the same", pd=_of_one_value(1)),
  _case("T1 in s", "refused", _SECONDS, t1=_in_s),
  _case("T2 in s", "refused", _SECONDS, t2=_in_s),
  _case("T1 in whole s", "refused", _SECONDS, t1=lambda v: np.round(v / 1000)),
  _case(
    "T2 in whole s",
    "refused",
    "have no T2 above 0",
    t2=lambda v: np.round(v / 1000),
  ),
  _case("T2 in µs", "refused", "if it is us", t2=lambda v: 1000 * v),
  _case("R1 instead of T1", "refused", "a map of R1", t1=_rate),
  _case("R2 instead of T2", "refused", "R1 or R2?", t2=_rate),
  _case(
    "T1 and T2 exchanged",
    "refused",
    "are they exchanged?",
    t1=lambda v: head_volumes()["t2"],
    t2=lambda v: head_volumes()["t1"],
  ),
  _case(
    "T1 as T2, too",
    "refused",
    "has the values of t1_ms",
    t2=lambda v: head_volumes()["t1"],
  ),
  _case(
    "T2 above T1 in a voxel",
    "refused",
    "T2 is longer than T1 in 1 of",
    t2=_set(900),
  ),
  _case("a hole in T2", "refused", "no T2 above 0, the first is 0", t2=_set(0)),
  _case(
    "NaN in T2", "refused", "no T2 above 0, the first is nan", t2=_set(np.nan)
  ),
  _case("a negative T1", "refused", "1 values are negative", t1=_set(-50)),
  _case("an infinite PD", "refused", "1 values are infinite", pd=_set(np.inf)),
  _case("T1 of zeros", "refused", "no head: T1 and PD", t1=np.zeros_like),
  _case("PD of NaN", "refused", "no head: T1 and PD", pd=lambda v: v * np.nan),
  _case(
    "one T1 everywhere",
    "refused",
    "the same value, 1000 ms, in all",
    t1=_of_one_value(1000),
  ),
  _case(
    "one T2 everywhere",
    "refused",
    "the same value, 70 ms, in all",
    t2=_of_one_value(70),
  ),
  _case("complex T1", "refused", "the values are complex", t1=lambda v: v + 0j),
  _case(
    "T1 of two volumes",
    "refused",
    "(30, 36, 30, 2), not [x, y",
    t1=lambda v: np.stack([v, v], -1),
  ),
  _case(
    "T2 of a slice less",
    "refused",
    "shape (29, 36, 30), but head-01/t1.nii.gz has",
    t2=lambda v: v[1:],
  ),
  _folder_case(
    "T1 and T2 in s by the names of BIDS",
    "right",
    "",
    functools.partial(_as_bids, divisor=1000),
  ),
  _folder_case(
    "T1 and T2 in ms by the names of BIDS",
    "refused",
    "if the unit is s, but 1154.97 ms if it is ms",
    functools.partial(_as_bids, divisor=1),
  ),
  _folder_case("without T2", "refused", "no map of t2, t2.nii.gz", _without_t2),
  _folder_case("two maps of T1", "refused", "are several maps", _two_of_t1),
  _folder_case(
    "PD half a voxel elsewhere",
    "refused",
    "pd.nii.gz: its voxels lie elsewhere",
    _pd_elsewhere,
  ),
  _folder_case(
    "T1 without a place (codes 0)",
    "refused",
    "its axes have no directions",
    _t1_without_directions,
  ),
  _folder_case("B1 as a factor", "right", "", _b1_of(0.9)),
  _folder_case("B1 in per cent", "refused", "not per cent", _b1_of(90.0)),
  _folder_case("B1 of zeros", "refused", "no B1 above 0", _b1_of(0.0)),
  Case("an affine in metres", "refused", "metres", _in_metres),
  Case(
    "one head in two folders",
    "refused",
    "has the maps of",
    _one_head_twice,
  ),
]
