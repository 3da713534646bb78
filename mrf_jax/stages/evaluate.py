"""Tables and figures from the maps that stand in a workdir."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from mrf_jax.evaluation import differences, figures, table
from mrf_jax.evaluation.calibration import (
  calibrate,
  format_calibration,
  write_calibration,
)
from mrf_jax.evaluation.errors import (
  SubjectErrors,
  expected_errors,
  map_errors,
)
from mrf_jax.evaluation.learning_curves import learning_curves
from mrf_jax.evaluation.tissues import tissue_masks
from mrf_jax.io import nifti
from mrf_jax.io.atomic import remove
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.methods import Study, predicts_deviations
from mrf_jax.signal.cramer_rao import cramer_rao_bounds
from mrf_jax.training.metrics import log_file, read_records
from mrf_jax.workdir.stage_times import write_timing

# Method, or row that stands beside the methods, to the maps of each subject.
Estimates = Mapping[str, Sequence[Maps]]

# Voxels of each subject whose bound is computed.
_BOUND_VOXELS = 3000


def evaluate(study: Study) -> None:
  """Writes all tables and figures and prints Table 1.

  Args:
    study: with all methods' maps and times in its workdir.
  """
  config, root = study.config, study.workdir.root
  estimates = {m: _load_maps(study, m) for m in config.methods}
  means = {}
  if len(study.subjects) > 1:
    means = {"training_mean": _training_means(study)}
  left_out = [study.subjects[k] for k in study.folds]
  references = [study.references[k] for k in study.folds]
  truths = [s.truth for s in left_out if s.truth is not None]
  simulated = len(truths) == len(left_out)
  truth = {"truth": truths} if simulated else {}

  errors = _errors(study, {**estimates, **means, **truth}, references)
  rows = _write_table(
    errors,
    root / "table1",
    title=f"Table 1: errors against the acquired maps of {_whose(study)}",
    note=_note(study)
    + (
      " truth: the simulated subjects' true parameters, judged like a method."
      if simulated
      else ""
    ),
  )
  _write_other_tissues(study, estimates, references)
  if simulated:
    acquired = {"acquired": references}
    against_truth = _errors(study, {**estimates, **means, **acquired}, truths)
    if all(s.true_b1 is not None for s in left_out):
      against_truth["bound"] = _bounds(study)
    _write_table(
      against_truth,
      root / "truth_table",
      title="Errors against the true parameters of simulated subjects",
      note=_note(study)
      + " acquired: the acquired reference maps, judged like a method. bound: "
      "the least error that an unbiased estimate from one voxel's fingerprint "
      "can have (Cramér-Rao; true T1 and T2 as if of one tissue, B1 known, "
      f"noise of the scan, no aliasing; {_BOUND_VOXELS} voxels a subject). "
      "Methods that know neighbours or training subjects may err less. Tissues "
      "are the voxels of Table 1.",
    )
  _write_differences({m: errors[m] for m in config.methods}, study)
  _write_calibration(study, estimates, references)
  _draw_figures(study, estimates)
  trained = _draw_learning_curves(study)
  write_timing(root, config.methods)
  print(f"Errors against the acquired maps. {_noise(study)}\n")
  print(table.format_text(rows))
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
  def read(k, name):
    path = study.workdir.map_file(method, k, name, deviation=deviation)
    return nifti.load_map(path, study.subjects[k].mask)

  return [Maps(*(read(k, name) for name in MAP_NAMES)) for k in study.folds]


def _training_means(study: Study) -> list[Maps]:
  """For each left-out subject, the mean of the others' maps everywhere."""
  means = []
  for left_out in study.folds:
    training = np.concatenate(
      [m.stack() for k, m in enumerate(study.references) if k != left_out]
    )
    mean = training.mean(0, dtype=np.float64)
    n_voxels = study.subjects[left_out].n_voxels
    means.append(Maps.unstack(np.tile(mean, (n_voxels, 1))))
  return means


def _bounds(study: Study) -> list[SubjectErrors]:
  """Cramér–Rao bounds of evenly spaced voxels of each subject."""
  errors = []
  left_out = (study.subjects[k] for k in study.folds)
  for subject, masks in zip(left_out, _masks(study), strict=True):
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
      # No noise has no bound but zero.
      noise_sd=np.maximum(noise[some], 1e-12),
      window=subject.window,
      stride=subject.stride,
    )
    errors.append(
      expected_errors(bounds, {t: mask[some] for t, mask in masks.items()})
    )
  return errors


