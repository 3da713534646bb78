"""Brings predicted standard deviations to the size of the errors."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from mrf_jax.dataset.subject import Subject
from mrf_jax.inference.model import Model, scaled_estimates
from mrf_jax.maps import Maps

# Share of normal errors within so many standard deviations.
_SHARES = {1: 0.6827, 2: 0.9545}


def with_scaled_deviations(
  model: Model,
  scans: Iterable[tuple[Subject, Maps]],
  *,
  precision: str = "float32",
  least: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Model:
  """The model with `deviation_scale` by its errors in the training scans.

  Standard deviations learn from the errors of a network in training: while the
  weights still move, batch normalisation knows the batch alone, and masks of
  tiles are altered. They end larger than the errors of reconstructions, those
  of left-out scans as well. The scale of each map is the least by which 68 % of
  the errors are within one standard deviation and 95 % within two, both as the
  network has them, on the scale of its maps. A network that has learned its few
  scans by heart errs more in others, which they do not tell.

  Args:
    model: the trained model.
    scans: its training scans, with their signals, and the maps that it learned
      from each.
    precision: see `reconstruct_with_deviations`.
    least: factors that are the least.

  Returns:
    The same model if its network predicts no standard deviations, or if there
    are no errors to compare them with.
  """
  if not model.predicts_deviations:
    return model
  # Those of the network itself, whatever scale it had.
  model = dataclasses.replace(model, deviation_scale=(1.0, 1.0, 1.0))
  ratios = []
  for subject, references in scans:
    scaled, variance, gain = scaled_estimates(
      model, subject, precision=precision
    )
    assert variance is not None
    maps = references.stack() * np.array([gain, 1, 1])
    error = abs(scaled - model.map_range.scale(maps))
    ratios.append((error / np.sqrt(variance)).astype(np.float32))
  if not ratios:
    return model
  of_all = np.concatenate(ratios)
  scale = np.max(
    [np.quantile(of_all, share, 0) / k for k, share in _SHARES.items()], 0
  )
  if not (np.isfinite(scale) & (scale > 0)).all():
    return model
  pd, t1, t2 = map(float, np.maximum(scale, least))
  return dataclasses.replace(model, deviation_scale=(pd, t1, t2))
