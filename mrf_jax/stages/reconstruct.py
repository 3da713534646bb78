"""The reconstruct stage: writes the maps of a scan as NIfTI files."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrf_jax.command_line.inputs import check_inputs, is_dictionary
from mrf_jax.dataset.normalise import clip_outliers
from mrf_jax.dataset.subject import Subject, is_subject_file, load_subject
from mrf_jax.dataset.summary import describe, medians
from mrf_jax.errors import UserError
from mrf_jax.evaluation.overview import overview
from mrf_jax.evaluation.scan_errors import ScanErrors, compare_with_reference
from mrf_jax.evaluation.tissues import tissue_masks
from mrf_jax.fit.check import check_scan
from mrf_jax.fit.maps import (
  MOST_DIFFERENCE,
  MapsFit,
  QuickMatch,
  enlarged,
  fit_maps,
  quick_match,
)
from mrf_jax.importing.from_flags import (
  ImportOptions,
  read_acquisition,
  read_scan,
)
from mrf_jax.inference.model import check_field
from mrf_jax.inference.training_scans import Comparison, compare_with_training
from mrf_jax.io import nifti
from mrf_jax.io.atomic import replacing_files, write_text, writing_to
from mrf_jax.io.bids import write_bids
from mrf_jax.io.bids_folder import BidsFolder
from mrf_jax.maps import LEAST_MS, MAP_NAMES, Maps, count_at_bounds
from mrf_jax.methods.bids_metadata import bids_metadata
from mrf_jax.methods.estimators import (
  Estimator,
  dictionary_estimator,
  model_estimator,
)
from mrf_jax.signal.interpolant import make_interpolant
from mrf_jax.workdir.environment import code_version, environment

_RECORD = "reconstruction.json"
# Files that each run writes.
_WRITTEN = ("pd.nii.gz", "t1.nii.gz", "t2.nii.gz", "overview.png", _RECORD)
# Maps of the fit: unexplained part of each fingerprint, and 1 for an estimate
# that is doubtful.
_FIT = ("fit.nii.gz", "doubtful.nii.gz")
# Files that some runs write; others remove those of an earlier run.
_OPTIONAL = (
  *_FIT,
  "pd_sd.nii.gz",
  "t1_sd.nii.gz",
  "t2_sd.nii.gz",
  "errors.csv",
  "errors.md",
  "calibration.csv",
  "calibration.md",
)
# Flags of the record, besides those that describe the scan.
_RECORDED = ("model", "bids", "uncertainty", "passes", "passes_seed", "misfit")


@dataclasses.dataclass(frozen=True)
class _Reconstruction:
  """The maps of a scan, and what they were made from."""

  subject: Subject
  assumptions: tuple[str, ...]
  estimator: Estimator
  maps: Maps
  deviations: Maps | None
  errors: ScanErrors | None
  fit: MapsFit | None
  seen: str | None


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
  sentences += _limits(estimator, maps, fit)
  seconds["check"] += time.perf_counter() - start
  start = time.perf_counter()
  errors = _errors(subject, estimator, maps, deviations, seen)
  assumptions = (*assumptions, *sentences)
  result = _Reconstruction(
    subject, assumptions, estimator, maps, deviations, errors, fit, seen
  )
  flags = {name: options[name] for name in (*_RECORDED, *given.given())}
  with (
    writing_to(folder),
    replacing_files(folder, record=_RECORD, instead_of=_OPTIONAL) as new,
  ):
    _write_maps(new, result)
    if errors is not None:
      errors.write(new)
    if bids is not None:
      _write_bids(bids, result, given)
    seconds["write"] = time.perf_counter() - start
    _write_record(new, result, flags, seconds)
  _print_summary(folder, result, seconds)
  if bids is not None:
    print(f"BIDS         {bids.anat} (PDmap, T1map and T2map in s)")
  return folder


def _check_output(folder: pathlib.Path, given: ImportOptions) -> None:
  """Raises `UserError` unless this run may replace the files of the folder."""
  # It may if an earlier run wrote them, and this run reads none of them.
  # If a run is killed while its files are moved into place, its record is still
  # in the folder that they are moved from.
  records = (folder / _RECORD, *folder.glob(f".new-*/{_RECORD}"))
  is_ours = any(path.exists() for path in records)
  for name in (*_WRITTEN, *_OPTIONAL):
    path = folder / name
    given.check_output(path)
    if path.exists() and not is_ours:
      raise UserError(
        f"--output: {path} exists already, and {folder} has no {_RECORD}, "
        "which would show that it may be replaced; choose another folder"
      )


def _write_bids(
  bids: BidsFolder, result: _Reconstruction, given: ImportOptions
) -> None:
  """Writes the maps as BIDS derivatives, too."""
  subject = result.subject
  assert given.scan is not None
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


def _limits(estimator: Estimator, maps: Maps, fit: MapsFit | None) -> list[str]:
  """Sentences on estimates at a bound, at an edge, or in doubt."""
  n_voxels = len(maps.t1_ms)

  def share(count: int) -> str:
    return f"{count:,} of {n_voxels:,} voxels ({count / n_voxels:.1%})"

  sentences = []
  at_edge = estimator.count_at_edge(maps)
  if at_edge:
    sentences.append(
      f"{share(at_edge)} are at the edge of the dictionary, where T1 or T2 may "
      "be beyond it"
    )
  at_bound = count_at_bounds(maps)
  if at_bound and estimator.edges_ms is None:
    sentences.append(
      f"{share(at_bound)} are at the bound of what is possible: PD 0, T2 "
      f"{LEAST_MS:g} ms, or T2 as long as T1"
    )
  if fit is None:
    return sentences
  doubtful = int(fit.is_doubtful.sum())
  differ = "differ from a quick match of the signals"
  if estimator.edges_ms is not None:
    differ += ", or scatter from voxel to voxel,"
  if not fit.holds:
    sentences.append(
      f"{estimator.name} does not hold for this scan: its T1 or T2 {differ} in "
      f"{share(doubtful)}, more than in any left-out head ({_FIT[1]} shows "
      "where)"
    )
  elif doubtful:
    sentences.append(
      f"T1 or T2 {differ} much in {share(doubtful)}: {_FIT[1]} shows where"
    )
  return sentences


def _errors(
  subject: Subject,
  estimator: Estimator,
  maps: Maps,
  deviations: Maps | None,
  seen: str | None,
) -> ScanErrors | None:
  """Errors against the scan's own reference maps; None if it has none."""
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
  return compare_with_reference(
    maps,
    reference,
    masks,
    method=estimator.name,
    deviations=deviations,
    about=f"the reference maps of {_name(subject)}",
    relative_pd=estimator.relative_pd,
    seen=seen,
  )


