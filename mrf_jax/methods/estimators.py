"""Estimators of the maps of a single scan: model bundles or a dictionary."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64

from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import load_config, load_model, load_training
from mrf_jax.inference.match_doubts import contains_match, match_doubts
from mrf_jax.inference.model import (
  Model,
  check_ensemble,
  check_field,
  reconstruct_ensemble,
  seen_b1,
  seen_components,
)
from mrf_jax.inference.training_scans import TrainingScans, load_training_scans
from mrf_jax.maps import Maps
from mrf_jax.matching import FIT
from mrf_jax.methods.dictionary import check_dictionary, make_matcher
from mrf_jax.methods.dictionary_fit import check_dictionary_fit, fit_subject
from mrf_jax.runtime.progress import share_of_voxels
from mrf_jax.sequence.acquisition import Acquisition

# Batch normalisation was fitted to activations some of which were dropped; see
# docs/high_noise/results.md, question `dropout`.
_ADVICE = (
  "the network was trained with dropout, as its batch normalisation expects: "
  "the mean of passes with it, --uncertainty, is the better estimate"
)


class Estimate(NamedTuple):
  """What a method estimates of a scan.

  Attributes:
    maps: proton density, T1 and T2.
    deviations: their standard deviations, if they are asked for.
    b1: factors on the flip angles that the maps hold for, [voxel]; None for 1.
    b1_deviations: their standard deviations, [voxel], if they are estimated.
    is_unsure: voxels whose estimates the method itself doubts, [voxel].
    sentences: on these voxels.
  """

  maps: Maps
  deviations: Maps | None = None
  b1: Float32[np.ndarray, "voxel"] | None = None
  b1_deviations: Float32[np.ndarray, "voxel"] | None = None
  is_unsure: Bool[np.ndarray, "voxel"] | None = None
  sentences: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Estimator:
  """A method to estimate the maps of a scan.

  Attributes:
    name: name of the method.
    about: descriptions of its bundles or of its dictionary, for the record.
    acquisition: pulse sequence and window of its scans; None for any.
    estimate: function of a subject.
    thresholds_ms: tissue to its range of T1, ms, for tables of errors.
    clip_percentiles: percentiles to which reference maps are clipped before
      errors are computed, as in training; or None.
    settings: sections of the configuration that it uses, for the record.
    advice: a sentence on how to get better estimates, or None.
    edges_ms: first and last T1, and T2, that it can estimate; None without
      such limits.
    bounds: least and greatest PD, T1 (ms) and T2 (ms) of the maps that its
      networks were trained on, if they bound its estimates, [2, 3], infinite
      for PD in the unit of a scan's signals; or None.
    trained_on: the scans that each of its bundles was trained on.
    knowing_phase: those of the bundles that need the phases of their training.
    field_strength_t: field strength of its scans, tesla; None for any.
    relative_pd: whether proton density is in the unit of the signals.
    uses_b1: whether it uses a B1 map of the scan.
  """

  name: str
  about: tuple[str, ...]
  acquisition: Acquisition | None
  estimate: Callable[[Subject], Estimate]
  thresholds_ms: dict[str, tuple[float, float]]
  clip_percentiles: tuple[float, float] | None = None
  settings: dict[str, Any] = dataclasses.field(default_factory=dict)
  advice: str | None = None
  trained_on: tuple[TrainingScans, ...] = ()
  knowing_phase: tuple[TrainingScans, ...] = ()
  field_strength_t: float | None = None
  relative_pd: bool = False
  edges_ms: tuple[tuple[float, float], tuple[float, float]] | None = None
  bounds: Float64[np.ndarray, "2 3"] | None = None
  uses_b1: bool = False

  def count_at_edge(self, maps: Maps) -> int:
    """Number of voxels whose T1 or T2 is the first or last that there is."""
    if self.edges_ms is None:
      return 0
    return _count_at_ends(maps.stack()[:, 1:], np.transpose(self.edges_ms))

  def count_at_training_bound(self, maps: Maps) -> int:
    """Number of voxels in which a map is at a bound of the training maps."""
    if self.bounds is None:
      return 0
    bounded = np.isfinite(self.bounds).all(0)
    return _count_at_ends(maps.stack()[:, bounded], self.bounds[:, bounded])


def _count_at_ends(
  values: Float32[np.ndarray, "voxel map"],
  ends: Float64[np.ndarray, "2 map"],
) -> int:
  """Voxels with a map at its low or high end, up to rounding of float32."""
  low, high = ends
  at_end = values <= low + 1e-5 * np.abs(low)
  at_end |= values >= high - 1e-5 * np.abs(high)
  return int(np.count_nonzero(at_end.any(1)))


def model_estimator(
  paths: Sequence[str | os.PathLike],
  *,
  uncertainty: bool = False,
  n_passes: int = 16,
  seed: int = 0,
) -> Estimator:
  """Reconstruction with a model bundle, or the mean of several.

  Args:
    paths: folders of the bundles.
    uncertainty: whether standard deviations are estimated.
    n_passes: number of passes with dropout of each network that has dropout,
      if standard deviations are estimated.
    seed: seed of the dropout.

  Raises:
    UserError: a bundle is missing or damaged, bundles are of different scans,
      or their networks cannot estimate standard deviations.
  """
  models = [load_model(path) for path in paths]
  first = models[0]
  for path, model in zip(paths, models, strict=True):
    difference = model.acquisition.difference(first.acquisition)
    if difference:
      own, other = difference
      raise UserError(
        f"{path}: {own}, that of {paths[0]} {other}; models of one ensemble "
        "need the same scans"
      )
    check_field(path, model.field_strength_t, first.field_strength_t)
    check_ensemble(path, model, first)
  if uncertainty and len(models) == 1 and not _has_deviations(first):
    raise UserError(
      f"{paths[0]}: its network predicts no deviations and has no dropout; "
      "--uncertainty needs one that does, or several bundles (--model=A,B,C)"
    )
  if uncertainty and n_passes < 2:
    raise UserError(f"--passes is {n_passes}; a variance needs at least two")
  models = [
    dataclasses.replace(m, variables=jax.device_put(m.variables))
    for m in models
  ]

  def estimate(subject: Subject) -> Estimate:
    # Of several models, they would take memory.
    known = [seen_components(first, subject)] if len(models) == 1 else []
    maps, deviations = reconstruct_ensemble(
      models,
      subject,
      components=known,
      n_passes=n_passes if uncertainty else 0,
      seed=seed,
    )
    beyond = _beyond_training(models, subject, known)
    return Estimate(
      maps,
      deviations if uncertainty else None,
      b1=seen_b1(first, subject),
      is_unsure=functools.reduce(
        np.logical_or, beyond.values(), np.zeros(subject.n_voxels, bool)
      ),
      sentences=tuple(
        text.format(share_of_voxels(int(which.sum()), len(which)))
        for text, which in beyond.items()
        if which.any()
      ),
    )

  methods = dict.fromkeys(model.method for model in models)
  trained_on = tuple(load_training_scans(path) for path in paths)
  config = load_config(paths[0])
  thresholds = config.get("evaluation", {}).get("thresholds_ms", {})
  clip = config.get("preprocessing", {}).get("clip_percentiles")
  return Estimator(
    name=" and ".join(methods),
    about=tuple(_describe(path) for path in paths),
    acquisition=first.acquisition,
    estimate=estimate,
    thresholds_ms={
      tissue: tuple(limits) for tissue, limits in thresholds.items()
    },
    clip_percentiles=None if clip is None else tuple(clip),
    advice=_ADVICE if first.has_dropout and not uncertainty else None,
    trained_on=trained_on,
    knowing_phase=tuple(
      scans
      for scans, model in zip(trained_on, models, strict=True)
      if model.statistics is None
    ),
    field_strength_t=first.field_strength_t,
    bounds=_mean_bounds(models),
    relative_pd=all(model.pd_unit == "signals" for model in models),
    uses_b1=first.b1_range is not None,
  )


def _beyond_training(
  models: Sequence[Model],
  subject: Subject,
  known: Sequence[Complex64[np.ndarray, "voxel component"]],
) -> dict[str, Bool[np.ndarray, "voxel"]]:
  """Voxels that are unlike all training, by a sentence with their share.

  Args:
    models: the networks.
    subject: the scan.
    known: `seen_components` of each of them, if they are known already.
  """
  beyond: dict[str, Bool[np.ndarray, "voxel"]] = {}

  def add(sentence: str, which: Bool[np.ndarray, "voxel"]) -> None:
    # Models of one ensemble say the same, each of its own voxels.
    beyond[sentence] = which | beyond.get(sentence, False)

  for number, model in enumerate(models):
    if model.b1_range is not None:
      assert subject.b1 is not None
      low, high = model.b1_range
      add(
        f"B1 of {{}} is not between {low:.3g} and {high:.3g}, as in the "
        "training of the network: it is taken to be the nearer end, and the "
        "maps are doubtful",
        (subject.b1 < low) | (subject.b1 > high),
      )
    if not contains_match(model):
      continue
    own = known[number] if known else seen_components(model, subject)
    doubts = match_doubts(model, own)
    assert doubts is not None
    t1_ms, t2_ms = model.network.match_t1_ms, model.network.match_t2_ms
    add(
      "T1 or T2 of {} is beyond the match that the network begins with (T1 "
      f"{t1_ms[0]:g} to {t1_ms[1]:g} ms, T2 {t2_ms[0]:g} to {t2_ms[1]:g} "
      "ms): these are doubtful",
      doubts.is_beyond,
    )
    add(
      "{} have no more signal than noise: the network takes them to be "
      "outside of the mask, and they are doubtful",
      doubts.is_noise,
    )
  return beyond


def _mean_bounds(
  models: Sequence[Model],
) -> Float64[np.ndarray, "2 3"] | None:
  """Bounds of the mean of several models' maps; None if one has none."""
  bounds = [model.physical_bounds() for model in models]
  given = [pair for pair in bounds if pair is not None]
  return np.mean(given, 0) if len(given) == len(bounds) else None


