"""Tables and figures of a cross-validation, from the maps in its workdir."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mrf_jax.evaluation import calibration, differences, figures, table
from mrf_jax.evaluation.errors import (
  RELATIVE_PD,
  SubjectErrors,
  expected_errors,
  map_errors,
  on_scale_of,
)
from mrf_jax.evaluation.fit import FIT_NOTE, format_fit
from mrf_jax.evaluation.learning_curves import learning_curves
from mrf_jax.evaluation.markdown import paragraphs
from mrf_jax.evaluation.orientation import upright
from mrf_jax.evaluation.tissues import tissue_masks
from mrf_jax.inference.bundle import load_model
from mrf_jax.io import nifti
from mrf_jax.io.atomic import remove, write_text
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.methods import METHODS, Study
from mrf_jax.methods.dictionary import has_relative_pd
from mrf_jax.methods.fits import fit_table, write_fits
from mrf_jax.signal.cramer_rao import cramer_rao_bounds
from mrf_jax.training.metrics import log_file, read_records
from mrf_jax.workdir.commits import mixed_maps
from mrf_jax.workdir.stage_times import write_timing

# Method, or reference row, to the maps of each left-out subject.
Estimates = Mapping[str, Sequence[Maps]]
# Tissue to its voxels, of each left-out subject.
Masks = Sequence[Mapping[str, np.ndarray]]

# Voxels of each subject whose bound is computed.
_BOUND_VOXELS = 1000


def evaluate(study: Study) -> None:
  """Writes all tables and figures of a study with maps, and prints Table 1."""
  config, root = study.config, study.workdir.root
  mixed = mixed_maps(root, config.methods)
  if mixed:
    study = dataclasses.replace(study, remarks=[*study.remarks, mixed])
  estimates = {m: _load_estimates(study, m) for m in config.methods}
  means = {}
  if len(study.subjects) > 1:
    means = {"training_mean": _training_means(study)}
  left_out = [study.subjects[k] for k in study.folds]
  references = [study.references[k] for k in study.folds]
  truths = [s.truth for s in left_out if s.truth is not None]
  simulated = len(truths) == len(left_out)
  acquired = _are_acquired(study)
  truth = {"truth": truths} if simulated and acquired else {}
  masks = _masks(study)

  errors = _errors({**estimates, **means, **truth}, references, masks)
  rows = _write_table(
    errors,
    root / "table1",
    title=f"Table 1: errors against the {_maps(study)} of {_whose(study)}",
    note=_note(study)
    + (
      " truth: the simulated subjects' true parameters, judged like a method."
      if truth
      else ""
    ),
  )
  table.write_rows(
    table.errors_by_subject(errors, study.folds), root / "errors_by_subject.csv"
  )
  _write_other_tissues(study, estimates, references)
  if simulated:
    judged = {**estimates, **means}
    if acquired:
      judged["acquired"] = references
    of_truth = _write_truth_table(study, judged, truths, masks)
    if not acquired:
      rows = of_truth
  _write_differences(study, {m: errors[m] for m in config.methods})
  _write_calibration(study, estimates, references, masks)
  _write_fit(study)
  _draw_figures(study, estimates)
  trained = _draw_learning_curves(study)
  write_timing(root, config.methods)
  print(f"Errors against the {_maps(study)}. {_noise(study)}")
  for remark in _remarks(study):
    print(f"- {remark}")
  print()
  print(table.format_text(rows))
  _print_files(root, simulated=simulated, trained=trained)


def _print_files(root: pathlib.Path, *, simulated: bool, trained: bool) -> None:
  """Prints where the results are."""
  print(f"\nTable 1      {root / 'table1.md'}, table1.csv")
  if simulated:
    print(f"Truth table  {root / 'truth_table.md'}, truth_table.csv")
  print(f"Differences  {root / 'differences.md'}, differences.csv")
  print(f"Figure 3     {root / 'figure3.png'}, errors.png")
  if trained:
    print(f"Learning     {root / 'learning_curves.png'}")
  print(f"Timing       {root / 'timing.csv'}")
  print(f"Maps         {root / 'maps'} (NIfTI)")
  print(f"Models       {root / 'models'}")


def _load_maps(
  study: Study, method: str, *, deviation: bool = False
) -> list[Maps]:
  """Maps of each left-out subject, or their predicted standard deviations."""

  def read(k, name):
    path = study.workdir.map_file(method, k, name, deviation=deviation)
    return nifti.load_map(path, study.subjects[k].mask)

  return [Maps(*(read(k, name) for name in MAP_NAMES)) for k in study.folds]


def _load_estimates(study: Study, method: str) -> list[Maps]:
  """Maps of each left-out subject; relative PD on the references' scale."""
  maps = _load_maps(study, method)
  if not _is_relative_pd(study, method):
    return maps
  references = (study.references[k] for k in study.folds)
  return [
    on_scale_of(own, reference)[0]
    for own, reference in zip(maps, references, strict=True)
  ]


