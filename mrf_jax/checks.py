"""Checks of values that several folders make; each raises `UserError`.

`name` is that of the value in the message.
"""

from collections.abc import Iterable

import numpy as np

from mrf_jax.errors import UserError


def check_shape(name: str, values: np.ndarray, shape: tuple) -> None:
  """Raises `UserError` if an array has another shape."""
  if values.shape != shape:
    raise UserError(f"{name} has shape {values.shape}, not {shape}")


def check_finite(name: str, values: np.ndarray) -> None:
  """Raises `UserError` if a real or complex number is NaN or infinite."""
  finite = np.isfinite(values)
  if not finite.all():
    first = np.unravel_index(np.argmin(finite), finite.shape)
    n_bad = finite.size - np.count_nonzero(finite)
    raise UserError(
      f"{name}: {n_bad} values are NaN or infinite, the first at "
      f"{[int(i) for i in first]}"
    )


def check_one_of(name: str, value: object, known: Iterable[str]) -> None:
  """Raises `UserError` if a value is not one of those that are known."""
  known = tuple(known)
  if value not in known:
    raise UserError(f"{name}: {value!r} is not one of {', '.join(known)}")


def check_at_least(name: str, value: float, least: float) -> None:
  """Raises `UserError` if a number is below its least value, or NaN."""
  if not value >= least:
    raise UserError(f"{name} is {value}, not at least {least}")
