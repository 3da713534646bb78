"""Times and angles in other units, given to the fits."""

import pathlib
from collections.abc import Callable

import nibabel
import numpy as np

from mrf_jax import fit_t2, fit_vfa_t1, t2_maps, vfa_t1_maps
from tests.relaxometry.examples import spgr
from tests.wrong_inputs.cases import Case, Seen

T1_MS = np.linspace(500.0, 2000.0, 100)
T2_MS = np.linspace(40.0, 200.0, 100)
FLIPS_DEG, TR_MS = np.array([3.0, 10.0, 20.0]), 15.0
# Of a slow sequence, whose angles in radians could be degrees.
LARGE_FLIPS_DEG, SLOW_TR_MS = np.array([20.0, 50.0, 90.0]), 100.0
TE_MS = np.array([12.0, 24.0, 36.0, 48.0, 60.0, 90.0])
B1 = np.linspace(0.8, 1.2, 100)
_SHAPE = (5, 5, 4)


def _spoiled(flips_deg=FLIPS_DEG, tr_ms=TR_MS):
  return 1000 * spgr(np.ones(100), T1_MS, flips_deg, tr_ms)


def _echoes(t2_ms=T2_MS):
  return 1000 * np.exp(-TE_MS / np.asarray(t2_ms)[:, None])


def _with_noise(signals, sd):
  rng = np.random.default_rng(0)
  noise = rng.normal(0, sd, (2, *signals.shape))
  return np.hypot(signals + noise[0], noise[1])


def _seen(found, wanted, at_most=0.02) -> Seen:
  low, median, high = np.percentile(found, (0, 50, 100))
  error = np.median(np.abs(found / wanted - 1))
  result = f"{low:.4g} … {median:.4g} … {high:.4g} ms"
  return Seen(result, bool(error <= at_most))


def _t1(case: str, expected: str, words: str, signals, **given) -> Case:
  """A fit of T1 by what differs from the sound one."""
  options = {"flip_angles_deg": FLIPS_DEG, "tr_ms": TR_MS, **given}

  def run(folder):
    del folder
    return _seen(fit_vfa_t1(signals, **options)[1], T1_MS)

  return Case(f"fit_vfa_t1, {case}", expected, words, run)


def _within_narrow_bounds(folder) -> Seen:
  del folder
  bounds_ms = (800.0, 900.0)
  _, t1_ms = fit_vfa_t1(
    _spoiled(), flip_angles_deg=FLIPS_DEG, tr_ms=TR_MS, bounds_ms=bounds_ms
  )
  return _seen(t1_ms, np.clip(T1_MS, *bounds_ms))


def _t2(case: str, expected: str, words: str, signals, te_ms, t2_ms=T2_MS):
  """A fit of T2 by what differs from the sound one."""

  def run(folder):
    del folder
    return _seen(fit_t2(signals, te_ms=te_ms)[1][: len(t2_ms)], t2_ms)

  return Case(f"fit_t2, {case}", expected, words, run)


def _save(path: pathlib.Path, values) -> str:
  values = np.asarray(values, np.float32)
  volume = values.reshape(*_SHAPE, *values.shape[1:])
  nibabel.save(nibabel.Nifti1Image(volume, np.diag([2.0, 2, 5, 1])), path)
  return str(path)


def _maps(case: str, expected: str, words: str, run: Callable) -> Case:
  """A fit of NIfTI files, all of whose voxels are in the mask."""

  def in_folder(folder):
    mask = _save(folder / "mask.nii", np.ones(100))
    return run(folder, mask)

  return Case(case, expected, words, in_folder)


def _vfa_of_files(folder, mask, b1=B1, **given) -> Seen:
  flips = FLIPS_DEG * B1[:, None]
  series = _save(
    folder / "vfa.nii", 1000 * spgr(np.ones(100), T1_MS, flips, 15)
  )
  options = {"flip_angles_deg": FLIPS_DEG, "tr_ms": TR_MS, **given}
  path = _save(folder / "b1.nii", b1)
  maps = vfa_t1_maps(series, mask=mask, b1=path, **options)
  return _seen(maps.t1_ms.get_fdata().reshape(-1), T1_MS)


def _t2_of_files(folder, mask, te_ms) -> Seen:
  series = _save(folder / "echoes.nii", _echoes())
  maps = t2_maps(series, te_ms=te_ms, mask=mask)
  return _seen(maps.t2_ms.get_fdata().reshape(-1), T2_MS)


_FLUID_MS = np.where(np.arange(100) < 20, 6000.0, T2_MS)