def _masks(study: Study, thresholds_ms=None) -> list[dict[str, np.ndarray]]:
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


def _write_other_tissues(study: Study, estimates: Estimates, references):
  """Table 1 in tissues of other thresholds."""
  others = study.config.evaluation.other_thresholds_ms
  for name, thresholds_ms in others.to_dict().items():
    masks = _masks(study, thresholds_ms)
    _write_table(
      _errors(study, estimates, references, masks),
      study.workdir.root / f"table1_{name}",
      title=f"Table 1 with other tissue thresholds: {name}",
      note=_note(study)
      + " T1 in ms: "
      + ", ".join(
        f"{t} {low:g} to {high:g}" for t, (low, high) in thresholds_ms.items()
      )
      + ".",
    )


def _errors(
  study: Study, estimates: Estimates, targets: Sequence[Maps], masks=None
) -> dict[str, list[SubjectErrors]]:
  """Errors against the targets, in tissues of the acquired T1."""
  masks = masks or _masks(study)
  return {
    method: [
      map_errors(*triple) for triple in zip(maps, targets, masks, strict=True)
    ]
    for method, maps in estimates.items()
  }


def _write_table(errors, stem: pathlib.Path, *, title: str, note: str) -> list:
  rows = table.summarise(errors)
  table.write_csv(rows, stem.with_suffix(".csv"))
  text = table.format_markdown(rows, title=title, note=note)
  table.write_text(text, stem.with_suffix(".md"))
  return rows


def _write_differences(errors, study: Study) -> None:
  """Each pair of methods, and all methods against the first."""
  root = study.workdir.root
  rows = differences.paired_differences(errors)
  differences.write_differences(rows, root / "differences.csv")
  text = differences.format_differences(
    rows,
    against=study.config.methods[0],
    title="Differences between methods in Table 1",
    note=_noise(study),
  )
  table.write_text(text, root / "differences.md")


def _write_calibration(study: Study, estimates: Estimates, references) -> None:
  """Of the methods that predict deviations, if there are any."""
  rows, masks = [], _masks(study)
  for method, maps in estimates.items():
    if predicts_deviations(study.config, method):
      deviations = _load_maps(study, method, deviation=True)
      rows += calibrate(method, maps, deviations, references, masks)
  csv, markdown = (
    study.workdir.root / f"calibration.{suffix}" for suffix in ("csv", "md")
  )
  if not rows:
    # Those of other methods, which were asked for before.
    remove(csv)
    remove(markdown)
    return
  write_calibration(rows, csv)
  note = (
    " Root mean squares; share of voxels that err by no more than one, and "
    "two, predicted deviations (0.68 and 0.95 of normal errors)."
  )
  parts = (
    "# Predicted deviations beside errors against the acquired maps",
    _note(study) + note,
    format_calibration(rows),
  )
  table.write_text("\n\n".join(parts) + "\n", markdown)


def _whose(study: Study) -> str:
  """Simulated data is called so."""
  if all(subject.is_simulated for subject in study.subjects):
    return "simulated subjects"
  return "subjects"


def _noise(study: Study) -> str:
  """Whose scans these are, and at what noise if that is known."""
  whose = _whose(study).capitalize()
  if study.config.data.files:
    return f"{whose}."
  return f"{whose}, noise level {study.config.scan.noise_level:g}."


def _note(study: Study) -> str:
  return (
    f"{_noise(study)} training_mean: the mean of the training subjects' maps."
  )


def _draw_learning_curves(study: Study) -> bool:
  """Of all networks that the study has; whether there are any."""
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
  """The middle slice of the first left-out subject, as in Figure 3."""
  number = study.folds[0]
  subject = study.subjects[number]
  middle = len(subject.mask) // 2

  def middle_slice(maps: Maps) -> Maps:
    volumes = np.zeros((3, *subject.mask.shape), np.float32)
    volumes[:, subject.mask] = maps.stack().T
    return Maps(*volumes[:, middle])

  reference = middle_slice(study.references[number])
  shown = {m: middle_slice(maps[0]) for m, maps in estimates.items()}
  mask = subject.mask[middle]
  title = f"{_whose(study)[:-1]} {number}, left out of training"
  figures.figure3(
    study.workdir.root / "figure3.png",
    reference=reference,
    estimates=shown,
    mask=mask,
    difference_of=study.config.methods[0],
    title=title,
  )
  figures.error_figure(
    study.workdir.root / "errors.png",
    reference=reference,
    estimates=shown,
    mask=mask,
    title=f"estimate − reference, {title}",
  )
