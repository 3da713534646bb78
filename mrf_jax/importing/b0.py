"""A measured map of the main field's offset, for raw data.

Files say neither its unit nor its sign. Both change how sharp the images of a
scan become, which tells whether they were taken rightly.
"""

import itertools
import os
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Complex64, Float32

from mrf_jax.errors import UserError
from mrf_jax.importing.places import Grid
from mrf_jax.importing.volumes import read_field
from mrf_jax.units import B0_UNITS, hz_per_unit

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
    raise UserError(f"{path}: holds nothing but zeros")
  return np.ascontiguousarray(values)


def choose_factor(
  sharpness_of: Callable[[float], float],
  *,
  path: str | os.PathLike,
  field_t: float,
  unit: str | None,
  sign: int | None,
) -> tuple[float, str]:
  """Factor from the values of a map to Hz, and a sentence.

  Hz, with a sign that turns the phase of a voxel forwards, if the images do not
  become sharper by another unit or sign.

  Args:
    sharpness_of: sharpness of images that are corrected by the map times a
      factor, 0 without correction; raises `UserError` for too large a field.
    path: of the map, for messages.
    field_t: main magnetic field, tesla.
    unit: one of `B0_UNITS`, or None if it is to be checked.
    sign: 1 or -1, or None likewise.

  Raises:
    UserError: another unit or sign makes the images sharper, or the field is
      too large in the one that is given.
  """
  units = B0_UNITS if unit is None else (unit,)
  signs = (1, -1) if sign is None else (sign,)
  first = (units[0], signs[0])
  values = {first: sharpness_of(signs[0] * hz_per_unit(units[0], field_t))}
  for other in itertools.product(units, signs):
    if other not in values:
      try:
        factor = other[1] * hz_per_unit(other[0], field_t)
        values[other] = sharpness_of(factor)
      except UserError:
        # Too large a field in this unit.
        continue
  best = max(values, key=lambda key: values[key])
  without = sharpness_of(0.0)
  if values[best] > _SHARPER * max(values[first], without):
    raise UserError(f"{path}: {_advice(values, first, best)}")
  factor = first[1] * hz_per_unit(first[0], field_t)
  text = f"the field is that of {path}, in {first[0]}"
  text += ", of which a positive value turns the phase "
  text += "forwards" if first[1] > 0 else "backwards"
  more = "" if values[first] > without else "not "
  return factor, f"{text}: images are {more}sharper with it"


def _advice(
  values: Mapping[tuple[str, int], float],
  first: tuple[str, int],
  best: tuple[str, int],
) -> str:
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


def sharpness(image: Complex64[np.ndarray, "y x"]) -> float:
  """Energy of the steps between voxels, relative to that of the image.

  Of simulated discs of small squares in a field of 30 to 100 Hz during 8 ms, it
  was the largest with the right unit and sign; the entropy of the image, its
  fourth power and the energy outside of the object differed by far less, or had
  their best at another unit.
  """
  magnitude = np.abs(image).astype(np.float64)
  energy = np.sum(np.square(magnitude))
  steps = sum(np.sum(np.square(np.diff(magnitude, axis=k))) for k in (0, 1))
  return float(steps / energy) if energy else 0.0
