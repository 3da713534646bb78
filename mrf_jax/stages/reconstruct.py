"""The reconstruct stage: a scan and a model in, NIfTI maps out."""

import json
import os
import pathlib
import time
from typing import Any

import numpy as np

from mrf_jax.dataset.normalise import clip_outliers
from mrf_jax.dataset.subject import Subject, is_subject_file, load_subject
from mrf_jax.dataset.summary import describe, medians
from mrf_jax.errors import UserError
from mrf_jax.evaluation.overview import overview
from mrf_jax.evaluation.scan_errors import ScanErrors, compare_with_reference
from mrf_jax.evaluation.tissues import tissue_masks
from mrf_jax.importing.from_flags import (
  ImportOptions,
  read_acquisition,
  read_scan,
)
from mrf_jax.io import nifti
from mrf_jax.io.atomic import replacing, replacing_files, writing_to
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.methods.estimators import (
  Estimator,
  dictionary_estimator,
  is_dictionary,
  model_estimator,
)
from mrf_jax.stages.flags import RECONSTRUCT
from mrf_jax.workdir.environment import environment

_RECORD = "reconstruction.json"
_WRITTEN = ("pd.nii.gz", "t1.nii.gz", "t2.nii.gz", "overview.png", _RECORD)
# Written by some reconstructions only; those of an earlier one are removed.
_OPTIONAL = (
  "pd_sd.nii.gz",
  "t1_sd.nii.gz",
  "t2_sd.nii.gz",
  "errors.csv",
  "errors.md",
  "calibration.csv",
  "calibration.md",
)


def reconstruct_files(options: dict[str, Any]) -> pathlib.Path:
  """Reconstructs a scan and writes its maps.

  Args:
    options: name of each flag to its value, None if not given: the flags of
      `--mode=reconstruct`, and for a scan that is not a subject file those of
      `--mode=import`; see `flags.py`. Of a configuration, only the section
      `dictionary` is used.

  Returns:
    The folder of the maps.

  Raises:
    UserError: a flag is missing, or a file is missing, damaged or does not
      match; nothing is written.
  """
  for name in ("model", "scan", "output"):
    if not options[name]:
      raise UserError(f"--{name} is missing")
  folder = pathlib.Path(options["output"])
  if folder.exists() and not folder.is_dir():
    raise UserError(f"--output: {folder} is not a folder")
  given = ImportOptions.from_flags(options)
  _check_output(folder, given)
  estimator = _estimator(options)
  begin = time.perf_counter()
  subject, assumptions = _read(given, estimator)
  read = time.perf_counter()
  maps, deviations = estimator.estimate(subject)
  done = time.perf_counter()
  errors = _compare(subject, estimator, maps, deviations)
  with (
    writing_to(folder),
    replacing_files(folder, record=_RECORD, instead_of=_OPTIONAL) as new,
  ):
    _write_maps(new, subject, estimator, maps, deviations)
    if errors is not None:
      errors.write(new)
    seconds = {
      "read": read - begin,
      "reconstruct": done - read,
      "write": time.perf_counter() - done,
    }
    _write_record(new, options, subject, estimator, assumptions, seconds)
  if errors is not None:
    print(errors.table)
  for sentence in (*assumptions, *filter(None, [estimator.advice])):
    print(f"- {sentence}")
  print(describe(subject))
  print(medians("Estimates", maps))
  print(f"Method       {estimator.name}")
  print(
    "Seconds      "
    + ", ".join(f"{step} {duration:.1f}" for step, duration in seconds.items())
  )
  print(f"Maps         {folder} (pd, t1, t2: NIfTI; overview.png)")
  return folder


def _check_output(folder: pathlib.Path, given: ImportOptions) -> None:
  """Raises `UserError` if a file is read, or was not written by this stage."""
  # A run that is killed while its files move leaves its record next to them.
  records = (folder / _RECORD, *folder.glob(f".new-*/{_RECORD}"))
  is_ours = any(path.exists() for path in records)
  for path in (folder / name for name in (*_WRITTEN, *_OPTIONAL)):
    given.check_output(path)
    if path.exists() and not is_ours:
      raise UserError(
        f"--output: {path} is there already, and {folder} has no {_RECORD} "
        "that says it may be replaced; choose another folder"
      )


