"""Reconstruction by a network that is trained on the other subjects."""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np

from mrf_jax.checks import check_one_of
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.standardise import (
  by_training_scans,
  check_normalisation,
)
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import load_model, load_training, save_model
from mrf_jax.inference.deviation_scale import with_scaled_deviations
from mrf_jax.inference.model import (
  PD_UNITS,
  Model,
  reconstruct_with_deviations,
)
from mrf_jax.inference.training_scans import scans_entry
from mrf_jax.maps import Maps
from mrf_jax.methods.network_options import (
  check_outputs,
  make_network,
  signal_rank,
  standardised,
  training_options,
  training_section,
  trains_on_generated,
)
from mrf_jax.methods.network_signals import (
  b1_range,
  check_match,
  has_match,
  network_signals,
)
from mrf_jax.methods.study import Estimates, Study, reconstruct_all
from mrf_jax.networks.channels import channel_count, sees_b1
from mrf_jax.runtime.processes import own_share
from mrf_jax.runtime.progress import notice, progress
from mrf_jax.signal.subspace import check_rank
from mrf_jax.simulation.signal_reference import make_signal_reference
from mrf_jax.training.checkpoint import CheckpointFolder
from mrf_jax.training.fold_data import Signals, TrainingData
from mrf_jax.training.metrics import EpochLog
from mrf_jax.training.train import TrainedFold, train_folds
from mrf_jax.workdir.configuration import (
  FREE_KEYS,
  OF_FILES,
  config_differences,
)
from mrf_jax.workdir.stage_times import StageTime


def network(method: str, study: Study) -> Estimates:
  """Maps of the left-out subjects, estimated by a network; for process 0 only.

  Folds that have no model bundle are trained first, from the checkpoints that
  `train_own_folds` has written in all processes.
  """
  study = _training_study(study, method)
  missing = _missing(study, method)
  if missing:
    _save_bundles(study, method, missing)
  checkpoints = _checkpoint_folder(study, method)
  models, times = {}, []
  for fold in study.folds:
    checkpoints.remove(fold)
    model = load_model(study.models.model(method, fold))
    variables = jax.device_put(model.variables)
    models[fold] = dataclasses.replace(model, variables=variables)
  estimates, seconds = reconstruct_all(
    method,
    study,
    lambda k, subject: reconstruct_with_deviations(
      models[k], subject, precision=study.config.precision
    ),
  )
  maps = [own_maps for own_maps, _ in estimates]
  deviations = [own for _, own in estimates if own is not None]
  if study.models is study.workdir:
    times.append(_training_time(study, method))
  return Estimates(maps, [*times, seconds], deviations or None)


def _training_time(study: Study, method: str) -> StageTime:
  """Duration of the training of all folds, and its number of estimates."""
  bundles = [study.workdir.model(method, fold) for fold in study.folds]
  epochs = training_options(study.config, method).epochs
  return StageTime(
    method,
    "train",
    max(load_training(bundle)["seconds"] for bundle in bundles),
    voxels=epochs * sum(map(study.n_training_voxels, study.folds)),
  )


def train_own_folds(method: str, study: Study) -> None:
  """Trains this process's share of the folds and writes their checkpoints."""
  folds = own_share(_missing(study, method))
  if folds:
    _train(_training_study(study, method), method, folds)


def _training_study(study: Study, method: str) -> Study:
  """The study with all subjects that a network trains on."""
  if trains_on_generated(study.config, method):
    return study.with_generated()
  return study


def _missing(study: Study, method: str) -> list[int]:
  """Folds that have no model bundle; none may be missing in another workdir."""
  missing = [
    fold
    for fold in study.folds
    if not (study.models.model(method, fold) / "model.json").exists()
  ]
  if missing and study.models is not study.workdir:
    raise UserError(
      f"{study.models.model(method, missing[0])}: is missing; models_from "
      "needs a workdir whose networks are trained"
    )
  return missing


def _save_bundles(study: Study, method: str, folds: list[int]) -> None:
  """Trains folds and saves the model bundle of each."""
  config, scan = study.config, study.subjects[0]
  module = make_network(config, method)
  trained, signals = _train(study, method, folds)
  for number, fold in zip(folds, trained, strict=True):
    model = Model(
      method=method,
      network=module,
      variables=fold.variables,
      map_range=fold_range(config, fold),
      normalise_signals_per=standardised(
        config, compressed=number in signals.bases
      ),
      acquisition=scan.acquisition,
      basis=signals.bases.get(number),
      statistics=signals.statistics.get(number),
      pd_unit=pd_unit(study, method),
      b1_range=b1_range(
        module, [s for k, s in enumerate(study.subjects) if k != number]
      ),
      field_strength_t=scan.field_strength_t,
    )
    scans = [s for k, s in enumerate(study.scans) if k != number]
    save_model(
      with_scaled_deviations(
        model, _training_scans(study, number), precision=config.precision
      ),
      study.workdir.model(method, number),
      config=config.to_dict(),
      training={
        "seconds": fold.seconds,
        "left_out": number,
        "voxels": study.n_training_voxels(number),
        **scans_entry(scans),
      },
    )


