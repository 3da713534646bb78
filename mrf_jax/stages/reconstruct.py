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
  MapsFit,
  QuickMatch,
  enlarged,
  fit_maps,
  quick_match,
)
from mrf_jax.importing.b1 import with_b1
from mrf_jax.importing.from_flags import read_acquisition, read_scan
from mrf_jax.importing.options import INPUTS, ImportOptions
from mrf_jax.importing.places import Grid
from mrf_jax.inference.model import check_field
from mrf_jax.inference.training_scans import Comparison, compare_with_training
from mrf_jax.io.atomic import replacing_files, writing_to
from mrf_jax.io.bids import write_bids
from mrf_jax.io.bids_folder import BidsFolder
from mrf_jax.matching import FIT
from mrf_jax.methods.bids_metadata import bids_metadata
from mrf_jax.methods.estimators import (
  Estimate,
  Estimator,
  dictionary_estimator,
  fit_estimator,
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
_RECORDED = (
  "model",
  "bids",
  "uncertainty",
  "passes",
  "passes_seed",
  "misfit",
  "b1",
)


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
  if given.b1_map and not estimator.uses_b1:
    raise UserError(
      f"--b1_map: {estimator.name} of {options['model'][0]} does not see B1; "
      f"networks that --mode=train --b1=map made do, and --model={FIT}"
    )
  seconds = {}
  start = time.perf_counter()
  subject, assumptions = _read_scan(given, estimator)
  check_field(given.scan, subject.field_strength_t, estimator.field_strength_t)
  training = compare_with_training(
    estimator.trained_on,
    subject,
    knowing_phase=estimator.knowing_phase,
    align=_align(given.scan),
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
  estimate = estimator.estimate(subject)
  seconds["reconstruct"] = time.perf_counter() - start
  start = time.perf_counter()
  fit = None
  if match is not None:
    estimate, fit = _held_against(match, estimate, estimator, subject)
  sentences += estimate.sentences
  sentences += sentences_on_maps(estimator, estimate.maps, fit)
  seconds["check"] += time.perf_counter() - start
  start = time.perf_counter()
  errors = _errors(subject, estimator, estimate, seen)
  assumptions = (*assumptions, *sentences)
  result = Reconstruction(
    subject, assumptions, estimator, estimate, errors, fit, seen
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
    result.estimate.maps,
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
  config = options["config"]
  if names[0] != FIT:
    return dictionary_estimator(config, names[0])
  if options["b1"] and FIT in config:
    config = config.copy_and_resolve_references()
    config[FIT].b1 = options["b1"]
  return fit_estimator(config, uncertainty=uncertainty)


def _read_scan(
  given: ImportOptions, estimator: Estimator
) -> tuple[Subject, tuple[str, ...]]:
  """The scan, and sentences on what was assumed about it."""
  path = given.scan
  assert path is not None
  if is_subject_file(path):
    for name in given.given():
      if name not in ("scan", "b1_map"):
        raise UserError(
          f"--{name}: {path} is a subject file, which has its own value"
        )
    subject = load_subject(path)
    if not given.b1_map:
      return subject, _unused_b1(subject, estimator)
    grid = Grid(subject.mask.shape[::-1], subject.affine, path=path)
    subject, said = with_b1(subject, given.b1_map, grid)
    return subject, tuple(said)
  if estimator.acquisition is None or given.schedule:
    # `estimate` compares the scan's own sequence with the model's.
    acquisition, assumptions = read_acquisition(given)
  else:
    acquisition = estimator.acquisition
    assumptions = ["the scan is taken to have the model's schedule and window"]
  imported = read_scan(given, acquisition, assumptions=assumptions)
  return imported.subject, imported.assumptions


def _unused_b1(subject: Subject, estimator: Estimator) -> tuple[str, ...]:
  """A sentence if the scan has a B1 map that the method does not use."""
  if subject.b1 is None or estimator.uses_b1:
    return ()
  return (f"{estimator.name} does not use the scan's B1 map; {FIT} does",)


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
    needs_phase=bool(estimator.knowing_phase)
    and not training.any_phase_is_learned,
    phase_is_learned=training.phase_is_learned,
    turned=training.turned,
    align=_align(options["scan"]),
    match=match,
    echoes=echoes,
  )


def _held_against(
  match: QuickMatch, estimate: Estimate, estimator: Estimator, subject: Subject
) -> tuple[Estimate, MapsFit]:
  """The estimate with deviations enlarged where it is in doubt, and its fit."""
  if estimate.b1 is not None:
    assert subject.signals is not None
    match = quick_match(subject.acquisition, subject.signals, b1=estimate.b1)
  fit = fit_maps(
    match,
    estimate.maps,
    subject.mask,
    np.linalg.norm(subject.affine[:3, :3], axis=0),
    voxelwise=estimator.edges_ms is not None,
  )
  if estimate.deviations is not None:
    larger = enlarged(estimate.deviations, estimate.maps, fit)
    estimate = estimate._replace(deviations=larger)
  return estimate, fit


def _errors(
  subject: Subject,
  estimator: Estimator,
  estimate: Estimate,
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
    estimate.maps,
    reference,
    masks,
    method=estimator.name,
    deviations=estimate.deviations,
    about=f"the reference maps of {scan_name(subject)}",
    relative_pd=estimator.relative_pd,
    seen=seen,
  )
