"""Trained models, and maps of a scan from one or several of them."""

import dataclasses
from collections import abc
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Complex64, Float32, Float64

from mrf_jax.dataset.identity import is_same_field
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.standardise import SignalStatistics
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.inference.network import estimate, estimate_passes, signal_table
from mrf_jax.maps import MAP_NAMES, Maps, bounded
from mrf_jax.networks.channels import b1_channel, known_b1, sees_b1
from mrf_jax.networks.match_layer import COLLECTION
from mrf_jax.networks.options import module_options
from mrf_jax.networks.outputs import split_deviations
from mrf_jax.sequence.acquisition import Acquired, Acquisition
from mrf_jax.sequence.sliding_window import how_to_make_windows

# What the unit of a network's PD is.
PD_UNITS = ("references", "signals")


@dataclasses.dataclass(frozen=True, repr=False)
class Model(Acquired):
  """A trained network and all that a reconstruction with it needs.

  Attributes:
    method: name of the method.
    network: the Flax module.
    variables: parameters and batch statistics of the network.
    map_range: range of the maps that it was trained on, whose bounds, if any,
      its estimates keep.
    normalise_signals_per: what was standardised, see `normalise_signals`.
    statistics: of the signals that it was trained on, with the reference of its
      input signals; None where each scan is standardised by its own.
    pd_unit: one of `PD_UNITS`: `references`, that of the maps that it was
      trained on, however bright a scan is; or `signals`, that of a scan's
      signals, as a dictionary's PD.
    b1_range: least and greatest B1 of the scans that it was trained on, beyond
      which a scan's B1 is taken to be these; None if the network sees no B1.
    deviation_scale: factors on the standard deviations of PD, T1 and T2 that
      the network predicts, see `with_scaled_deviations`.
    acquisition: pulse sequence and sliding window of its scans.
    field_strength_t: main magnetic field of the scans that it was trained on,
      tesla; None if unknown.
    basis: temporal components on which its input signals are projected,
      [window, rank], or None.
    config: configuration of its training, for `save_model`.
    training: record of its training (seconds, scans and more), for
      `save_model`.
  """

  method: str
  network: nn.Module
  variables: Any
  map_range: MapRange
  normalise_signals_per: str
  acquisition: Acquisition
  basis: Complex64[np.ndarray, "frame rank"] | None = None
  field_strength_t: float | None = None
  statistics: SignalStatistics | None = None
  pd_unit: str = "references"
  b1_range: tuple[float, float] | None = None
  deviation_scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
  config: dict = dataclasses.field(default_factory=dict)
  training: dict = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    """Checks that a network has a range of B1 if, and only if, it sees B1."""
    if sees_b1(self.network) != (self.b1_range is not None):
      raise ValueError(
        f"b1_range is {self.b1_range}, but the network has "
        f"sees_b1={sees_b1(self.network)}"
      )

  def __repr__(self) -> str:
    """Network and scans in three lines, without its variables."""
    n_values = sum(
      np.size(x)
      for name, tree in self.variables.items()
      if name != COLLECTION
      for x in jax.tree.leaves(tree)
    )
    field_t = self.field_strength_t
    field = "" if field_t is None else f", {field_t:g} T"
    options = ", ".join(
      f"{name}={value}" for name, value in module_options(self.network).items()
    )
    return (
      f"Model {self.method}: {n_values:,} trained values\n"
      f"  {type(self.network).__name__}({options})\n"
      f"  scans of {self.sequence.n_frames} frames, "
      f"{self.acquisition.images_in_words()}{field}"
    )

  def physical_bounds(self) -> Float64[np.ndarray, "2 3"] | None:
    """Least and greatest PD, T1 and T2 (ms) of estimates of any scan, if any.

    They are infinite for PD in the unit of a scan's signals.
    """
    return self.range_of_estimates.physical_bounds()

  @property
  def range_of_estimates(self) -> MapRange:
    """Range of the maps, with the bounds of estimates of any scan.

    PD in the unit of a scan's signals has none: how bright a voxel is over the
    gain of the scan depends on all that is in its mask.
    """
    if self.pd_unit == "signals":
      return self.map_range.with_unbounded_pd()
    return self.map_range

  @property
  def has_dropout(self) -> bool:
    """Whether the network has layers that drop activations at random."""
    return getattr(self.network, "dropout", 0) > 0

  @property
  def predicts_deviations(self) -> bool:
    """Whether the network has outputs of the maps' standard deviations."""
    return getattr(self.network, "n_outputs", 0) > len(MAP_NAMES)


