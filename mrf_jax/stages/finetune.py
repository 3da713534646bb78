"""The finetune stage: a trained network learns from other scans."""

import contextlib
import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from mrf_jax.dataset.subject import (
  load_subject,
)
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import (
  load_config,
  load_model,
  load_training,
  save_model,
)
from mrf_jax.io.atomic import writing_to
from mrf_jax.methods.finetune import (
  SHARE,
  adapted_model,
  clipped_references,
  finetune_checkpoints,
  finetune_options,
  train_further,
)
from mrf_jax.training.checkpoint import (
  remove_finished,
)
from mrf_jax.training.fold_data import NOBODY
from mrf_jax.workdir.lock import lock, release


def finetune_files(options: dict[str, Any]) -> pathlib.Path:
  """Trains a bundle further, on all of the subjects that are named.

  A network that sees temporal components may go over to scans of another
  train: its components are found anew, whatever their number of frames. Of one
  that sees all windows the first layer begins anew, if they are not as many.
  Unless the flags say otherwise it then takes as many steps as the bundle was
  trained for, at the same rate, and else a quarter of both.

  Args:
    options: values of the flags of `--mode=finetune` by name, None where not
      given; see `flags.py`.

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
    source, sections=("seed", "preprocessing", "training", "precision")
  )
  paths = options["subjects"]
  subjects = [load_subject(path, with_signals=False) for path in paths]
  references = clipped_references(subjects, paths, config)
  model, said = adapted_model(model, subjects[0], paths)
  # Not found out only when all is trained.
  with writing_to(output.parent):
    if not os.access(output.parent, os.W_OK):
      raise UserError(f"--output: {output.parent} cannot be written")
  for sentence in said:
    print(f"- {sentence}")
  voxels = sum(subject.n_voxels for subject in subjects)
  training = finetune_options(
    options,
    config,
    model.method,
    share=1.0 if said else SHARE,
    before=load_training(source, default={}),
    voxels=voxels,
  )
  unfinished = _unfinished(output)
  with writing_to(unfinished):
    lock(unfinished)
  # By another run, which has ended since.
  _refuse_existing(output)
  checkpoints = finetune_checkpoints(
    unfinished / model.method, training, source, paths, references
  )
  try:
    trained, errors = train_further(
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
