"""Checks of arrays that several folders make."""

import numpy as np

from mrf_jax.errors import UserError


def check_shape(name: str, values: np.ndarray, shape: tuple) -> None:
  """The shape that fits the samples."""
  if values.shape != shape:
    raise UserError(
      f"{name} has shape {values.shape}, but the samples ask for {shape}"
    )


def check_finite(name: str, values: np.ndarray) -> None:
  """No NaN and no infinity."""
  n_bad = values.size - int(np.count_nonzero(np.isfinite(values)))
  if n_bad:
    raise UserError(f"{name}: {n_bad} values are NaN or infinite")
