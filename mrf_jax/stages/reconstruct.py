"""The reconstruct stage: writes the maps of a scan as NIfTI files."""

import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrf_jax.command_line.inputs import check_inputs, is_dictionary
from mrf_jax.dataset.normalise import clip_outliers
from mrf_jax.dataset.subject import Subject, is_subject_file, load_subject
from mrf_jax.errors import UserError
from mrf_jax.evaluation.tissues import tissue_masks
from mrf_jax.fit.check import check_scan
from mrf_jax.fit.maps import (
  QuickMatch,
  enlarged,
  fit_maps,
  quick_match,
)
from mrf_jax.importing.from_flags import read_acquisition, read_scan
from mrf_jax.importing.options import INPUTS, ImportOptions
from mrf_jax.inference.model import check_field
from mrf_jax.inference.training_scans import Comparison, compare_with_training
from mrf_jax.io.atomic import replacing_files, writing_to
from mrf_jax.io.bids import write_bids
from mrf_jax.io.bids_folder import BidsFolder
from mrf_jax.maps import Maps
from mrf_jax.methods.bids_metadata import bids_metadata
from mrf_jax.methods.estimators import (
  Estimator,
  dictionary_estimator,
  model_estimator,
)
from mrf_jax.methods.reconstruction import (
  OPTIONAL,
  RECORD,
  WRITTEN,
  Reconstruction,
  print_summary,
  scan_name,
  sentences_on_maps,
  write_maps,
  write_record,
)
from mrf_jax.signal.interpolant import make_interpolant
from mrf_jax.workdir.environment import code_version

if TYPE_CHECKING:
  from mrf_jax.evaluation.scan_errors import ScanErrors

# Flags of the record, besides those that describe the scan.
_RECORDED = ("model", "bids", "uncertainty", "passes", "passes_seed", "misfit")


def reconstruct_files(options: Mapping[str, Any]) -> pathlib.Path:
  """Reads a scan, reconstructs it, writes its maps, and returns their folder.

  Raises:
    UserError: a flag or file is missing, damaged, or does not fit the others;
      nothing is written.
  """
  check_inputs("reconstruct", options)
  folder = pathlib.Path(options["output"])
  given = ImportOptions.from_flags(options)
  _check_output(folder, given)
  bids = BidsFolder.from_path(options["bids"]) if options["bids"] else None
  estimator = _make_estimator(options)
  seconds = {}
  start = time.perf_counter()
  subject, assumptions = _read_scan(given, estimator)
  check_field(given.scan, subject.field_strength_t, estimator.field_strength_t)
  training = compare_with_training(
    estimator.trained_on, subject, align=_align(given.scan)
  )
  seen = training.seen
  # Without errors to mark it is said all the same.
  alone = [seen] if seen and subject.maps is None else []
  assumptions = (*assumptions, *training.doubts, *alone)
  seconds["read"] = time.perf_counter() - start
  start = time.perf_counter()
  match, sentences = _check_scan(options, subject, estimator, training)
  seconds["check"] = time.perf_counter() - start
  start = time.perf_counter()
  maps, deviations = estimator.estimate(subject)
  seconds["reconstruct"] = time.perf_counter() - start
  start = time.perf_counter()
  fit = None
  if match is not None:
    voxel_mm = np.linalg.norm(subject.affine[:3, :3], axis=0)
    fit = fit_maps(
      match,
      maps,
      subject.mask,
      voxel_mm,
      voxelwise=estimator.edges_ms is not None,
    )
    if deviations is not None:
      deviations = enlarged(deviations, maps, fit)
  sentences += sentences_on_maps(estimator, maps, fit)
  seconds["check"] += time.perf_counter() - start
  start = time.perf_counter()
  errors = _errors(subject, estimator, maps, deviations, seen)
  assumptions = (*assumptions, *sentences)
  result = Reconstruction(
    subject, assumptions, estimator, maps, deviations, errors, fit, seen
  )
  flags = {name: options[name] for name in (*_RECORDED, *given.given())}
  with (
    writing_to(folder),
    replacing_files(folder, record=RECORD, instead_of=OPTIONAL) as new,
  ):
    write_maps(new, result)
    if errors is not None:
      errors.write(new)
    if bids is not None:
      _write_bids(bids, result, given, models=options["model"])
    seconds["write"] = time.perf_counter() - start
    write_record(new, result, flags, seconds)
  print_summary(folder, result, seconds)
  if bids is not None:
    print(f"BIDS         {bids.anat} (PDmap, T1map and T2map in s)")
  return folder