def _is_relative_pd(study: Study, method: str) -> bool:
  """Whether PD of a method is in the unit of signals of any gain."""
  if has_relative_pd(study.config, method):
    return True
  if not study.config.data.files or METHODS[method].train is None:
    return False
  bundle = study.models.model(method, study.folds[0])
  return load_model(bundle).pd_unit == "signals"


def _training_means(study: Study) -> list[Maps]:
  """Means of the training subjects' maps, at every voxel of the left-out."""
  means = []
  for left_out in study.folds:
    training = np.concatenate(
      [m.stack() for k, m in enumerate(study.references) if k != left_out]
    )
    mean = training.mean(0, dtype=np.float64)
    n_voxels = study.subjects[left_out].n_voxels
    means.append(Maps.unstack(np.tile(mean, (n_voxels, 1))))
  return means


def _masks(study: Study, thresholds_ms=None) -> Masks:
  """Tissues of each left-out subject, by its acquired T1; and lesions."""
  thresholds = thresholds_ms or study.config.evaluation.thresholds_ms.to_dict()
  return [
    tissue_masks(
      study.references[k].t1_ms,
      thresholds_ms=thresholds,
      lesion=study.subjects[k].lesion,
    )
    for k in study.folds
  ]


def _errors(
  estimates: Estimates, targets: Sequence[Maps], masks: Masks
) -> dict[str, list[SubjectErrors]]:
  """Errors of each method and subject against the targets."""
  return {
    method: [
      map_errors(*triple) for triple in zip(maps, targets, masks, strict=True)
    ]
    for method, maps in estimates.items()
  }


def _bounds(study: Study, masks: Masks) -> list[SubjectErrors]:
  """Cramér–Rao bounds of evenly spaced voxels of each subject."""
  errors = []
  left_out = (study.subjects[k] for k in study.folds)
  for subject, tissues in zip(left_out, masks, strict=True):
    truth, b1, noise = subject.truth, subject.true_b1, subject.noise_sd
    assert truth is not None and b1 is not None and noise is not None
    count = min(_BOUND_VOXELS, subject.n_voxels)
    some = np.linspace(0, subject.n_voxels - 1, count).astype(int)
    bounds = cramer_rao_bounds(
      subject.sequence,
      truth.t1_ms[some],
      truth.t2_ms[some],
      pd=truth.pd[some],
      b1=b1[some],
      # Without noise the bound is zero, which cannot be computed.
      noise_sd=np.maximum(noise[some], 1e-12),
      window=subject.window,
      stride=subject.stride,
    )
    errors.append(
      expected_errors(bounds, {t: mask[some] for t, mask in tissues.items()})
    )
  return errors


def _write_table(
  errors: Mapping[str, Sequence[SubjectErrors]],
  stem: pathlib.Path,
  *,
  title: str,
  note: str,
) -> pd.DataFrame:
  """Writes a table of mean errors as CSV and Markdown, and returns it."""
  rows = table.summarise(errors)
  table.write_rows(rows, stem.with_suffix(".csv"))
  text = table.format_markdown(rows, title=title, note=note)
  write_text(text, stem.with_suffix(".md"))
  return rows


def _write_other_tissues(
  study: Study, estimates: Estimates, references: Sequence[Maps]
) -> None:
  """Writes Table 1 for tissues of other thresholds."""
  others = study.config.evaluation.other_thresholds_ms
  for name, thresholds_ms in others.to_dict().items():
    ranges = ", ".join(
      f"{t} {low:g} to {high:g}" for t, (low, high) in thresholds_ms.items()
    )
    _write_table(
      _errors(estimates, references, _masks(study, thresholds_ms)),
      study.workdir.root / f"table1_{name}",
      title=f"Table 1 with other tissue thresholds: {name}",
      note=f"{_note(study)} T1 in ms: {ranges}.",
    )


def _write_truth_table(
  study: Study, estimates: Estimates, truths: Sequence[Maps], masks: Masks
) -> pd.DataFrame:
  """Writes errors against true parameters, with their Cramér–Rao bounds."""
  errors = _errors(estimates, truths, masks)
  if all(study.subjects[k].true_b1 is not None for k in study.folds):
    errors["bound"] = _bounds(study, masks)
  acquired = " acquired: the acquired reference maps, judged like a method."
  return _write_table(
    errors,
    study.workdir.root / "truth_table",
    title="Errors against the true parameters of simulated subjects",
    note=_note(study)
    + (acquired if "acquired" in errors else "")
    + " bound: the least error that an unbiased estimate from one voxel's "
    "fingerprint can have (Cramér-Rao; true T1 and T2 as if of one tissue, B1 "
    f"known, noise of the scan, no aliasing; {_BOUND_VOXELS} voxels a "
    "subject). Methods that know neighbours or training subjects may err less. "
    "Tissues are the voxels of Table 1.",
  )


