"""Checks of values that several folders make; each raises `UserError`.

`name` is that of the value in the message.
"""

import math
from collections.abc import Iterable, Sequence

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


# Values of a simulated scan: checked before anything is simulated, and where
# they are used.


def check_t2_bound(t2_bound_ms: float | None, te_ms: Iterable[float]) -> None:
  """Raises `UserError` if the T2 of a reference would end below its echoes.

  Args:
    t2_bound_ms: greatest T2 of the fit, ms; None is no bound of its own.
    te_ms: echo times, ms.
  """
  last = max(te_ms)
  if t2_bound_ms is not None and not last <= t2_bound_ms < math.inf:
    raise UserError(
      f"reference.t2_bound_ms is {t2_bound_ms:g}, not at least the last echo "
      f"at {last:g} ms: the fit would end there in grey matter"
    )


def check_gradient_delays(
  delays_us: Sequence[float], *, readout_ms: float
) -> None:
  """Raises `UserError` unless x and y have a delay shorter than the readout."""
  longest = 1e3 * readout_ms
  if len(delays_us) != 2 or not all(abs(d) < longest for d in delays_us):
    raise UserError(
      f"scan.gradient_delays_us is {tuple(delays_us)}, not two delays, along x "
      f"and y, shorter than the readout of {longest:g} µs"
    )


def check_noise_correlation(correlation: float) -> None:
  """Raises `UserError` unless neighbouring coils correlate by less than 1."""
  if not 0 <= correlation < 1:
    raise UserError(
      f"scan.noise_correlation is {correlation:g}, not from 0 to below 1"
    )
