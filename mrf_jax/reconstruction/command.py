"""The reconstruct stage: a scan and a model in, NIfTI maps out."""

import json
import os
import pathlib
import time
from typing import Any

import h5py
import numpy as np

from mrf_jax import nifti
from mrf_jax.dataset.subject import Subject, load_subject
from mrf_jax.errors import UserError
from mrf_jax.evaluation.overview import overview
from mrf_jax.evaluation.tissues import tissue_masks
from mrf_jax.files import replacing, writing_to
from mrf_jax.importing.command import describe, read_scan, read_schedule
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.reconstruction.errors import write_errors, write_reliability
from mrf_jax.reconstruction.estimators import (
  Estimator,
  dictionary_estimator,
  is_dictionary,
  model_estimator,
)
from mrf_jax.workdir import environment

_SUBJECT_FORMAT = "mrf-subject"
# Flags that have no meaning for a subject file, which says all of it.
_OF_OTHER_FILES = ("schedule", "mask", "pd", "t1", "t2", "affine_from")


def reconstruct_files(options: dict[str, Any]) -> pathlib.Path:
  """Reconstructs a scan and writes its maps.

  Args:
    options: values of the flags of `--mode=reconstruct`, and of
      `--mode=import` for a scan that is no subject file, by name, None where
      not given; see `command_line.py`. A configuration is for its dictionary.

  Returns:
    The folder of the maps.

  Raises:
    UserError: something is missing, damaged or does not fit; nothing is
      written then.
  """
  for name in ("model", "scan", "output"):
    if not options[name]:
      raise UserError(f"--{name} is missing")
  folder = pathlib.Path(options["output"])
  if folder.exists() and not folder.is_dir():
    raise UserError(f"--output: {folder} is not a folder")
  estimator = _estimator(options)
  begin = time.perf_counter()
  subject, said = _read(options, estimator)
  read = time.perf_counter()
  maps, deviations = estimator.estimate(subject)
  done = time.perf_counter()
  with writing_to(folder):
    _write(folder, subject, estimator, maps, deviations)
    seconds = {
      "read": read - begin,
      "reconstruct": done - read,
      "write": time.perf_counter() - done,
    }
    _write_record(folder, options, subject, estimator, said, seconds)
  for sentence in said:
    print(f"- {sentence}")
  print(describe(subject))
  print(f"Method       {estimator.name}")
  print(
    "Seconds      "
    + ", ".join(f"{stage} {took:.1f}" for stage, took in seconds.items())
  )
  print(f"Maps         {folder} (pd, t1, t2: NIfTI; overview.png)")
  return folder


def _estimator(options: dict[str, Any]) -> Estimator:
  names, uncertainty = options["model"], bool(options["uncertainty"])
  if not is_dictionary(names):
    passes = options["passes"]
    return model_estimator(
      names,
      uncertainty=uncertainty,
      n_passes=16 if passes is None else passes,
      seed=options["passes_seed"] or 0,
    )
  if uncertainty:
    raise UserError("--uncertainty: a dictionary says nothing of it")
  config = options["config"]
  if config is None:
    raise UserError(
      "--config is missing: its section dictionary says which T1 and T2, such "
      "as --config=configs/paper.py"
    )
  return dictionary_estimator(config, names[0])


def _read(
  options: dict[str, Any], estimator: Estimator
) -> tuple[Subject, tuple[str, ...]]:
  """The scan, and what was assumed where it is no subject file."""
  path = options["scan"]
  if _is_subject_file(path):
    for name in _OF_OTHER_FILES:
      if options[name]:
        raise UserError(
          f"--{name}: {path} is a subject file and says it itself"
        )
    return load_subject(path), ()
  said: list[str] = []
  if estimator.scan is None or options["schedule"]:
    # A schedule of the scan's own is held against the model's.
    sequence, window, stride, said = read_schedule(options)
  else:
    sequence, window, stride = estimator.scan
    said = ["the scan is taken to have the model's schedule and window"]
  found = read_scan(options, sequence, window=window, stride=stride, said=said)
  return found.subject, found.said


def _is_subject_file(path: str | os.PathLike) -> bool:
  """Whether an HDF5 file is one of ours rather than raw data."""
  try:
    with h5py.File(path, "r") as file:
      return str(file.attrs.get("format")) == _SUBJECT_FORMAT
  except FileNotFoundError:
    raise UserError(f"{path}: there is no such file") from None
  except (OSError, RuntimeError, ValueError):
    # Its reader will say what it is.
    return False


def _write(
  folder: pathlib.Path,
  subject: Subject,
  estimator: Estimator,
  maps: Maps,
  deviations: Maps | None,
) -> None:
  """Maps, their picture, and errors where there are references."""
  for found, suffix in ((maps, ""), (deviations, "_sd")):
    for name in MAP_NAMES if found is not None else ():
      path = folder / f"{name.removesuffix('_ms')}{suffix}.nii.gz"
      values = np.asarray(getattr(found, name))
      nifti.save_map(path, values, subject.mask, subject.affine)
  kind = "simulated subject" if _is_simulated(subject) else "subject"
  overview(
    folder / "overview.png",
    maps,
    subject.mask,
    subject.affine,
    title=f"{estimator.name}, {kind} {subject.subject}",
    deviations=deviations,
  )
  if subject.maps is not None:
    _write_errors(folder, subject, estimator, maps, deviations)


def _write_errors(folder, subject, estimator, maps, deviations) -> None:
  """Against the scan's own reference maps, tissue by tissue."""
  reference = subject.maps
  masks = tissue_masks(reference.t1_ms, thresholds_ms=estimator.thresholds_ms)
  kind = "simulated " if _is_simulated(subject) else ""
  about = f"the reference maps of {kind}subject {subject.subject}"
  print(
    write_errors(
      folder, maps, reference, masks, title=f"Errors against {about}"
    )
  )
  if deviations is not None:
    write_reliability(
      folder,
      estimator.name,
      maps,
      deviations,
      reference,
      masks,
      title=f"Predicted deviations beside errors against {about}",
    )


def _is_simulated(subject: Subject) -> bool:
  return subject.provenance.startswith("simulated")


def _write_record(folder, options, subject, estimator, said, seconds) -> None:
  """All that is needed to do it again, and what it took."""
  names = ("model", "scan", "uncertainty", "passes", "passes_seed")
  record = {
    "flags": {name: options[name] for name in names if options[name]},
    "method": estimator.name,
    "estimators": estimator.about,
    "subject": subject.subject,
    "provenance": subject.provenance,
    "assumed": said,
    "seconds": {stage: round(took, 3) for stage, took in seconds.items()},
    "environment": environment({"seed": options["passes_seed"] or 0}),
  }
  with replacing(folder / "reconstruction.json") as path:
    path.write_text(json.dumps(record, indent=1) + "\n")