def check_field(
  name: object, own_t: float | None, model_t: float | None
) -> None:
  """Raises `UserError`, which begins with a name, at another field strength.

  Where one of the two is not known, nothing is raised.
  """
  if own_t is None or model_t is None or is_same_field(own_t, model_t):
    return
  raise UserError(
    f"{name}: is of {own_t:g} T (--field_strength_t of import and reconstruct "
    f"gives it), the model was trained at {model_t:g} T, where T1 and T2 are "
    f"others; --mode=train makes one at {own_t:g} T, and "
    "--model=dictionary_fit needs no training"
  )


def check_ensemble(name: object, model: Model, other: Model) -> None:
  """Raises `UserError`, which begins with a name, for no models of an ensemble.

  Their PD is in two units, or one sees B1 and the other does not.
  """
  if (model.b1_range is None) != (other.b1_range is None):
    sees, blind = ("", "not ") if model.b1_range else ("not ", "")
    raise UserError(
      f"{name}: its network does {sees}see B1, that of the first model does "
      f"{blind}see it; models of one ensemble need the same"
    )
  if model.pd_unit != other.pd_unit:
    raise UserError(
      f"{name}: its PD is in the unit of the {model.pd_unit}, that of the "
      f"first model in the unit of the {other.pd_unit}; models of one ensemble "
      "need the same"
    )


def reconstruct(
  model: Model, subject: Subject, *, precision: str = "float32"
) -> Maps:
  """Estimates the maps of a scan; see `reconstruct_with_deviations`."""
  return reconstruct_with_deviations(model, subject, precision=precision)[0]


def reconstruct_with_deviations(
  model: Model,
  subject: Subject,
  *,
  precision: str = "float32",
  n_passes: int = 0,
  seed: int = 0,
) -> tuple[Maps, Maps | None]:
  """Estimates the maps of a scan and their standard deviations.

  All slices are one compiled call. Layers that see a single voxel run once for
  each masked voxel; layers that see its neighbours run on tiles of the slices,
  except tiles without masked voxels.

  Args:
    model: the trained model.
    subject: a scan of the model's sequence and window, with its signals.
    precision: precision of activations and products, one of `PRECISIONS`.
    n_passes: number of passes with dropout (Gal 2016), whose mean the maps are;
      0, or a network without dropout, is a single pass without it.
    seed: seed of the dropout.

  Returns:
    Maps in physical units, [voxel] each, within the bounds of the model, for
    B1 within that of its training if its network sees B1, and
    their standard deviations, the square root of the variance that the network
    predicts plus the variance from pass to pass; None if there is neither.
    Bounds change no standard deviation.

  Raises:
    UserError: the scan's sequence, window or field strength is not the model's,
      its signals were not loaded, the precision is unknown, or the network sees
      B1 and the scan has no map of it.
  """
  outputs = scaled_estimates(
    model, subject, precision=precision, n_passes=n_passes, seed=seed
  )
  return _in_physical_units(model.range_of_estimates, *outputs)


def seen_components(
  model: Model, subject: Subject
) -> Complex64[np.ndarray, "voxel component"]:
  """Signals of a scan, projected on the model's components, if it has some.

  Raises:
    UserError: the scan is of another kind than the model's, or was loaded
      without its signals.
  """
  _check_scan(model, subject)
  if subject.signals is None:
    raise UserError(f"{subject.subject}: was loaded without its signals")
  if model.basis is None:
    return subject.signals
  return subject.signals @ model.basis


def scaled_estimates(
  model: Model,
  subject: Subject,
  signals: Complex64[np.ndarray, "voxel component"] | None = None,
  *,
  precision: str,
  n_passes: int = 0,
  seed: int = 0,
) -> tuple[
  Float32[np.ndarray, "voxel 3"], Float32[np.ndarray, "voxel 3"] | None, float
]:
  """Maps and their variance on the scale of [0, 1], as the network has them.

  And how much brighter than the unit of PD the signals are that it sees.
  `signals` are the scan's `seen_components`, if they are known already; all
  else is as in `reconstruct_with_deviations`.
  """
  if signals is None:
    signals = seen_components(model, subject)
  b1 = seen_b1(model, subject)
  table = jax.device_put(
    signal_table(
      signals,
      per=model.normalise_signals_per,
      statistics=model.statistics,
      b1=None if b1 is None else b1_channel(b1),
    )
  )
  arguments = (model.network, model.variables, table, subject.mask)
  variance, scale = None, np.array(model.deviation_scale, np.float32)
  if n_passes and model.has_dropout:
    keys = jax.random.split(jax.random.key(seed), n_passes)
    scaled, between = estimate_passes(
      *arguments, keys=keys, precision=precision
    )
    variance = between[:, : len(MAP_NAMES)]
    # The variances that the network predicts follow the maps.
    if scaled.shape[-1] > len(MAP_NAMES):
      variance = variance + scale**2 * scaled[:, len(MAP_NAMES) :]
    scaled = scaled[:, : len(MAP_NAMES)]
  else:
    scaled = estimate(*arguments, precision=precision)
    if scaled.shape[-1] > len(MAP_NAMES):
      scaled, log_deviations = split_deviations(scaled)
      variance = np.square(scale * np.exp(log_deviations))
  gain = 1.0
  if model.pd_unit == "signals":
    assert model.statistics is not None
    gain = model.statistics.reference.gain(signals)
  return scaled, variance, gain


