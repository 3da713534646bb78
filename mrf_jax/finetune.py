"""The finetune stage: a trained network learns from other scans."""

import contextlib
import dataclasses
import hashlib
import os
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
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import (
  load_config,
  load_model,
  load_training,
  save_model,
)
from mrf_jax.inference.model import Model
from mrf_jax.io.atomic import writing_to
from mrf_jax.maps import Maps
from mrf_jax.methods.network import training_options
from mrf_jax.runtime.progress import notice
from mrf_jax.sequence.acquisition import scan_difference
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from mrf_jax.training.checkpoint import (
  Checkpoints,
  Saving,
  remove_finished,
)
from mrf_jax.training.fold_data import NOBODY, Signals
from mrf_jax.training.train import TrainedFold, train_folds
from mrf_jax.workdir.configuration import config_differences
from mrf_jax.workdir.lock import lock, release

# Of steps and rate of the training that the network comes from; for scans of
# the same train, while another one takes all of them.
_SHARE = 0.25


def finetune_files(options: dict[str, Any]) -> pathlib.Path:
  """Trains a bundle further, on all of the subjects that are named.

  A network that sees temporal components may go over to scans of another
  train: its components are found anew, whatever their number of frames. Of one
  that sees all windows the first layer begins anew, if they are not as many.
  Unless the flags say otherwise it then takes as many steps as the bundle was
  trained for, at the same rate, and else a quarter of both.

  Args:
    options: values of the flags of `--mode=finetune` by name, None where not
      given; see `command_line.py`.

  Returns:
    The folder of the new bundle.

  Raises:
    UserError: something is missing, damaged or does not fit; nothing is
      written then.
  """
  _check_flags(options)
  source = options["model"][0]
  output = pathlib.Path(options["output"])
  _refuse_existing(output)
  model = load_model(source)
  config = load_config(
    source, wants=("seed", "preprocessing", "training", "precision")
  )
  paths = options["subjects"]
  subjects = [load_subject(path, with_signals=False) for path in paths]
  references = _references(subjects, paths, config)
  model, said = _for_scans_of(model, subjects[0], paths)
  # Not found out only when all is trained.
  with writing_to(output.parent):
    if not os.access(output.parent, os.W_OK):
      raise UserError(f"--output: {output.parent} cannot be written")
  for sentence in said:
    print(f"- {sentence}")
  voxels = sum(subject.n_voxels for subject in subjects)
  training = _training(
    options,
    config,
    model.method,
    share=1.0 if said else _SHARE,
    before=load_training(source, default={}),
    voxels=voxels,
  )
  unfinished = _unfinished(output)
  with writing_to(unfinished):
    lock(unfinished)
  # By another run, which has ended since.
  _refuse_existing(output)
  checkpoints = _checkpoints(
    unfinished / model.method, training, source, paths, references
  )
  try:
    trained, errors = _train(
      model, subjects, paths, references, training, checkpoints
    )
  except BaseException:
    if not checkpoints.steps(NOBODY):
      checkpoints.remove(NOBODY)
      _remove(unfinished)
    raise
  save_model(
    dataclasses.replace(model, variables=trained.variables),
    output,
    config=config,
    training={
      "seconds": trained.seconds,
      "left_out": None,
      "from": str(source),
      "subjects": [subject.subject for subject in subjects],
      "epochs": training["epochs"],
      "learning_rate": training["learning_rate"],
      "voxels": voxels,
    },
  )
  checkpoints.remove(NOBODY)
  _remove(unfinished)
  print(
    f"Trained      {model.method}, {training['epochs']} epochs on "
    f"{len(subjects)} subjects, {voxels:,} voxels, {trained.seconds:.0f} s"
  )
  _print_errors(errors)
  print(f"Model        {output}")
  return output


def _check_flags(options: dict[str, Any]) -> None:
  for name in ("model", "subjects", "output"):
    if not options[name]:
      raise UserError(f"--{name} is missing")
  if len(options["model"]) > 1:
    raise UserError(
      f"--model: {len(options['model'])} bundles; one is trained at a time"
    )


def _unfinished(output: pathlib.Path) -> pathlib.Path:
  """Folder beside a new bundle, until it stands."""
  return output.with_name(f"{output.name}.training")


def _refuse_existing(output: pathlib.Path) -> None:
  """Writes over nothing.

  What a run has left that was killed when its bundle stood goes.
  """
  if not output.exists():
    return
  unfinished = _unfinished(output)
  if unfinished.is_dir():
    # Another run may be at it; what has the name may be no bundle.
    with contextlib.suppress(OSError, UserError):
      lock(unfinished)
      try:
        training = load_training(output, default={})
        remove_finished(
          unfinished,
          NOBODY,
          is_over=lambda config: _is_of(config, training),
        )
      finally:
        _remove(unfinished)
  raise UserError(f"--output: {output} is there already")


def _is_of(checkpoint: dict, training: dict) -> bool:
  """Whether a checkpoint is of the training that a bundle tells of."""
  return checkpoint["model"] == training.get("from") and all(
    checkpoint[name] == training.get(name)
    for name in ("epochs", "learning_rate")
  )


def _remove(unfinished: pathlib.Path) -> None:
  """The folder of a training that has come to its end, if nothing is in it."""
  release(unfinished)
  with contextlib.suppress(OSError):
    unfinished.rmdir()


def _references(subjects, paths, config) -> list[Maps]:
  """Clipped reference maps of scans that belong together."""
  percentiles = config["preprocessing"]["clip_percentiles"]
  check_alike(subjects, paths)
  return [
    clip_outliers(reference_of(subject, path), percentiles=percentiles)
    for subject, path in zip(subjects, paths, strict=True)
  ]


def _for_scans_of(
  model: Model, scan: Subject, paths: Sequence[str]
) -> tuple[Model, list[str]]:
  """The model as it begins with such scans, and what that takes."""
  difference = scan_difference(scan, model.sequence, model.window, model.stride)
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
  elif scan.n_windows != model.sequence.n_windows(
    window=model.window, stride=model.stride
  ):
    said.append("its first layer begins anew")
  return (
    dataclasses.replace(
      model,
      sequence=scan.sequence,
      window=scan.window,
      stride=scan.stride,
      basis=basis,
    ),
    said,
  )


def _training(
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


def _checkpoints(
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


def _print_errors(errors: dict[int, np.ndarray]) -> None:
  """Those of the first and the last epoch, where voxels were watched."""
  if errors:
    first, last = min(errors), max(errors)
    print(
      f"Error there  {_said(errors[first])} after epoch {first}, "
      f"{_said(errors[last])} after epoch {last}"
    )


def _said(errors: np.ndarray) -> str:
  """Mean absolute errors of PD, T1 and T2 in words."""
  pd, t1_ms, t2_ms = errors
  return f"PD {pd:.3f}, T1 {t1_ms:.0f} ms, T2 {t2_ms:.1f} ms"


def _train(
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