CASES: list[Case] = [
  _t1("as it should be", "right", "", _spoiled()),
  _t1(
    "TR in s", "refused", "looks like seconds (15 ms)", _spoiled(), tr_ms=0.015
  ),
  _t1("TR in µs", "refused", "looks like µs (15 ms)", _spoiled(), tr_ms=15e3),
  _t1(
    "TR of 1.5 ms in µs",
    "refused",
    "T1 is at its bound of 8000 ms in 100% of the signal, but 1250 ms (median) "
    "if tr_ms is in µs",
    _spoiled(tr_ms=1.5),
    tr_ms=1.5e3,
  ),
  _t1(
    "TR of 1.2 s in s",
    "refused",
    "if tr_ms is in seconds",
    _spoiled(LARGE_FLIPS_DEG, 1200.0),
    flip_angles_deg=LARGE_FLIPS_DEG,
    tr_ms=1.2,
  ),
  _t1(
    "flip angles in rad",
    "refused",
    "looks like radians (20°)",
    _spoiled(),
    flip_angles_deg=np.deg2rad(FLIPS_DEG),
  ),
  _t1(
    "large flip angles in rad",
    "refused",
    "but 1250 ms (median) if flip_angles_deg is in radians",
    _spoiled(LARGE_FLIPS_DEG, SLOW_TR_MS),
    flip_angles_deg=np.deg2rad(LARGE_FLIPS_DEG),
    tr_ms=SLOW_TR_MS,
  ),
  _t1(
    "flip angles of 1 to 3°",
    "right",
    "",
    _spoiled(np.array([1.0, 2.0, 3.0]), 5.0),
    flip_angles_deg=[1.0, 2.0, 3.0],
    tr_ms=5.0,
  ),
  _t1(
    "B1 in per cent",
    "refused",
    "the median of b1 is 100; a factor on the flip angle is needed",
    _spoiled(),
    b1=100 * B1,
  ),
  _t1(
    "bounds in s",
    "refused",
    "if bounds_ms is in seconds",
    _spoiled(),
    bounds_ms=(0.05, 8.0),
  ),
  _t1(
    "the volumes in the reverse order",
    "refused",
    "if the flip angles are in the reverse order",
    _spoiled(LARGE_FLIPS_DEG, SLOW_TR_MS)[:, ::-1],
    flip_angles_deg=LARGE_FLIPS_DEG,
    tr_ms=SLOW_TR_MS,
  ),
  Case(
    "fit_vfa_t1, narrow bounds, which most of the signal is beyond",
    "right",
    "",
    _within_narrow_bounds,
  ),
  _t2("as it should be", "right", "", _echoes(), TE_MS),
  _t2(
    "TE in s", "refused", "looks like seconds (90 ms)", _echoes(), TE_MS / 1e3
  ),
  _t2("TE in µs", "refused", "looks like µs (90 ms)", _echoes(), TE_MS * 1e3),
  _t2(
    "TE of up to 900 ms in s",
    "refused",
    "but 1200 ms (median) if te_ms is in seconds",
    _echoes(T2_MS),
    TE_MS / 100,
    10 * T2_MS,
  ),
  _t2(
    "TE of up to 9 ms in µs",
    "refused",
    "but 12 ms (median) if te_ms is in µs",
    _echoes(T2_MS),
    100 * TE_MS,
    T2_MS / 10,
  ),
  _t2(
    "the volumes in the reverse order",
    "refused",
    "if the echo times are in the reverse order",
    _echoes()[:, ::-1],
    TE_MS,
  ),
  _t2(
    "noise alone",
    "refused",
    "its units, its order, or noise?",
    _with_noise(np.zeros((100, 6)), 1.0),
    TE_MS,
  ),
  _t2(
    "a fifth of the voxels fluid of 6000 ms",
    "right",
    "",
    _echoes(_FLUID_MS),
    TE_MS,
    _FLUID_MS,
  ),
  _t2(
    "four times as many voxels of background",
    "right",
    "",
    _with_noise(np.concatenate([_echoes(), np.zeros((400, 6))]), 5.0),
    TE_MS,
  ),
  _maps("vfa_t1_maps, as it should be", "right", "", _vfa_of_files),
  _maps(
    "vfa_t1_maps, TR in s",
    "refused",
    "vfa.nii: fit_vfa_t1: tr_ms is 0.015 ms, which looks like seconds",
    lambda folder, mask: _vfa_of_files(folder, mask, tr_ms=0.015),
  ),
  _maps(
    "vfa_t1_maps, B1 in per cent",
    "refused",
    "b1.nii: the median B1 in the mask is 100",
    lambda folder, mask: _vfa_of_files(folder, mask, b1=100 * B1),
  ),
  _maps(
    "vfa_t1_maps, B1 in µT",
    "refused",
    "b1.nii: the median B1 in the mask is 13.5",
    lambda folder, mask: _vfa_of_files(folder, mask, b1=13.5 * B1),
  ),
  _maps(
    "t2_maps, TE in s",
    "refused",
    "echoes.nii: fit_t2: the longest of te_ms is 0.09 ms",
    lambda folder, mask: _t2_of_files(folder, mask, TE_MS / 1e3),
  ),
]