def _has_deviations(model: Model) -> bool:
  """Whether the network predicts deviations, or passes with dropout differ."""
  return model.has_dropout or model.predicts_deviations


def _describe(path) -> str:
  """A bundle and the subjects that it was trained on, in words."""
  training = load_training(path, default={})
  if "left_out" not in training:
    return str(path)
  if training["left_out"] is None:
    return f"{path} (trained on all of its subjects)"
  return f"{path} (left out: subject {training['left_out']})"


def dictionary_estimator(
  config: ml_collections.ConfigDict, method: str
) -> Estimator:
  """Matching with a dictionary that is made for the scan's sequence."""
  options = config.dictionary

  def estimate(subject: Subject) -> Estimate:
    check_dictionary(config, method, n_windows=subject.n_windows)
    match_signals, _ = make_matcher(config, method, subject.acquisition)
    assert subject.signals is not None
    return Estimate(match_signals(subject.signals))

  return _of_dictionary(
    config,
    method,
    estimate,
    about=f"steps of {options.step_percent:g} %, B1 "
    + ", ".join(f"{factor:g}" for factor in options.b1),
    settings={"dictionary": options.to_dict()},
  )


def fit_estimator(
  config: ml_collections.ConfigDict, *, uncertainty: bool = False
) -> Estimator:
  """Matching off the grid, of a dictionary for the scan's sequence.

  Raises:
    UserError: `dictionary.b1` has values: B1 is an option of the fit.
  """
  if tuple(config.dictionary.b1) != (1.0,):
    raise UserError(
      f"--config.dictionary.b1 is not for {FIT}, whose B1 --b1 or --b1_map says"
    )

  def estimate(subject: Subject) -> Estimate:
    check_dictionary_fit(config, n_windows=subject.n_windows)
    fitted = fit_subject(config, subject)
    return Estimate(
      maps=fitted.maps,
      deviations=fitted.deviations if uncertainty else None,
      b1=fitted.b1,
      b1_deviations=fitted.b1_deviations,
      is_unsure=fitted.is_unsure,
      sentences=fitted.sentences,
    )

  return _of_dictionary(
    config,
    FIT,
    estimate,
    about="between the atoms",
    settings={
      "dictionary": config.dictionary.to_dict(),
      FIT: config[FIT].to_dict() if FIT in config else {},
    },
    uses_b1=True,
  )


def _of_dictionary(
  config: ml_collections.ConfigDict,
  method: str,
  estimate: Callable[[Subject], Estimate],
  *,
  about: str,
  settings: dict[str, Any],
  uses_b1: bool = False,
) -> Estimator:
  """What the estimators of all dictionaries have in common."""
  t1_ms, t2_ms = (
    tuple(ends) for ends in (config.dictionary.t1_ms, config.dictionary.t2_ms)
  )
  return Estimator(
    name=method,
    about=(
      f"T1 {t1_ms[0]:g} to {t1_ms[1]:g} ms, T2 {t2_ms[0]:g} to {t2_ms[1]:g} "
      f"ms, {about}",
    ),
    acquisition=None,
    estimate=estimate,
    thresholds_ms=config.evaluation.thresholds_ms.to_dict(),
    clip_percentiles=tuple(config.preprocessing.clip_percentiles),
    settings={**settings, "precision": config.precision},
    edges_ms=(t1_ms, t2_ms),
    relative_pd=True,
    uses_b1=uses_b1,
  )
