"""Trained networks of another workdir, which estimate maps in this one."""

import os
from collections.abc import Sequence

import ml_collections

from mrf_jax.dataset.identity import ScanIdentity, is_same_pd_scale
from mrf_jax.errors import UserError
from mrf_jax.experiment import sources
from mrf_jax.experiment.settings import find_folds, networks_of
from mrf_jax.inference.bundle import bundle_checksum, load_training
from mrf_jax.inference.model import check_field
from mrf_jax.inference.training_scans import TrainingScans, load_training_scans
from mrf_jax.methods import Study
from mrf_jax.workdir.workdir import Workdir


def check_models(
  config: ml_collections.ConfigDict,
  lender: Workdir,
  scans: Sequence[ScanIdentity],
  paths: Sequence[str | os.PathLike],
) -> list[str]:
  """Checks that models of another workdir may be tested on the scans.

  Args:
    config: the configuration.
    lender: the other workdir.
    scans: identities of all subjects of the configuration.
    paths: their files, for messages.

  Returns:
    Sentences on models of other subjects, or of unknown ones.

  Raises:
    UserError: a model was trained on the scan that it is to be tested on, at
      another field strength, or on another scale of proton density.
  """
  others: dict[str, None] = {}
  for method in networks_of(config):
    for fold in find_folds(config):
      bundle = lender.model(method, fold)
      # `network` names those that are missing.
      if not (bundle / "model.json").exists():
        continue
      trained = _training_scans(lender, bundle)
      _check_left_out(trained, scans[fold], paths[fold])
      _check_kind(trained, scans[fold], paths[fold])
      expected = [s for k, s in enumerate(scans) if k != fold]
      if not trained.scans:
        others[
          f"{lender.root} does not say which scans its models were trained on."
        ] = None
      elif not _are_same_heads(trained.scans, expected):
        others[
          f"The networks are those of {lender.root}, trained on other scans "
          "than these subjects."
        ] = None
  return [*others]


def _check_left_out(
  trained: TrainingScans, scan: ScanIdentity, path: str | os.PathLike
) -> None:
  """Raises `UserError` if a model was trained on a scan, or on its subject."""
  if trained.has(scan):
    raise UserError(
      f"models_from: {trained.bundle} was trained on {path}, which it is to be "
      "tested on; models_from needs a workdir that left it out"
    )
  for own in trained.scans:
    if own.subject == scan.subject:
      raise UserError(
        f"models_from: {trained.bundle} was trained on a scan of subject "
        f"{own.subject!r}, of which {path} is, too; models_from needs a "
        "workdir that left it out"
      )


def _check_kind(
  trained: TrainingScans, scan: ScanIdentity, path: str | os.PathLike
) -> None:
  """Raises `UserError` if a model was trained on scans of another kind."""
  for own in trained.scans:
    check_field(
      f"models_from: {path}", scan.field_strength_t, own.field_strength_t
    )
    if scan.pd_median is None or own.pd_median is None:
      continue
    if not is_same_pd_scale(scan.pd_median, own.pd_median):
      raise UserError(
        f"models_from: the reference PD of {path} has the median "
        f"{scan.pd_median:.3g}, in the training of {trained.bundle} it was "
        f"{own.pd_median:.3g}; bring --pd of --mode=import to that scale"
      )


def _training_scans(models: Workdir, bundle) -> TrainingScans:
  """Scans of a bundle; of older ones by the files of their workdir."""
  trained = load_training_scans(bundle)
  if trained.are_all:
    return trained
  left_out = load_training(bundle, default={}).get("left_out")
  numbers = range(models.config["data"]["n_subjects"])
  files = [models.subject(k) for k in numbers if k != left_out]
  if left_out is None or not all(file.exists() for file in files):
    return trained
  entries = sources.identify_files(files, [models.root])
  return TrainingScans(trained.bundle, (*sources.identities(entries),), True)


def _are_same_heads(
  trained: Sequence[ScanIdentity], expected: Sequence[ScanIdentity]
) -> bool:
  """Whether both are of the same subjects, perhaps scanned otherwise.

  Two scans of one simulated head have nothing in common but its number; both
  configurations have one seed.
  """

  def is_among(scan, scans):
    return any(scan.is_same_scan(s) or scan.subject == s.subject for s in scans)

  return all(is_among(scan, expected) for scan in trained) and all(
    is_among(scan, trained) for scan in expected
  )


def checksums(study: Study) -> dict[str, str]:
  """Checksum of each model of another workdir; none if the models are own."""
  if study.models is study.workdir:
    return {}
  found = {}
  for method in networks_of(study.config):
    for fold in study.folds:
      bundle = study.models.model(method, fold)
      if (bundle / "model.json").exists():
        found[f"{method}/fold-{fold}"] = bundle_checksum(bundle)
  return found


def check_maps(study: Study, methods: Sequence[str]) -> list[str]:
  """Checks that maps in the workdir were made by the models of now.

  Args:
    study: the study.
    methods: those that have all of their maps.

  Returns:
    Methods whose maps another workdir's models have made, where own models are
    asked for now: their maps are to be made again.

  Raises:
    UserError: maps were made by other models.
  """
  stored, now = sources.read_models(study.workdir.root), checksums(study)
  again = []
  for method in methods:
    before, asked = _of(stored, method), _of(now, method)
    own = study.workdir.model(method, study.folds[0]) / "model.json"
    if study.models is study.workdir:
      again += [method] if before else []
    elif before != asked and (before or own.exists()):
      folder = study.workdir.root / "maps" / method
      raise UserError(
        f"models_from: {folder} was made with other models than those of "
        f"{study.models.root} now; remove {folder}, and the same command makes "
        "it again, or choose another --workdir"
      )
  return again


def _of(models: dict[str, str], method: str) -> dict[str, str]:
  """Checksums of the models of one method."""
  return {k: v for k, v in models.items() if k.startswith(f"{method}/")}


def record_models(study: Study, method: str) -> None:
  """Records by which models of another workdir a method's maps are made."""
  stored = sources.read_models(study.workdir.root)
  others = {k: v for k, v in stored.items() if k not in _of(stored, method)}
  sources.record(
    study.workdir, models={**others, **_of(checksums(study), method)}
  )
