"""Trained networks, and maps of a scan from one or several of them."""

import dataclasses
from collections import abc
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Complex64, Float32, Float64

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.inference.network import estimate, estimate_passes, signal_table
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.networks.outputs import split_deviations
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import Sequence


@dataclasses.dataclass(frozen=True)
class Model:
  """A trained network and all that a reconstruction with it needs.

  Attributes:
    method: name of the method.
    network: the Flax module.
    reach: voxels on each side of a patch's centre.
    variables: parameters and batch statistics.
    map_range: of the maps it was trained on.
    normalise_signals_per: how its inputs were standardised.
    acquisition: pulse sequence and sliding window of its scans.
    basis: temporal components that its inputs are projected on,
      [window image, rank], or None.
  """

  method: str
  network: nn.Module
  reach: int
  variables: Any
  map_range: MapRange
  normalise_signals_per: str
  acquisition: Acquisition
  basis: Complex64[np.ndarray, "frame rank"] | None = None

  @property
  def sequence(self) -> Sequence:
    """The pulse sequence of its scans."""
    return self.acquisition.sequence

  @property
  def window(self) -> int:
    """Frames of their sliding window."""
    return self.acquisition.window

  @property
  def stride(self) -> int:
    """Frames from one window to the next."""
    return self.acquisition.stride

  @property
  def has_dropout(self) -> bool:
    """Whether passes with dropout differ."""
    return getattr(self.network, "dropout", 0) > 0


def reconstruct(
  model: Model, subject: Subject, *, precision: str = "float32"
) -> Maps:
  """Maps of a scan; see `reconstruct_with_deviations`."""
  return reconstruct_with_deviations(model, subject, precision=precision)[0]


def reconstruct_with_deviations(
  model: Model,
  subject: Subject,
  *,
  precision: str = "float32",
  n_passes: int = 0,
  seed: int = 0,
) -> tuple[Maps, Maps | None]:
  """Maps of a scan and how far off they may be, all slices in one call.

  Layers that see one voxel run once for each masked voxel, those that see its
  neighbours on all slices, without their tiles that hold no brain.

  Args:
    model: the trained network.
    subject: a scan of the model's sequence and window, with its signals.
    precision: of activations and products, one of `PRECISIONS`.
    n_passes: with dropout, whose mean the maps are then (Gal 2016); 0 is one
      pass without, and so it is for a network that has no dropout.
    seed: of what is dropped.

  Returns:
    Maps in physical units, [voxel] each, and their standard deviations: the
    root of the variance that the network predicts and of the one from pass to
    pass; None where there is neither.

  Raises:
    UserError: the scan's sequence or window is not the model's, its signals
      were not loaded, or the precision is unknown.
  """
  check_scan(model, subject)
  if subject.signals is None:
    raise UserError(f"{subject.subject}: was loaded without its signals")
  signals = subject.signals
  if model.basis is not None:
    signals = signals @ model.basis
  # On the device before the call, so that the host's copy is freed.
  table = jax.device_put(signal_table(signals, per=model.normalise_signals_per))
  arguments = (model.network, model.variables, table, subject.mask)
  options: dict[str, Any] = {"reach": model.reach, "precision": precision}
  variance = None
  if n_passes and model.has_dropout:
    keys = jax.random.split(jax.random.key(seed), n_passes)
    scaled, between = estimate_passes(*arguments, keys=keys, **options)
    variance = between[:, : len(MAP_NAMES)]
    # Those that the network predicts.
    if scaled.shape[-1] > len(MAP_NAMES):
      variance = variance + scaled[:, len(MAP_NAMES) :]
    scaled = scaled[:, : len(MAP_NAMES)]
  else:
    scaled = estimate(*arguments, **options)
    if scaled.shape[-1] > len(MAP_NAMES):
      scaled, log_deviations = split_deviations(scaled)
      variance = np.exp(2 * log_deviations)
  return _in_physical_units(model.map_range, scaled, variance)


def _in_physical_units(
  map_range: MapRange,
  scaled: Float32[np.ndarray, "voxel 3"],
  variance: Float32[np.ndarray, "voxel 3"] | None,
) -> tuple[Maps, Maps | None]:
  """Maps and their deviations."""
  scaled = scaled.astype(np.float64)
  maps = Maps.unstack(map_range.unscale(scaled).astype(np.float32))
  if variance is None:
    return maps, None
  deviations = map_range.unscale_deviations(np.sqrt(variance), scaled)
  return maps, Maps.unstack(deviations.astype(np.float32))


def reconstruct_ensemble(
  models: abc.Sequence[Model],
  subject: Subject,
  *,
  precision: str = "float32",
  n_passes: int = 0,
  seed: int = 0,
) -> tuple[Maps, Maps | None]:
  """Mean maps of several networks, such as the folds of one study.

  The variance is what the networks predict or drop in the mean, and what sets
  them apart (Lakshminarayanan 2017).

  Args:
    models: the trained networks.
    subject: a scan of the models' sequence and window, with its signals.
    precision: of activations and products, one of `PRECISIONS`.
    n_passes: with dropout, of each network; see `reconstruct_with_deviations`.
    seed: of what is dropped.

  Returns:
    Maps in physical units, [voxel] each, and their standard deviations; None
    of a single network that has no deviations.

  Raises:
    UserError: as `reconstruct_with_deviations`.
  """
  for model in models:
    check_scan(model, subject)
  estimates, variances = [], []
  for number, model in enumerate(models):
    maps, deviations = reconstruct_with_deviations(
      model, subject, precision=precision, n_passes=n_passes, seed=seed + number
    )
    if len(models) == 1:
      return maps, deviations
    estimates.append(maps.stack().astype(np.float64))
    if deviations is not None:
      variances.append(np.square(deviations.stack().astype(np.float64)))
  variance = np.var(estimates, 0, ddof=1)
  if variances:
    variance += np.sum(variances, 0) / len(models)
  return _unstacked(np.mean(estimates, 0)), _unstacked(np.sqrt(variance))


def _unstacked(values: Float64[np.ndarray, "voxel 3"]) -> Maps:
  return Maps.unstack(values.astype(np.float32))


def check_scan(model: Model, subject: Subject) -> None:
  """Refuses a scan that the model was not trained for, naming both values.

  Args:
    model: the trained network.
    subject: the scan.

  Raises:
    UserError: its frames, window or sequence are not the model's.
  """
  difference = subject.acquisition.difference(model.acquisition)
  if difference:
    own, expected = difference
    raise UserError(f"{subject.subject}: {own}, the model needs {expected}")
