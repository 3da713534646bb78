"""The stages of an experiment in their order."""

import dataclasses
import functools

import jax
import ml_collections

from mrf_jax.dataset.normalise import clip_outliers
from mrf_jax.dataset.subject import check_alike, reference_of, without_truth
from mrf_jax.errors import UserError
from mrf_jax.experiment.settings import check_methods, find_folds, with_files
from mrf_jax.experiment.subjects import load_numbered, simulate_missing
from mrf_jax.experiment.workdirs import borrowed_models, open_workdir
from mrf_jax.io import nifti
from mrf_jax.maps import MAP_NAMES
from mrf_jax.methods import METHODS, TRAINING, Study, predicts_deviations
from mrf_jax.runtime import processes
from mrf_jax.stages.evaluate import evaluate
from mrf_jax.training.metrics import join_logs
from mrf_jax.workdir.stage_times import save_times, times_file


def crossval(config: ml_collections.ConfigDict, root) -> None:
  """From subjects to Table 1: simulate, leave one out, evaluate.

  What stands in the workdir already is not done again.

  Args:
    config: the experiment's configuration.
    root: the workdir.
  """
  config = with_files(config)
  check_methods(config)
  folds = find_folds(config)
  n_processes, n_folds = jax.process_count(), len(folds)
  if n_processes > n_folds:
    raise UserError(
      f"--num_processes is {n_processes}, more than the {n_folds} folds"
    )
  borrowed = borrowed_models(config)
  workdir = open_workdir(config, root)
  simulate_missing(config, workdir)

  load = functools.partial(load_numbered, workdir)
  full = [load(k, with_signals=False) for k in range(config.data.n_subjects)]
  check_alike(full, [workdir.subject(k) for k in range(len(full))])
  references = [
    clip_outliers(
      reference_of(subject, workdir.subject(k)),
      percentiles=config.preprocessing.clip_percentiles,
    )
    for k, subject in enumerate(full)
  ]
  hidden = [without_truth(subject) for subject in full]
  study = Study(
    config,
    workdir,
    hidden,
    lambda k: without_truth(load(k)),
    references,
    folds,
    borrowed or workdir,
  )
  missing = [m for m in config.methods if not _maps_stand(study, m)]
  if n_processes > 1:
    for method in filter(TRAINING.__contains__, missing):
      processes.say(f"Training {method} in {n_processes} processes ...")
      TRAINING[method](study)
    processes.barrier("training")
  if processes.is_first():
    join_logs(workdir.root / "metrics")
    for method in missing:
      processes.say(f"Estimating maps by {method} ...")
      _estimate(study, method)
    evaluate(dataclasses.replace(study, subjects=full))
  processes.barrier("end")


def _maps_stand(study: Study, method: str) -> bool:
  workdir = study.workdir
  files = [
    workdir.map_file(method, k, name, deviation=deviation)
    for deviation in {False, predicts_deviations(study.config, method)}
    for k in study.folds
    for name in MAP_NAMES
  ]
  files.append(times_file(workdir.root, method))
  if method in TRAINING and study.models is workdir:
    files += [workdir.model(method, k) for k in study.folds]
  return all(file.exists() for file in files)


def _estimate(study: Study, method: str) -> None:
  """Runs a method and writes its maps and times."""
  found = METHODS[method](study)
  for deviation, all_maps in ((False, found.maps), (True, found.deviations)):
    for k, maps in zip(study.folds, all_maps or (), strict=False):
      subject = study.subjects[k]
      for name in MAP_NAMES:
        path = study.workdir.map_file(method, k, name, deviation=deviation)
        path.parent.mkdir(parents=True, exist_ok=True)
        nifti.save_map(path, getattr(maps, name), subject.mask, subject.affine)
  save_times(list(found.times), times_file(study.workdir.root, method))
