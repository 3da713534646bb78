"""Units of reference maps of other programs."""

import functools

import nibabel
import numpy as np

from mrf_jax import make_sequence, save_subject, simulate_fingerprints
from mrf_jax.importing.from_flags import (
  ImportOptions,
  read_acquisition,
  read_scan,
)
from tests.wrong_inputs.cases import OUTPUT, Case, Seen

_UNIT_FRAMES = 60
_UNIT_SHAPE = (16, 16, 2)


@functools.cache
def _unit_head() -> dict[str, np.ndarray]:
  """A disc of matter around fluid, and its echoes, [x, y, slice, …]."""
  rng = np.random.default_rng(0)
  x, y, _ = np.indices(_UNIT_SHAPE) - 7.5
  radius = np.hypot(x, y)
  tissue = np.digitize(radius, (2.0, 5.0))  # fluid, white, grey matter
  vary = rng.normal(1, 0.04, (3, *_UNIT_SHAPE))
  t1_ms, t2_ms, pd = (
    np.array(values)[tissue] * v
    for values, v in zip(
      ((4200.0, 750.0, 1150.0), (1800.0, 70.0, 90.0), (1.0, 0.7, 0.8)),
      vary,
      strict=True,
    )
  )
  mask = radius < 7
  frames = np.arange(_UNIT_FRAMES)
  sequence = make_sequence(
    10 + 50 * np.abs(np.sin(frames / 12)), 14.0, 2.0, inversion_time_ms=20.0
  )
  echoes = simulate_fingerprints(sequence, t1_ms[mask], t2_ms[mask])
  series = np.zeros((*_UNIT_SHAPE, _UNIT_FRAMES), np.complex64)
  series[mask] = pd[mask][:, None] * np.asarray(echoes)
  return {
    "series": series,
    "mask": mask.astype(np.uint8),
    "pd": pd * mask,
    "t1": t1_ms * mask,
    "t2": t2_ms * mask,
    "flips": sequence.flip_angles_deg,
  }


def _map_case(case: str, expected: str, words: str, change, **flags) -> Case:
  """A case of reference maps, of which some are changed: name to function."""

  def run(folder):
    head = _unit_head()
    paths = {}
    for name in ("series", "mask", "pd", "t1", "t2"):
      with np.errstate(divide="ignore"):
        values = change.get(name, lambda v: v)(head[name])
      values[~np.isfinite(values)] = 0
      if values.dtype == float:
        values = values.astype(np.float32)
      paths[name] = str(folder / f"{name}.nii")
      nibabel.save(
        nibabel.Nifti1Image(values, np.diag([2.0, 2, 5, 1])), paths[name]
      )
    np.savetxt(folder / "train.txt", head["flips"])
    options = ImportOptions(
      scan=paths.pop("series"),
      schedule=str(folder / "train.txt"),
      tr_ms=14.0,
      te_ms=2.0,
      inversion_time_ms="20",
      field_strength_t=1.5,
      **paths,
      **flags,
    )
    acquisition, said = read_acquisition(options)
    imported = read_scan(options, acquisition, assumptions=said)
    save_subject(imported.subject, folder / f"{OUTPUT}.h5")
    maps = imported.subject.maps
    inside = imported.subject.mask
    right = np.allclose(
      maps.t1_ms, head["t1"].transpose(2, 1, 0)[inside], rtol=1e-4
    ) and np.allclose(
      maps.t2_ms, head["t2"].transpose(2, 1, 0)[inside], rtol=1e-4
    )
    result = (
      f"medians T1 {np.median(maps.t1_ms):.4g} ms, T2 "
      f"{np.median(maps.t2_ms):.4g} ms, PD {np.median(maps.pd):.3g}"
    )
    return Seen(result, bool(right), imported.assumptions)

  return Case(f"reference maps, {case}", expected, words, run)


def _rate(times_ms: np.ndarray) -> np.ndarray:
  """A rate in 1/s."""
  return 1e3 / times_ms


def _in_s(times_ms: np.ndarray) -> np.ndarray:
  return times_ms / 1e3


_BOTH = {"t1": _rate, "t2": _rate}
_EITHER = "--t1_unit=s or --t1_unit=1/s?"
_ARE_RATES = "are one or both maps of rates, R1 or R2"
CASES: list[Case] = [
  _map_case("as they should be", "right", "", {}),
  _map_case("T1 and T2 in s", "refused", _EITHER, {"t1": _in_s, "t2": _in_s}),
  _map_case(
    "T1 and T2 in s, said",
    "right",
    "",
    {"t1": _in_s, "t2": _in_s},
    t1_unit="s",
    t2_unit="s",
  ),
  _map_case("R1 and R2 in 1/s", "refused", _EITHER, _BOTH),
  _map_case(
    "R1 and R2 in 1/s, --t1_unit=s", "refused", _ARE_RATES, _BOTH, t1_unit="s"
  ),
  _map_case(
    "R1 and R2 in 1/s, --t1_unit=s --t2_unit=ms",
    "refused",
    _ARE_RATES,
    _BOTH,
    t1_unit="s",
    t2_unit="ms",
  ),
  _map_case(
    "R1 and R2 in 1/s, both units s",
    "refused",
    "--t2_unit=ms or --t2_unit=1/s?",
    _BOTH,
    t1_unit="s",
    t2_unit="s",
  ),
  _map_case(
    "R1 and R2 in 1/s, said",
    "right",
    "",
    _BOTH,
    t1_unit="1/s",
    t2_unit="1/s",
  ),
  _map_case(
    "R1 in 1/ms", "refused", "--t1_unit=1/ms?", {"t1": lambda t: 1 / t}
  ),
  _map_case(
    "R1 in 1/ms, said",
    "right",
    "",
    {"t1": lambda t: 1 / t},
    t1_unit="1/ms",
  ),
  _map_case(
    "R1 in 1/s beside T2 in ms, --t1_unit=s",
    "refused",
    _ARE_RATES,
    {"t1": _rate},
    t1_unit="s",
  ),
  _map_case("R2 in 1/s beside T1 in ms", "refused", _ARE_RATES, {"t2": _rate}),
  _map_case(
    "T1 in s taken for rates",
    "refused",
    _ARE_RATES,
    {"t1": _in_s},
    t1_unit="1/s",
  ),
  _map_case(
    "T1 and T2 exchanged",
    "refused",
    "are they exchanged?",
    {"t1": lambda t: _unit_head()["t2"], "t2": lambda t: _unit_head()["t1"]},
  ),
  _map_case(
    "PD in per cent",
    "named",
    "(per cent?); errors of PD are in this unit",
    {"pd": lambda pd: 100 * pd},
  ),
  _map_case(
    "M0 of a fit as PD",
    "named",
    "errors of PD are in this unit",
    {"pd": lambda pd: 1234 * pd},
  ),
]
