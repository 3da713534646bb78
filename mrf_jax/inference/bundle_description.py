"""What `model.json` of a model bundle says, written and read."""

import math
from typing import Any

import numpy as np

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.inference.model import PD_UNITS, Model
from mrf_jax.io.arrays import text_checksum
from mrf_jax.maps import MAP_NAMES
from mrf_jax.networks.options import module_options
from mrf_jax.sequence.sequence import PULSE_FIELDS
from mrf_jax.simulation.tissue import FIELD_STRENGTH_T

_FORMAT = "mrf-model"
_VERSION = 2
_KEYS = {
  "format",
  "version",
  "method",
  "network",
  "maps_low",
  "maps_high",
  "maps_powers",
  "normalise_signals_per",
  "sequence",
  "window",
  "stride",
  "config",
  "training",
  "sha256",
}
# Bounds of estimates on the scale of the network's maps, [2, 3]; not in bundles
# without them, among which are those of before there were any.
_BOUNDS = "maps_bounds"
# What the unit of PD is; not in bundles whose PD is that of reference maps.
_PD_UNIT = "pd_unit"
# Least and greatest B1 of the training; not in bundles whose network does not
# see B1.
_B1_RANGE = "b1_range"
# Factors on predicted standard deviations; not in bundles whose factors are
# one, among which are those of before there were any.
_DEVIATION_SCALE = "deviation_scale"
_OPTIONAL_KEYS = {_BOUNDS, _PD_UNIT, _B1_RANGE, _DEVIATION_SCALE}
# Of the scans that the network was trained on, tesla.
_FIELD = "field_strength_t"


def describe(model: Model, *, config: dict, training: dict) -> dict[str, Any]:
  """Description of a model but for its checksums.

  Args:
    model: the trained network.
    config: the configuration of the experiment.
    training: seconds, subjects and more of the training.
  """
  field_t = {_FIELD: model.field_strength_t} if model.field_strength_t else {}
  return {
    "format": _FORMAT,
    "version": _VERSION,
    "method": model.method,
    "network": module_options(model.network),
    "maps_low": list(map(float, model.map_range.low)),
    "maps_high": list(map(float, model.map_range.high)),
    "maps_powers": list(map(float, model.map_range.powers)),
    **(
      {}
      if model.map_range.bounds is None
      else {_BOUNDS: np.asarray(model.map_range.bounds).tolist()}
    ),
    **({} if model.pd_unit == PD_UNITS[0] else {_PD_UNIT: model.pd_unit}),
    **({} if model.b1_range is None else {_B1_RANGE: list(model.b1_range)}),
    **(
      {}
      if set(model.deviation_scale) == {1.0}
      else {_DEVIATION_SCALE: list(model.deviation_scale)}
    ),
    "normalise_signals_per": model.normalise_signals_per,
    "sequence": {
      name: np.asarray(value).tolist() if value is not None else None
      for name, value in vars(model.sequence).items()
      # Versions that do not know them read bundles without.
      if name not in PULSE_FIELDS or value not in (None, 1.0)
    },
    "window": model.window,
    "stride": model.stride,
    "config": config,
    "training": {**training, **field_t},
  }


def description_checksum(description: dict) -> str:
  """SHA-256 of the content of `model.json` without its checksums."""
  return text_checksum({k: v for k, v in description.items() if k != "sha256"})


def check_description(description: dict) -> None:
  """Raises `ValueError` unless it is one, and as it was written."""
  version = description["format"], description["version"]
  if version != (_FORMAT, _VERSION):
    raise ValueError("{} version {}".format(*version))
  missing = _KEYS - description.keys()
  unknown = description.keys() - _KEYS - _OPTIONAL_KEYS
  if missing:
    raise ValueError(f"model.json has no {', '.join(sorted(missing))}")
  if unknown:
    raise ValueError(f"model.json has {', '.join(sorted(unknown))}")
  for name in ("config", "training"):
    if not isinstance(description[name], dict):
      raise ValueError(f"{name} is not a dictionary")
  checksum = description["sha256"]["description"]
  if checksum != description_checksum(description):
    raise ValueError("model.json was changed after it was written")


def training_record(description: dict) -> dict[str, Any]:
  """What was said of the training when the bundle was written."""
  training = description["training"]
  return {name: value for name, value in training.items() if name != _FIELD}


def read_map_range(description: dict) -> MapRange:
  """Range and bounds of the maps; `ValueError` if they cannot be such."""
  limits = [description["maps_low"], description["maps_high"]]
  ends = {"range": limits, "bounds": description.get(_BOUNDS, limits)}
  arrays = {name: np.array(pair, np.float64) for name, pair in ends.items()}
  for name, pair in arrays.items():
    if pair.shape != (2, len(MAP_NAMES)) or not np.isfinite(pair).all():
      raise ValueError(f"the {name} of its maps is {pair.tolist()}")
  low, high = arrays["range"]
  bounds = arrays["bounds"] if _BOUNDS in description else None
  if bounds is not None and not (bounds[0] < bounds[1]).all():
    raise ValueError(f"the bounds of its maps are {bounds.tolist()}")
  return MapRange(
    low, high, powers=tuple(description["maps_powers"]), bounds=bounds
  )


def read_b1_range(description: dict) -> tuple[float, float] | None:
  """Least and greatest B1 of the training, if any; `ValueError` if not such."""
  if _B1_RANGE not in description:
    return None
  low, high = map(float, description[_B1_RANGE])
  if not 0 < low <= high < np.inf:
    raise ValueError(f"B1 of its training was from {low:g} to {high:g}")
  return low, high


def read_deviation_scale(description: dict) -> tuple[float, float, float]:
  """Factors on standard deviations; `ValueError` if they cannot be such."""
  pd, t1, t2 = map(float, description.get(_DEVIATION_SCALE, (1.0, 1.0, 1.0)))
  if not all(0 < x < math.inf for x in (pd, t1, t2)):
    raise ValueError(
      f"factors of its standard deviations are {pd:g}, {t1:g} and {t2:g}"
    )
  return pd, t1, t2


def read_pd_unit(description: dict, *, has_statistics: bool) -> str:
  """The unit of PD; `ValueError` for one that the model cannot have."""
  unit = description.get(_PD_UNIT, PD_UNITS[0])
  if unit not in PD_UNITS or (unit != PD_UNITS[0] and not has_statistics):
    raise ValueError(f"PD in the unit of {unit!r} cannot be")
  return unit


def read_field_strength_t(description: dict) -> float | None:
  """Field strength of the training scans; None if it is not known."""
  training, config = description["training"], description["config"]
  if _FIELD in training:
    field_t = float(training[_FIELD])
    if not 0 < field_t < math.inf:
      raise ValueError(f"the field strength is {field_t} T")
    return field_t
  # Older bundles do not say it. Those of a study without files were trained on
  # simulated heads only, and stayed so unless they were trained further.
  data = config.get("data")
  if not isinstance(data, dict) or data.get("files") or "from" in training:
    return None
  return FIELD_STRENGTH_T