def seen_b1(
  model: Model, subject: Subject
) -> Float32[np.ndarray, "voxel"] | None:
  """B1 of a scan within that of a model's training; None if it sees none."""
  if model.b1_range is None:
    return None
  low, high = map(np.float32, model.b1_range)
  return known_b1(subject.subject, subject).clip(low, high)


def _in_physical_units(
  map_range: MapRange,
  scaled: Float32[np.ndarray, "voxel 3"],
  variance: Float32[np.ndarray, "voxel 3"] | None,
  gain: float,
) -> tuple[Maps, Maps | None]:
  """Maps and standard deviations from outputs on the scale of [0, 1]."""

  def in_units(values: np.ndarray) -> Maps:
    return Maps.unstack((values / [gain, 1.0, 1.0]).astype(np.float32))

  scaled = scaled.astype(np.float64)
  maps = bounded(in_units(map_range.unscale(scaled)))
  if variance is None:
    return maps, None
  deviations = map_range.unscale_deviations(np.sqrt(variance), scaled)
  return maps, in_units(deviations)


def reconstruct_ensemble(
  models: abc.Sequence[Model],
  subject: Subject,
  *,
  components: abc.Sequence[Complex64[np.ndarray, "voxel component"]] = (),
  precision: str = "float32",
  n_passes: int = 0,
  seed: int = 0,
) -> tuple[Maps, Maps | None]:
  """Mean maps of several models, such as the folds of a cross-validation.

  The variance is the mean of the models' own variances, if they have some, plus
  the variance of their maps from model to model (Lakshminarayanan 2017, section
  2.4, with the unbiased estimate of the latter).

  Args:
    models: the trained models.
    subject: a scan of the models' sequence and window, with its signals.
    components: `seen_components` of each model, where they are known already.
    precision: precision of activations and products, one of `PRECISIONS`.
    n_passes: number of passes with dropout of each model; see
      `reconstruct_with_deviations`.
    seed: seed of the dropout.

  Returns:
    Maps in physical units, [voxel] each, and their standard deviations; None
    for a single model without any.

  Raises:
    UserError: as `reconstruct_with_deviations`.
  """
  if components and len(components) != len(models):
    raise ValueError(
      f"components of {len(components)} models, but {len(models)} models"
    )
  # All before the first is computed.
  for model in models:
    _check_scan(model, subject)
    check_ensemble("model", model, models[0])
  estimates, unbounded, variances = [], [], []
  for number, model in enumerate(models):
    outputs = scaled_estimates(
      model,
      subject,
      components[number] if components else None,
      precision=precision,
      n_passes=n_passes,
      seed=seed + number,
    )
    maps, deviations = _in_physical_units(model.range_of_estimates, *outputs)
    if len(models) == 1:
      return maps, deviations
    estimates.append(maps.stack().astype(np.float64))
    # Models that agree on a bound may be far from agreeing.
    scaled, _, gain = outputs
    free, _ = _in_physical_units(
      model.map_range.unbounded(), scaled, None, gain
    )
    unbounded.append(free.stack().astype(np.float64))
    if deviations is not None:
      variances.append(np.square(deviations.stack().astype(np.float64)))
  variance = np.var(unbounded, 0, ddof=1)
  if variances:
    variance += np.sum(variances, 0) / len(models)
  return _unstacked(np.mean(estimates, 0)), _unstacked(np.sqrt(variance))


def _unstacked(values: Float64[np.ndarray, "voxel 3"]) -> Maps:
  return Maps.unstack(values.astype(np.float32))


def _check_scan(model: Model, subject: Subject) -> None:
  """Raises `UserError` if the model was trained on scans of another kind."""
  difference = subject.acquisition.difference(model.acquisition)
  if difference:
    own, expected = difference
    message = f"{subject.subject}: {own}, the model needs {expected}"
    if (
      (subject.window, subject.stride)
      == (1, 1)
      != (
        model.window,
        model.stride,
      )
    ):
      message += f"; {how_to_make_windows(model.window, model.stride)}"
    raise UserError(message)
  check_field(subject.subject, subject.field_strength_t, model.field_strength_t)
  seen_b1(model, subject)
