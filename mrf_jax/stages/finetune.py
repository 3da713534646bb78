"""Stage `finetune`: a trained network is trained further on other scans."""

import contextlib
import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from mrf_jax.command_line.inputs import (
  check_inputs,
  single_model,
  unfinished_folder,
)
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import (
  load_config,
  load_model,
  load_training,
  save_model,
)
from mrf_jax.inference.deviation_scale import with_scaled_deviations
from mrf_jax.inference.model import Model
from mrf_jax.inference.training_scans import load_training_scans, scans_entry
from mrf_jax.io.atomic import writing_to
from mrf_jax.methods.finetune import (
  SHARE,
  LabelledScans,
  adapted_model,
  check_pd_scale,
  finetune_checkpoints,
  finetune_options,
  load_scans,
  other_field,
  train_further,
)
from mrf_jax.runtime.progress import counted, in_words
from mrf_jax.training.checkpoint import CheckpointFolder, remove_finished
from mrf_jax.training.fold_data import NO_SUBJECT
from mrf_jax.training.train import TrainedFold
from mrf_jax.workdir.lock import lock, release


def finetune_files(flags: dict[str, Any]) -> pathlib.Path:
  """Trains the network of a model bundle further, on all subjects of `flags`.

  The scans may be of another sequence than the network's. A network that sees
  temporal components then gets new ones, for any number of frames. A network
  that sees all windows gets a new first layer if their number differs. In both
  cases the default is as many steps as the bundle was trained for, at the same
  learning rate; for scans of the same sequence it is a quarter of both.

  Returns:
    The folder of the new bundle.

  Raises:
    UserError: something is missing, damaged or does not fit; nothing is
      written then.
  """
  check_inputs("finetune", flags)
  source = single_model(flags)
  output = pathlib.Path(flags["output"])
  _refuse_existing(output)
  model = load_model(source)
  config = load_config(
    source, sections=("seed", "preprocessing", "training", "precision")
  )
  scans = load_scans(flags["subjects"], config)
  trained = load_training_scans(source)
  check_pd_scale(model, trained, scans)
  field = other_field(model, scans)
  pd_unit = model.pd_unit
  model, changes = adapted_model(model, scans)
  _check_writable(output.parent)
  for change in (*changes, *([field] if field else [])):
    print(f"- {change}")
  if model.pd_unit != pd_unit:
    print("- its PD will be in the unit of the reference maps, not of signals")
  options = finetune_options(
    config,
    model.method,
    share=1.0 if changes else SHARE,
    before=load_training(source, default={}),
    voxels=scans.n_voxels,
    epochs=flags["epochs"],
    learning_rate=flags["learning_rate"],
  )
  per_epoch = options.steps_per_epoch(scans.n_voxels)
  print(
    f"Training     {model.method}, {scans.n_voxels:,} voxels: "
    f"{counted(options.epochs, 'epoch')} of {counted(per_epoch, 'step')}, "
    f"{options.epochs * per_epoch:,} in all",
    flush=True,
  )
  unfinished = unfinished_folder(output)
  with writing_to(unfinished):
    lock(unfinished)
  # Another run, which has ended since, may have made it.
  _refuse_existing(output)
  checkpoints = finetune_checkpoints(
    unfinished / model.method, options, source, scans
  )
  try:
    fold, errors = train_further(
      model, scans, options, checkpoints, on_pace=_print_expected
    )
  except BaseException:
    if not checkpoints.steps(NO_SUBJECT):
      _remove(unfinished, checkpoints)
    raise
  save_model(
    _trained(model, fold, scans),
    output,
    config=config,
    training={
      "seconds": fold.seconds,
      "left_out": None,
      "from": str(source),
      "subjects": [subject.subject for subject in scans.subjects],
      "epochs": options.epochs,
      "learning_rate": options.learning_rate,
      "voxels": scans.n_voxels,
      **scans_entry(scans.identities, after=trained),
    },
  )
  _remove(unfinished, checkpoints)
  print(
    f"Trained      {model.method}, {counted(options.epochs, 'epoch')} on "
    f"{counted(len(scans.paths), 'subject')}, {scans.n_voxels:,} voxels, "
    f"{fold.seconds:.0f} s"
  )
  _print_errors(errors)
  print(f"Model        {output}")
  return output


def _trained(model: Model, fold: TrainedFold, scans: LabelledScans) -> Model:
  """The model as it is after the training."""
  model = dataclasses.replace(
    model,
    variables=fold.variables,
    # The new scans' maps are training maps, too.
    map_range=model.map_range.widened(scans.references),
  )
  # Few scans are soon known by heart.
  return with_scaled_deviations(
    model, scans.with_signals(), least=model.deviation_scale
  )


def _print_expected(steps_left: int, seconds_each: float) -> None:
  """Prints how long a training takes, without the checks after each epoch."""
  print(
    f"Expected     {in_words(steps_left * seconds_each)} or more, "
    f"{steps_left:,} steps of {seconds_each:.2g} s",
    flush=True,
  )


def _check_writable(folder: pathlib.Path) -> None:
  """Raises `UserError`, before the training, if a folder cannot be written."""
  with writing_to(folder):
    if not os.access(folder, os.W_OK):
      raise UserError(f"--output: {folder} cannot be written")


def _refuse_existing(output: pathlib.Path) -> None:
  """Raises `UserError` if the output exists: nothing is written over."""
  if not output.exists():
    return
  # A run that was killed after it had written its bundle left checkpoints.
  unfinished = unfinished_folder(output)
  if unfinished.is_dir():
    # The lock may be another run's, and the output may be no bundle.
    with contextlib.suppress(OSError, UserError):
      lock(unfinished)
      try:
        training = load_training(output, default={})
        remove_finished(
          unfinished,
          NO_SUBJECT,
          is_complete=lambda config: _made(config, training),
        )
      finally:
        _remove_folder(unfinished)
  raise UserError(f"--output: {output} is there already")


def _made(config: dict, training: dict) -> bool:
  """Whether a checkpoint is of the training that made a bundle."""
  return config["model"] == training.get("from") and all(
    config[name] == training.get(name) for name in ("epochs", "learning_rate")
  )


def _remove(unfinished: pathlib.Path, checkpoints: CheckpointFolder) -> None:
  """Removes the checkpoints of a training, and their folder if it is empty."""
  checkpoints.remove(NO_SUBJECT)
  _remove_folder(unfinished)


def _remove_folder(unfinished: pathlib.Path) -> None:
  """Unlocks the folder of a training, and removes it if it is empty."""
  release(unfinished)
  with contextlib.suppress(OSError):
    unfinished.rmdir()


def _print_errors(errors: dict[int, np.ndarray]) -> None:
  """Prints the errors after the first and the last epoch, if there are any."""
  if errors:
    first, last = min(errors), max(errors)
    print(
      f"Error there  {_in_words(errors[first])} after epoch {first}, "
      f"{_in_words(errors[last])} after epoch {last}"
    )


def _in_words(errors: np.ndarray) -> str:
  """Mean absolute errors of PD, T1 and T2, with their units."""
  pd, t1_ms, t2_ms = errors
  return f"PD {pd:.3f}, T1 {t1_ms:.0f} ms, T2 {t2_ms:.1f} ms"