def _name(subject: Subject) -> str:
  """Name of a subject for headings, which call simulated data simulated."""
  kind = "simulated subject" if subject.is_simulated else "subject"
  return f"{kind} {subject.subject}"


def _write_maps(folder: pathlib.Path, result: _Reconstruction) -> None:
  """Writes maps and standard deviations, and a picture of them."""
  subject = result.subject
  for maps, suffix in ((result.maps, ""), (result.deviations, "_sd")):
    if maps is None:
      continue
    for name in MAP_NAMES:
      path = folder / f"{name.removesuffix('_ms')}{suffix}.nii.gz"
      values = np.asarray(getattr(maps, name))
      nifti.save_map(path, values, subject.mask, subject.affine)
  if result.fit is not None:
    for file, values in zip(
      _FIT, (result.fit.residual, result.fit.is_doubtful), strict=True
    ):
      nifti.save_map(
        folder / file,
        values.astype(np.float32),
        subject.mask,
        subject.affine,
      )
  overview(
    folder / "overview.png",
    result.maps,
    subject.mask,
    subject.affine,
    title=f"{result.estimator.name}, {_name(subject)}",
    deviations=result.deviations,
    residual=None if result.fit is None else result.fit.residual,
  )


def _write_record(
  folder: pathlib.Path,
  result: _Reconstruction,
  flags: dict[str, Any],
  seconds: dict[str, float],
) -> None:
  """Writes all that is needed to repeat the run, and how long it took."""
  estimator = result.estimator
  record = {
    "flags": {name: value for name, value in flags.items() if value},
    "method": estimator.name,
    "estimators": estimator.about,
    **estimator.settings,
    "subject": result.subject.subject,
    "provenance": result.subject.provenance,
    "assumed": result.assumptions,
    "fit": None if result.fit is None else _fit_in_numbers(result.fit),
    "seen_in_training": result.seen,
    "about_errors": result.errors.remarks if result.errors else (),
    "seconds": {stage: round(took, 3) for stage, took in seconds.items()},
    "environment": environment({"seed": flags["passes_seed"] or 0}),
  }
  write_text(json.dumps(record, indent=1) + "\n", folder / _RECORD)


def _fit_in_numbers(fit: MapsFit) -> dict[str, Any]:
  """What the record says of the fit of the maps."""
  return {
    "median_residual": round(float(np.median(fit.residual)), 4),
    "doubtful_share": round(float(fit.is_doubtful.mean()), 4),
    "holds": fit.holds,
    "bounds": {name: bound for name, bound in MOST_DIFFERENCE.items()},
  }


def _print_summary(
  folder: pathlib.Path, result: _Reconstruction, seconds: dict[str, float]
) -> None:
  """Prints errors, assumptions, medians and times."""
  if result.errors is not None:
    print(result.errors.marked_table)
  advice = result.estimator.advice
  for sentence in (*result.assumptions, *([advice] if advice else [])):
    print(f"- {sentence}")
  print(describe(result.subject))
  print(medians("Estimates", result.maps))
  print(f"Method       {result.estimator.name}")
  times = [f"{stage} {took:.1f}" for stage, took in seconds.items()]
  print(f"Seconds      {', '.join(times)}")
  print(f"Maps         {folder} (pd, t1, t2: NIfTI; overview.png)")