def _estimator(options: dict[str, Any]) -> Estimator:
  """The trained models or the dictionary that `--model` names."""
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
    raise UserError("--uncertainty: a dictionary does not predict it")
  config = options["config"]
  if config is None:
    raise UserError(
      "--config is missing: its section dictionary has the ranges of T1 and "
      "T2, for example --config=configs/paper.py"
    )
  return dictionary_estimator(config, names[0])


def _read(
  given: ImportOptions, estimator: Estimator
) -> tuple[Subject, tuple[str, ...]]:
  """The scan, and assumptions about it if it is not a subject file."""
  path = given.scan
  assert path is not None
  if not os.path.exists(path):
    raise UserError(f"{path}: there is no such file")
  if os.path.isdir(path):
    raise UserError(f"{path}: is a folder; --scan is one file")
  if is_subject_file(path):
    for name in given.given():
      if name != "scan":
        raise UserError(
          f"--{name}: {path} is a subject file, which contains it already"
        )
    return load_subject(path), ()
  if estimator.acquisition is None or given.schedule:
    # A schedule of the scan's own is compared with the model's later.
    acquisition, assumptions = read_acquisition(given)
  else:
    acquisition = estimator.acquisition
    assumptions = ["the scan is taken to have the model's schedule and window"]
  imported = read_scan(given, acquisition, assumptions=assumptions)
  return imported.subject, imported.assumptions


def _write_maps(
  folder: pathlib.Path,
  subject: Subject,
  estimator: Estimator,
  maps: Maps,
  deviations: Maps | None,
) -> None:
  """Writes maps and predicted standard deviations, and a picture of them."""
  for written, suffix in ((maps, ""), (deviations, "_sd")):
    for name in MAP_NAMES if written is not None else ():
      path = folder / f"{name.removesuffix('_ms')}{suffix}.nii.gz"
      values = np.asarray(getattr(written, name))
      nifti.save_map(path, values, subject.mask, subject.affine)
  kind = "simulated subject" if subject.is_simulated else "subject"
  overview(
    folder / "overview.png",
    maps,
    subject.mask,
    subject.affine,
    title=f"{estimator.name}, {kind} {subject.subject}",
    deviations=deviations,
  )


def _compare(
  subject: Subject, estimator: Estimator, maps: Maps, deviations: Maps | None
) -> ScanErrors | None:
  """Errors against the scan's own reference maps; None without them."""
  if subject.maps is None:
    return None
  reference = subject.maps
  if estimator.clip_percentiles is not None:
    reference = clip_outliers(reference, percentiles=estimator.clip_percentiles)
  masks = tissue_masks(
    reference.t1_ms,
    thresholds_ms=estimator.thresholds_ms,
    lesion=subject.lesion,
  )
  kind = "simulated " if subject.is_simulated else ""
  return compare_with_reference(
    maps,
    reference,
    masks,
    method=estimator.name,
    deviations=deviations,
    about=f"the reference maps of {kind}subject {subject.subject}",
  )


def _write_record(
  folder, options, subject, estimator, assumptions, seconds
) -> None:
  """Writes what is needed to repeat the reconstruction, and its times."""
  flags = {name: options[name] for name in RECONSTRUCT if options[name]}
  record = {
    "flags": flags,
    "method": estimator.name,
    "estimators": estimator.about,
    **estimator.settings,
    "subject": subject.subject,
    "provenance": subject.provenance,
    "assumed": assumptions,
    "seconds": {step: round(s, 3) for step, s in seconds.items()},
    "environment": environment({"seed": options["passes_seed"] or 0}),
  }
  with replacing(folder / _RECORD) as path:
    path.write_text(json.dumps(record, indent=1) + "\n")