def _write_differences(
  study: Study, errors: Mapping[str, Sequence[SubjectErrors]]
) -> None:
  """Writes each pair of methods as CSV, all against the first as Markdown."""
  root = study.workdir.root
  rows = differences.paired_differences(errors)
  table.write_rows(rows, root / "differences.csv")
  text = differences.format_differences(
    rows,
    against=study.config.methods[0],
    title="Differences between methods in Table 1",
    note=" ".join([_noise(study), *_remarks(study)]),
  )
  write_text(text, root / "differences.md")


def _write_calibration(
  study: Study, estimates: Estimates, references: Sequence[Maps], masks: Masks
) -> None:
  """Writes the calibration of the methods that predict deviations, if any."""
  csv, markdown = (
    study.workdir.root / f"calibration.{suffix}" for suffix in ("csv", "md")
  )
  deviations = {
    method: _load_maps(study, method, deviation=True)
    for method in study.config.methods
    if METHODS[method].predicts_deviations(study.config)
  }
  if not deviations:
    # An earlier run may have had other methods.
    remove(csv)
    remove(markdown)
    return
  rows = calibration.calibrate(estimates, deviations, references, masks)
  table.write_rows(rows, csv)
  text = paragraphs(
    f"# Predicted standard deviations and errors against the {_maps(study)}",
    f"{_note(study)} {calibration.NOTE}",
    calibration.format_calibration(rows),
  )
  write_text(text, markdown)


def _write_fit(study: Study) -> None:
  """Writes how well the maps of each method fit the signals."""
  write_fits(study)
  rows = fit_table(study)
  root = study.workdir.root
  table.write_rows(rows, root / "fit.csv")
  text = paragraphs(
    "# Goodness of fit", f"{_noise(study)} {FIT_NOTE}", format_fit(rows)
  )
  write_text(text, root / "fit.md")


def _are_acquired(study: Study) -> bool:
  """Whether reference maps are acquired ones; simulated heads may do without.

  Configurations of before had no choice.
  """
  config = study.config
  return bool(config.data.files) or config.data.get("acquired_maps", True)


def _maps(study: Study) -> str:
  """Words for the reference maps."""
  return "acquired maps" if _are_acquired(study) else "true maps"


def _whose(study: Study) -> str:
  """Word for the subjects, which says so if they are simulated."""
  if all(subject.is_simulated for subject in study.subjects):
    return "simulated subjects"
  return "subjects"


def _noise(study: Study) -> str:
  """Sentence on the subjects, and on the noise level if it is known."""
  whose = _whose(study).capitalize()
  if study.config.data.files:
    return f"{whose}."
  return f"{whose}, noise level {study.config.scan.noise_level:g}."


def _note(study: Study) -> str:
  """Note above the tables."""
  remarks = "".join(f" {remark}" for remark in _remarks(study))
  return (
    f"{_noise(study)} training_mean: the mean of the training subjects' maps."
    f"{remarks}"
  )


def _remarks(study: Study) -> list[str]:
  """Sentences on what the numbers of this study need besides its method."""
  remarks = [*study.remarks]
  if any(_is_relative_pd(study, m) for m in study.config.methods):
    remarks.append(RELATIVE_PD)
  return remarks


def _draw_learning_curves(study: Study) -> bool:
  """Draws learning curves of all trained networks; False if there are none."""
  records = [
    record
    for record in read_records(log_file(study.workdir.root / "metrics"))
    if record["method"] in study.config.methods
  ]
  if records:
    n_subjects = len(study.subjects)
    learning_curves(
      study.workdir.root / "learning_curves.png",
      records,
      title=f"Training on {n_subjects - 1} of {n_subjects} {_whose(study)}",
    )
  return bool(records)


def _draw_figures(study: Study, estimates: Estimates) -> None:
  """Draws the middle slice of the first left-out subject, as in Figure 3."""
  number = study.folds[0]
  subject = study.subjects[number]
  middle = len(subject.mask) // 2

  turned = upright(subject.affine)

  def middle_slice(maps: Maps) -> Maps:
    volumes = np.zeros((3, *subject.mask.shape), np.float32)
    volumes[:, subject.mask] = maps.stack().T
    return Maps(*turned(volumes[:, middle]))

  reference = middle_slice(study.references[number])
  shown = {m: middle_slice(maps[0]) for m, maps in estimates.items()}
  mask = turned(subject.mask[middle])
  title = (
    f"{_whose(study)[:-1]} {number}, left out of training, "
    f"slice {middle + 1} of {len(subject.mask)}"
  )
  figures.figure3(
    study.workdir.root / "figure3.png",
    reference=reference,
    estimates=shown,
    mask=mask,
    difference_of=study.config.methods[0],
    title=title,
    sides=turned.sides,
  )
  figures.error_figure(
    study.workdir.root / "errors.png",
    reference=reference,
    estimates=shown,
    mask=mask,
    title=f"estimate − reference, {title}",
    sides=turned.sides,
  )
