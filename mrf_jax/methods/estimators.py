"""What turns a scan into maps: model bundles, or a dictionary."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_collections

from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import load_config, load_model, load_training
from mrf_jax.inference.model import Model, reconstruct_ensemble
from mrf_jax.maps import Maps
from mrf_jax.methods.dictionary import check_dictionary, make_matcher
from mrf_jax.sequence.acquisition import Acquisition

# See docs/results.md, question `dropout`.
_ADVICE = (
  "the network was trained with dropout, as its batch normalisation expects: "
  "the mean of passes with it, --uncertainty, is the better estimate"
)
DICTIONARIES = ("dictionary", "dictionary_svd")

Found = tuple[Maps, Maps | None]


@dataclasses.dataclass(frozen=True)
class Estimator:
  """A way to the maps.

  Attributes:
    name: of the method.
    about: what it is, in words, for the record.
    acquisition: pulse sequence and window of its scans; None takes any.
    estimate: maps of a subject, and deviations or None.
    thresholds_ms: tissue to T1, for errors where a scan has references.
    clip_percentiles: that these are clipped to, as in training, or None.
    settings: all else that it depends on, for the record.
    advice: what would be better, or None.
  """

  name: str
  about: tuple[str, ...]
  acquisition: Acquisition | None
  estimate: Callable[[Subject], Found]
  thresholds_ms: dict[str, tuple[float, float]]
  clip_percentiles: tuple[float, float] | None = None
  settings: dict[str, Any] = dataclasses.field(default_factory=dict)
  advice: str | None = None


def model_estimator(
  paths: Sequence[str | os.PathLike],
  *,
  uncertainty: bool = False,
  n_passes: int = 16,
  seed: int = 0,
) -> Estimator:
  """One bundle, or the mean of several.

  Args:
    paths: folders of the bundles.
    uncertainty: whether deviations are wanted.
    n_passes: with dropout of each network that has some, for deviations.
    seed: of what is dropped.

  Raises:
    UserError: a bundle is missing or damaged, bundles do not belong together,
      or deviations are wanted and there are none.
  """
  models = [load_model(path) for path in paths]
  for path, model in zip(paths[1:], models[1:], strict=True):
    _refuse_other_scans(models[0], model, paths[0], path)
  first = models[0]
  if uncertainty and len(models) == 1 and not _has_deviations(first):
    raise UserError(
      f"{paths[0]}: its network predicts no deviations and has no dropout; "
      "--uncertainty wants one that does, or several bundles (--model=A,B,C)"
    )
  if uncertainty and n_passes < 2:
    raise UserError(f"--passes is {n_passes}; a spread wants at least two")
  models = [
    dataclasses.replace(m, variables=jax.device_put(m.variables))
    for m in models
  ]

  def estimate(subject: Subject) -> Found:
    maps, deviations = reconstruct_ensemble(
      models, subject, n_passes=n_passes if uncertainty else 0, seed=seed
    )
    return maps, deviations if uncertainty else None

  methods = dict.fromkeys(model.method for model in models)
  config = load_config(paths[0])
  thresholds = config.get("evaluation", {}).get("thresholds_ms", {})
  clip = config.get("preprocessing", {}).get("clip_percentiles")
  return Estimator(
    name=" and ".join(methods),
    about=tuple(_about(path) for path in paths),
    acquisition=first.acquisition,
    estimate=estimate,
    thresholds_ms={
      tissue: tuple(limits) for tissue, limits in thresholds.items()
    },
    clip_percentiles=None if clip is None else tuple(clip),
    advice=_ADVICE if first.has_dropout and not uncertainty else None,
  )


def _has_deviations(model: Model) -> bool:
  return model.has_dropout or getattr(model.network, "n_outputs", 3) > 3


def _about(path) -> str:
  """A bundle in words."""
  training = load_training(path, default={})
  if "left_out" not in training:
    return str(path)
  if training["left_out"] is None:
    return f"{path} (trained on all of its subjects)"
  return f"{path} (left out: subject {training['left_out']})"


def _refuse_other_scans(first: Model, other: Model, first_path, path) -> None:
  """Bundles of one ensemble want the same scans."""
  difference = other.acquisition.difference(first.acquisition)
  if difference:
    own, its = difference
    raise UserError(
      f"{path}: {own}, that of {first_path} {its}; models of one ensemble need "
      "the same scans"
    )


def dictionary_estimator(
  config: ml_collections.ConfigDict, method: str
) -> Estimator:
  """Matching in a dictionary of the scan's own train.

  Args:
    config: a configuration; its section `dictionary` is used.
    method: one of `DICTIONARIES`.
  """
  options = config.dictionary

  def estimate(subject: Subject) -> Found:
    check_dictionary(config, method, n_windows=subject.n_windows)
    find, _ = make_matcher(
      options,
      method,
      subject.acquisition,
      rank=options.svd_rank if method == "dictionary_svd" else None,
      precision=config.precision,
    )
    assert subject.signals is not None
    return find(subject.signals), None

  return Estimator(
    name=method,
    about=(
      f"T1 {options.t1_ms[0]:g} to {options.t1_ms[1]:g} ms, T2 "
      f"{options.t2_ms[0]:g} to {options.t2_ms[1]:g} ms, steps of "
      f"{options.step_percent:g} %, B1 "
      + ", ".join(f"{factor:g}" for factor in options.b1),
    ),
    acquisition=None,
    estimate=estimate,
    thresholds_ms=config.evaluation.thresholds_ms.to_dict(),
    clip_percentiles=tuple(config.preprocessing.clip_percentiles),
    settings={"dictionary": options.to_dict(), "precision": config.precision},
  )


def is_dictionary(names: Sequence[str]) -> bool:
  """Whether a dictionary is meant, not the folder of a model."""
  return (
    len(names) == 1
    and names[0] in DICTIONARIES
    and not pathlib.Path(names[0]).exists()
  )