def _check_output(folder: pathlib.Path, given: ImportOptions) -> None:
  """Raises `UserError` unless this run may replace the files of the folder."""
  # It may if an earlier run wrote them, and this run reads none of them.
  # If a run is killed while its files are moved into place, its record is still
  # in the folder that they are moved from.
  records = (folder / RECORD, *folder.glob(f".new-*/{RECORD}"))
  is_ours = any(path.exists() for path in records)
  for name in (*WRITTEN, *OPTIONAL):
    path = folder / name
    given.check_output(path)
    if path.exists() and not is_ours:
      raise UserError(
        f"--output: {path} exists already, and {folder} has no {RECORD}, "
        "which would show that it may be replaced; choose another folder"
      )


def _write_bids(
  bids: BidsFolder,
  result: Reconstruction,
  given: ImportOptions,
  models: Sequence[str],
) -> None:
  """Writes the maps as BIDS derivatives, too."""
  subject = result.subject
  assert given.scan is not None
  inputs = [getattr(given, name) for name in INPUTS]
  write_bids(
    bids,
    result.maps,
    subject.mask,
    subject.affine,
    metadata=bids_metadata(
      subject,
      result.estimator,
      scan=given.scan,
      version=code_version(),
      remarks=result.assumptions,
      files=[*models, *filter(None, inputs)],
    ),
  )


def _make_estimator(options: Mapping[str, Any]) -> Estimator:
  """The method that --model names."""
  names, uncertainty = options["model"], bool(options["uncertainty"])
  if not is_dictionary(names):
    passes = options["passes"]
    return model_estimator(
      names,
      uncertainty=uncertainty,
      n_passes=16 if passes is None else passes,
      seed=options["passes_seed"] or 0,
    )
  return dictionary_estimator(options["config"], names[0])


def _read_scan(
  given: ImportOptions, estimator: Estimator
) -> tuple[Subject, tuple[str, ...]]:
  """The scan, and sentences on what was assumed about it."""
  path = given.scan
  assert path is not None
  if is_subject_file(path):
    for name in given.given():
      if name != "scan":
        raise UserError(
          f"--{name}: {path} is a subject file, which has its own value"
        )
    return load_subject(path), ()
  if estimator.acquisition is None or given.schedule:
    # `estimate` compares the scan's own sequence with the model's.
    acquisition, assumptions = read_acquisition(given)
  else:
    acquisition = estimator.acquisition
    assumptions = ["the scan is taken to have the model's schedule and window"]
  imported = read_scan(given, acquisition, assumptions=assumptions)
  return imported.subject, imported.assumptions


def _align(path) -> str:
  """What turns the phases of a scan back, in words."""
  # A subject file stays as it is.
  if is_subject_file(path):
    return "--align_phases in --mode=import"
  return "--align_phases"


def _check_scan(
  options: Mapping[str, Any],
  subject: Subject,
  estimator: Estimator,
  training: Comparison,
) -> tuple[QuickMatch | None, list[str]]:
  """Quick match of a scan, and sentences on its fit to its sequence."""
  misfit = options["misfit"] or "refuse"
  if misfit == "ignore":
    return None, [training.turned] if training.turned else []
  assert subject.signals is not None
  echoes = make_interpolant(subject.sequence)
  match = quick_match(subject.acquisition, subject.signals, echoes=echoes)
  return match, check_scan(
    subject,
    path=options["scan"],
    misfit=misfit,
    needs_phase=estimator.needs_phase and not training.any_phase_is_learned,
    phase_is_learned=training.phase_is_learned,
    turned=training.turned,
    align=_align(options["scan"]),
    match=match,
    echoes=echoes,
  )


def _errors(
  subject: Subject,
  estimator: Estimator,
  maps: Maps,
  deviations: Maps | None,
  seen: str | None,
) -> "ScanErrors | None":
  """Errors against the scan's own reference maps; None if it has none."""
  if subject.maps is None:
    return None
  from mrf_jax.evaluation.scan_errors import compare_with_reference

  reference = subject.maps
  if estimator.clip_percentiles is not None:
    reference = clip_outliers(reference, percentiles=estimator.clip_percentiles)
  masks = tissue_masks(
    reference.t1_ms,
    thresholds_ms=estimator.thresholds_ms,
    lesion=subject.lesion,
  )
  return compare_with_reference(
    maps,
    reference,
    masks,
    method=estimator.name,
    deviations=deviations,
    about=f"the reference maps of {scan_name(subject)}",
    relative_pd=estimator.relative_pd,
    seen=seen,
  )
