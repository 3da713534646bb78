"""The crossval stage: leave-one-out cross-validation, up to Table 1."""

import dataclasses

import jax
import ml_collections

from mrf_jax.dataset.identity import ScanIdentity
from mrf_jax.dataset.subject import Subject, load_subject, without_truth
from mrf_jax.errors import UserError
from mrf_jax.experiment import borrowed as borrowed_networks
from mrf_jax.experiment import sources
from mrf_jax.experiment.map_heads import check_heads
from mrf_jax.experiment.settings import (
  check_methods,
  find_folds,
  networks_of,
  with_files,
)
from mrf_jax.experiment.subjects import generated_files, simulate_missing
from mrf_jax.experiment.workdirs import borrowed_models, open_workdir
from mrf_jax.io import nifti
from mrf_jax.io.atomic import remove
from mrf_jax.maps import MAP_NAMES
from mrf_jax.methods import METHODS, Study
from mrf_jax.methods.fits import forget_fits
from mrf_jax.methods.network_options import make_network
from mrf_jax.methods.study import clipped_references
from mrf_jax.networks.channels import known_b1, sees_b1
from mrf_jax.runtime import processes
from mrf_jax.runtime.memory import release_free_memory
from mrf_jax.training.metrics import join_logs
from mrf_jax.workdir.stage_times import save_times, times_file
from mrf_jax.workdir.workdir import Workdir


def crossval(config: ml_collections.ConfigDict, root) -> None:
  """Runs the cross-validation: simulates, trains, estimates and evaluates.

  Subjects, models and maps that exist in the workdir are not made again.

  Raises:
    UserError: the configuration is not valid, a subject is missing, damaged or
      of another scan, a workdir is of another configuration, or there are more
      processes than folds.
  """
  config = with_files(config)
  check_methods(config)
  n_processes, n_folds = jax.process_count(), len(find_folds(config))
  if n_processes > n_folds:
    raise UserError(
      f"--num_processes is {n_processes}, more than the {n_folds} folds"
    )
  is_known = check_heads(config, root)
  borrowed = borrowed_models(config)
  workdir = open_workdir(
    config, root, lender=borrowed, heads_are_known=is_known
  )
  # Now and not after hours of training, in which files of the code may change.
  from mrf_jax.stages.evaluate import evaluate

  simulate_missing(config, workdir)
  study, subjects = _make_study(config, workdir, borrowed or workdir)
  missing = [m for m in config.methods if not _has_results(study, m)]
  made = [m for m in config.methods if m not in missing]
  missing += borrowed_networks.check_maps(study, made)
  if n_processes > 1:
    for method in missing:
      train = METHODS[method].train
      if train is not None:
        processes.say(f"Training {method} in {n_processes} processes ...")
        train(study)
    processes.barrier("training")
  if processes.is_first():
    join_logs(workdir.root / "metrics")
    for method in missing:
      processes.say(f"Estimating maps by {method} ...")
      borrowed_networks.record_models(study, method)
      _estimate(study, method)
      if METHODS[method].train is not None:
        # The next method has large programs of its own.
        jax.clear_caches()
        release_free_memory()
    evaluate(dataclasses.replace(study, subjects=subjects))
  processes.barrier("end")


def _make_study(
  config, workdir: Workdir, models: Workdir
) -> tuple[Study, list[Subject]]:
  """The study, which has no true maps, and the subjects, which have them."""
  files = [workdir.subject(k) for k in range(config.data.n_subjects)]
  scans: list[ScanIdentity] = []
  # The others save nothing that names its scans.
  if processes.is_first():
    scans = sources.study_scans(workdir, len(files))
  subjects = [load_subject(file, with_signals=False) for file in files]
  further = generated_files(config, workdir)
  generated = [load_subject(file, with_signals=False) for file in further]
  all_files = [*files, *further]
  networks = (make_network(config, method) for method in networks_of(config))
  if any(map(sees_b1, networks)):
    for file, subject in zip(all_files, [*subjects, *generated], strict=True):
      known_b1(file, subject)
  references = clipped_references(
    [*subjects, *generated], all_files, config.preprocessing.clip_percentiles
  )
  study = Study(
    config=config,
    workdir=workdir,
    subjects=[without_truth(subject) for subject in subjects],
    load=lambda k: without_truth(load_subject(all_files[k])),
    references=references[: len(files)],
    folds=find_folds(config),
    models=models,
    scans=scans,
    generated=[without_truth(subject) for subject in generated],
    generated_references=references[len(files) :],
  )
  if scans and models is not workdir:
    remarks = borrowed_networks.check_models(config, models, scans, files)
    study = dataclasses.replace(study, remarks=remarks)
  return study, subjects


def _has_results(study: Study, method: str) -> bool:
  """Whether the workdir has all maps, times and models of a method."""
  workdir = study.workdir
  files = [
    workdir.map_file(method, k, name, deviation=deviation)
    for deviation in {False, METHODS[method].predicts_deviations(study.config)}
    for k in study.folds
    for name in MAP_NAMES
  ]
  files.append(times_file(workdir.root, method))
  if METHODS[method].train is not None and study.models is workdir:
    files += [workdir.model(method, k) for k in study.folds]
  return all(file.exists() for file in files)


def _estimate(study: Study, method: str) -> None:
  """Runs a method and writes its maps and times."""
  times = times_file(study.workdir.root, method)
  # The times are written last: maps without them are made again, should this
  # run be killed halfway.
  if times.exists():
    remove(times)
  estimates = METHODS[method].estimate(study)
  forget_fits(study, method)
  for all_maps, is_deviation in (
    (estimates.maps, False),
    (estimates.deviations or (), True),
  ):
    for k, maps in zip(study.folds, all_maps, strict=False):
      subject = study.subjects[k]
      for name in MAP_NAMES:
        path = study.workdir.map_file(method, k, name, deviation=is_deviation)
        path.parent.mkdir(parents=True, exist_ok=True)
        nifti.save_map(path, getattr(maps, name), subject.mask, subject.affine)
  save_times(list(estimates.times), times)
