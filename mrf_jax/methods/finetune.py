"""Fine-tuning of a trained network on other scans."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from mrf_jax.dataset.normalise import clip_outliers, normalise_signals
from mrf_jax.dataset.subject import (
  Subject,
  check_alike,
  load_subject,
  reference_of,
)
from mrf_jax.inference.model import Model
from mrf_jax.maps import Maps
from mrf_jax.methods.network import training_options
from mrf_jax.runtime.progress import notice
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from mrf_jax.training.checkpoint import Checkpoints, Saving
from mrf_jax.training.fold_data import NOBODY, Signals
from mrf_jax.training.train import TrainedFold, train_folds
from mrf_jax.workdir.configuration import config_differences

# Of steps and rate of the training that the network comes from; for scans of
# the same train, while another one takes all of them.
SHARE = 0.25


def clipped_references(subjects, paths, config) -> list[Maps]:
  """Clipped reference maps of scans that belong together."""
  percentiles = config["preprocessing"]["clip_percentiles"]
  check_alike(subjects, paths)
  return [
    clip_outliers(reference_of(subject, path), percentiles=percentiles)
    for subject, path in zip(subjects, paths, strict=True)
  ]


def adapted_model(
  model: Model, scan: Subject, paths: Sequence[str]
) -> tuple[Model, list[str]]:
  """The model as it begins with such scans, and what that takes."""
  difference = scan.acquisition.difference(model.acquisition)
  if difference is None:
    return model, []
  found, wanted = difference
  said = [f"another scan than the model's: {found}, not {wanted}"]
  basis = model.basis
  if basis is not None:
    rank = basis.shape[1]
    basis = temporal_basis(
      sum(gram_matrix(_signals_of(path)) for path in paths), rank=rank
    ).astype(np.complex64)
    said.append(f"its {rank} temporal components are found anew")
  elif scan.n_windows != model.acquisition.n_windows:
    said.append("its first layer begins anew")
  return (
    dataclasses.replace(
      model,
      acquisition=scan.acquisition,
      basis=basis,
    ),
    said,
  )


def finetune_options(
  options: dict[str, Any],
  config: dict,
  method: str,
  *,
  share: float,
  before: dict,
  voxels: int,
) -> dict[str, Any]:
  """Arguments of `train_folds`: those of the bundle, or of the flags."""
  known = ml_collections.ConfigDict(config)
  training = training_options(known, method)
  training.pop("rank", None)
  seed = training.pop("seed")
  training["seed"] = known.seed if seed is None else seed
  # Of its last training, which may have been another than the configuration's.
  epochs = before.get("epochs", training["epochs"])
  rate = before.get("learning_rate", training["learning_rate"])
  # As many steps where there are fewer voxels; older bundles do not say theirs.
  epochs *= before.get("voxels", voxels) / voxels
  defaults = {
    "epochs": max(1, round(share * epochs)),
    "learning_rate": share * rate,
  }
  for name, default in defaults.items():
    training[name] = default if options[name] is None else options[name]
  return training


def finetune_checkpoints(
  folder: pathlib.Path,
  training: dict[str, Any],
  source: str,
  paths: Sequence[str],
  references: Sequence[Maps],
) -> Checkpoints:
  """Those of this training, or of one that was stopped."""
  digest = hashlib.sha256()
  for maps in references:
    digest.update(maps.stack().tobytes())
  return Checkpoints(
    folder,
    config={
      **training,
      "model": str(source),
      "subjects": [str(path) for path in paths],
      "references": digest.hexdigest(),
    },
    differences=lambda stored, asked: config_differences(
      stored, asked, free=()
    ),
    warn=lambda text: notice(f"warning: {text}"),
  )


def train_further(
  model: Model,
  subjects: Sequence[Subject],
  paths: Sequence[str],
  references: Sequence[Maps],
  training: dict[str, Any],
  checkpoints: Checkpoints,
) -> tuple[TrainedFold, dict[int, np.ndarray]]:
  """The network, and mean absolute errors in watched voxels by epoch."""
  options = dict(training)
  saving = Saving(
    checkpoints,
    every_epochs=options.pop("checkpoint_epochs"),
    every_minutes=options.pop("checkpoint_minutes"),
  )
  errors: dict[int, np.ndarray] = {}

  def watch(epoch: int, metrics: dict) -> None:
    if "watched_mae" in metrics:
      errors[epoch] = metrics["watched_mae"][0, 0]

  (trained,) = train_folds(
    model.network,
    _normalised(model, subjects[0].n_windows, paths),
    [subject.mask for subject in subjects],
    references,
    reach=model.reach,
    left_out=[NOBODY],
    saving=saving,
    start=TrainedFold(model.variables, model.map_range, 0.0),
    on_epoch=watch,
    **options,
  )
  return trained, errors


def _normalised(model: Model, n_windows: int, paths: Sequence[str]) -> Signals:
  """Signals as reconstruction will normalise them."""

  def of(subject: int, left_out: int) -> np.ndarray:
    del left_out
    signals = _signals_of(paths[subject])
    if model.basis is not None:
      signals = signals @ model.basis
    return normalise_signals(signals, per=model.normalise_signals_per)

  if model.basis is None:
    return Signals(2 * n_windows, of)
  return Signals(
    2 * model.basis.shape[1], of, per_fold=True, bases={NOBODY: model.basis}
  )


def _signals_of(path: str) -> np.ndarray:
  """Read when they are wanted: those of several scans fill the memory."""
  signals = load_subject(path).signals
  assert signals is not None
  return signals
