"""Training subjects of random regions, see `generated_heads` in configs."""

from typing import Any

import ml_collections
import numpy as np

from mrf_jax.checks import check_at_least
from mrf_jax.errors import UserError
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.generated_maps import generate_head_maps

_SECTION = "generated_heads"
# Pairs of numbers, and the least that both may be.
_RANGES = {
  "region_mm": 1.0,
  "pd": 0.0,
  "b1_deviation": 0.0,
  "noise": 0.0,
}


def generated_count(config: ml_collections.ConfigDict) -> int:
  """Number of generated heads.

  Configurations of before have none. Nor have those of subjects in files, which
  another scanner than that of the configuration scanned.
  """
  if config.data.get("files"):
    return 0
  return config.get(_SECTION, {}).get("count", 0)


def check_generated_heads(config: ml_collections.ConfigDict) -> None:
  """Raises `UserError` if a value of the section is not valid."""
  count = config.get(_SECTION, {}).get("count", 0)
  if isinstance(count, bool) or not isinstance(count, int) or count < 0:
    raise UserError(f"{_SECTION}.count is {count!r}, not a number of heads")
  if not count:
    return
  options = config[_SECTION]
  check_at_least(f"{_SECTION}.within_region", options.within_region, 0)
  for name, least in _RANGES.items():
    low, high = _pair(f"{_SECTION}.{name}", options[name])
    check_at_least(f"{_SECTION}.{name}[0]", low, least)
    if high < low:
      raise UserError(f"{_SECTION}.{name}: {low:g} is above {high:g}")


def _pair(name: str, values: Any) -> tuple[float, float]:
  """Two finite numbers."""
  try:
    low, high = (float(value) for value in values)
  except (TypeError, ValueError):
    raise UserError(f"{name} is {values!r}, not two numbers") from None
  if not np.isfinite([low, high]).all():
    raise UserError(f"{name} is {values!r}, not finite")
  return low, high


def phantom_and_noise(
  config: ml_collections.ConfigDict, rng: np.random.Generator
) -> tuple[dict, float]:
  """Arguments of `phantom_of` that a generated head has of its own, and noise.

  Returns:
    Its maps and its largest deviation of B1, and its noise level.
  """
  options = config[_SECTION]
  phantom = {
    "maps": generate_head_maps(
      rng,
      SliceGrid(**config.data.grid),
      t1_ms=config.dictionary.t1_ms,
      t2_ms=config.dictionary.t2_ms,
      pd=options.pd,
      region_mm=options.region_mm,
      within_region=options.within_region,
    ),
    "b1_deviation": rng.uniform(*options.b1_deviation),
  }
  return phantom, config.scan.noise_level * rng.uniform(*options.noise)