def _training_scans(
  study: Study, left_out: int
) -> Iterator[tuple[Subject, Maps]]:
  """Scans that a fold is trained on and their references, read in turn."""
  numbers = [k for k in range(len(study.subjects)) if k != left_out]
  text = f"fold {left_out}, errors beside deviations"
  for k in progress(numbers, total=len(numbers), text=text):
    yield study.load(k), study.references[k]


def fold_range(
  config: ml_collections.ConfigDict, fold: TrainedFold
) -> MapRange:
  """Range of the maps that a fold was trained on, with bounds if asked for."""
  # Configurations that were stored before there were bounds lack the key.
  if config.preprocessing.get("bound_estimates", False):
    return fold.map_range.bounded()
  return fold.map_range


def _train(
  study: Study, method: str, folds: list[int]
) -> tuple[list[TrainedFold], Signals]:
  """Folds, trained from their checkpoints if any, and their signals."""
  signals = network_signals(study, method, folds)
  masks = [subject.mask for subject in study.subjects]
  module = make_network(study.config, method)
  metrics = study.workdir.root / "metrics"
  options = training_options(study.config, method)
  with EpochLog(
    metrics,
    method,
    loss=options.loss,
    process=jax.process_index(),
  ) as log:
    trained = train_folds(
      module,
      TrainingData(signals, masks, _targets(study, method)),
      options,
      left_out=folds,
      checkpoint_folder=_checkpoint_folder(study, method),
      on_epoch=log,
    )
  return trained, signals


def pd_unit(study: Study, method: str) -> str:
  """What the unit of a network's PD is, one of `PD_UNITS`.

  Signals of simulated scans are as bright as their PD says; those of a scanner
  have a gain that nothing tells.
  """
  unit = training_section(study.config, method).get("pd_unit", "references")
  if unit is not None:
    return unit
  are_simulated = all(subject.is_simulated for subject in study.subjects)
  if are_simulated and by_training_scans(study.config.preprocessing):
    return "signals"
  return "references"


def _targets(study: Study, method: str) -> list[Maps]:
  """Maps that a network learns: PD of the signals that it sees."""
  if pd_unit(study, method) == "references":
    return list(study.references)
  reference = make_signal_reference(study.subjects[0].acquisition)
  return [
    dataclasses.replace(
      maps, pd=maps.pd * np.float32(reference.gain(study.signals(k)))
    )
    for k, maps in enumerate(study.references)
  ]


def _checkpoint_folder(study: Study, method: str) -> CheckpointFolder:
  return CheckpointFolder(
    study.workdir.checkpoints(method),
    config=study.workdir.config,
    # The workdir has made sure that files elsewhere are the same scans.
    differences=functools.partial(
      config_differences, free=(*FREE_KEYS, *OF_FILES)
    ),
    warn=lambda text: notice(f"warning: {text}"),
  )


def check_network(
  config: ml_collections.ConfigDict, method: str, *, n_windows: int
) -> None:
  """Checks that a network and its training suit the fingerprints.

  Raises:
    UserError: an option is not valid, the network cannot take the fingerprints,
      or it has not the outputs that the loss needs.
  """
  options = training_options(config, method)
  check_normalisation(config.preprocessing.normalise_signals_per)
  by_training_scans(config.preprocessing)
  unit = training_section(config, method).get("pd_unit", "references")
  if unit is not None:
    check_one_of("training.pd_unit", unit, PD_UNITS)
  if unit == "signals" and not by_training_scans(config.preprocessing):
    raise UserError(
      "training.pd_unit: PD in the unit of the signals needs "
      "preprocessing.normalise_signals_by=training"
    )
  rank = signal_rank(config, method)
  if rank is not None:
    # A network's own value takes precedence over that of all.
    own = f"{method}." if "rank" in config[method].training else ""
    check_rank(f"--config.{own}training.rank", rank, n_frames=n_windows)
  module = make_network(config, method)
  # Scans in files may have maps of B1.
  is_simulated = not config.data.get("files")
  b1_map_error = config.scan.get("b1_map_error")
  if sees_b1(module) and is_simulated and b1_map_error is None:
    raise UserError(
      f"{method}.network.sees_b1: simulated scans have B1 maps with "
      "scan.b1_map_error alone, such as 0.02"
    )
  if has_match(module):
    own = f"{method}.network.match_step_percent"
    check_match(
      own,
      config.preprocessing,
      per=standardised(config, compressed=bool(rank)),
      n_components=rank or n_windows,
    )
  check_outputs(
    module,
    method,
    n_channels=channel_count(module, n_components=rank or n_windows),
    loss=options.loss,
  )
