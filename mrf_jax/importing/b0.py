"""A measured map of the main field's offset, for raw data.

Files say neither its unit nor its sign. Both change how sharp the images of a
scan become, which tells whether they were taken rightly.
"""

import itertools
import os
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from mrf_jax.errors import UserError
from mrf_jax.importing.places import Grid
from mrf_jax.importing.volumes import read_field
from mrf_jax.units import B0_UNITS, hz_per_unit

# Largest offset of a field in an object, ppm: near air it is below 10.
_MOST_PPM = 10.0
# Standard deviation of the Gaussian that smooths a map, voxels.
_BLUR = 2.0
# Weight of a map's voxels, from 0 to 1, from which on those around are known.
_LEAST_WEIGHT = 0.03
# Images are sharper if they have so many times the sharpness of others. Without
# its correction, a field of 30 Hz during 8 ms changed it by 10 %.
_SHARPER = 1.02


def read_b0(
  path: str | os.PathLike, grid: Grid, said: list[str]
) -> Float32[np.ndarray, "slice y x"]:
  """The values of a NIfTI map at the voxels of a scan, 0 where there are none.

  Raises:
    UserError: the file is damaged, does not lie on the scan, or has no values.
  """
  values = read_field(path, grid, said).transpose(2, 1, 0)
  if not values.any():
    raise UserError(f"{path}: has no values but 0 and NaN at the scan's voxels")
  return np.ascontiguousarray(values)


def choose_factor(
  sharpness_of: Callable[[float], float],
  *,
  path: str | os.PathLike,
  largest: float,
  field_t: float,
  unit: str | None,
  sign: int | None,
) -> tuple[float, str]:
  """Factor from the values of a map to Hz, and a sentence.

  Hz, with a sign that turns the phase of a voxel forwards, if the images do not
  become sharper by another unit or sign that is possible.

  Args:
    sharpness_of: sharpness of images that are corrected by the map times a
      factor, 0 without correction; raises `UserError` for too large a field.
    path: of the map, for messages.
    largest: size of nearly all values of the map.
    field_t: main magnetic field, tesla.
    unit: one of `B0_UNITS`, or None if it is to be checked.
    sign: 1 or -1, or None likewise.

  Raises:
    UserError: another unit or sign makes the images sharper, or the field is
      too large in all that are possible.
  """
  units = B0_UNITS if unit is None else (unit,)
  signs = (1, -1) if sign is None else (sign,)
  most_hz = _MOST_PPM * hz_per_unit("ppm", field_t)
  values: dict[tuple[str, int], float] = {}
  problem = f"no field of a scanner is so large, {largest:.3g}"
  for key in itertools.product(units, signs):
    factor = key[1] * hz_per_unit(key[0], field_t)
    if unit is None and largest * abs(factor) > most_hz:
      continue
    try:
      values[key] = sharpness_of(factor)
    except UserError as error:
      problem = str(error)
  if not values:
    raise UserError(f"{path}: {problem}")
  without = sharpness_of(0.0)
  best = max(values, key=lambda key: values[key])
  first = (units[0], signs[0])
  if first not in values or (
    values[best] > _SHARPER * max(values[first], without)
  ):
    raise UserError(f"{path}: {_advice(first, best)}")
  factor = first[1] * hz_per_unit(first[0], field_t)
  text = f"the field is that of {path}, in {first[0]}"
  text += ", of which a positive value turns the phase "
  text += "forwards" if first[1] > 0 else "backwards"
  more = "" if values[first] > without else "not "
  return factor, f"{text}: images are {more}sharper with it"


def _advice(first: tuple[str, int], best: tuple[str, int]) -> str:
  """What makes images sharper, and the flags that say which is right."""
  changes = []
  if best[0] != first[0]:
    changes.append(f"taken in {best[0]}")
  if best[1] != first[1]:
    changes.append("with its sign turned")
  return (
    f"images are sharper with this field {' and '.join(changes)}; "
    f"--b0_unit={best[0]} --b0_sign={best[1]} takes it so, "
    f"--b0_unit={first[0]} --b0_sign={first[1]} as it was to be"
  )


def smoothed(
  values: Float32[np.ndarray, "slice y x"],
) -> Float32[np.ndarray, "slice y x"]:
  """A map without the noise of its voxels, and a few voxels wider; 0 beyond.

  Noise that a wrong unit multiplies makes images noisy, which passes for sharp.
  What is blurred over the rim of the map has no value there.
  """
  from scipy import ndimage

  def blur(x):
    return ndimage.gaussian_filter(x.astype(np.float32), (0, _BLUR, _BLUR))

  weights = blur(values != 0)
  known = weights > _LEAST_WEIGHT
  return np.where(known, blur(values) / np.where(known, weights, 1), 0)
