"""Reconstruction by a network that is trained on the other subjects."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from jaxtyping import Complex64

from mrf_jax.checks import check_one_of
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import patch_shape
from mrf_jax.dataset.signal_reference import SignalReference
from mrf_jax.dataset.standardise import (
  SignalStatistics,
  by_training_scans,
  check_normalisation,
  normalise_signals,
)
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import load_model, load_training, save_model
from mrf_jax.inference.model import (
  PD_UNITS,
  Model,
  reconstruct_with_deviations,
)
from mrf_jax.inference.training_scans import scans_entry
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.matching.match_table import (
  LEAST_RANK,
  MatchAtoms,
  make_match_atoms,
)
from mrf_jax.methods.compression import compress_scans
from mrf_jax.methods.study import Estimates, Study, reconstruct_all
from mrf_jax.networks import NETWORKS
from mrf_jax.networks.match_layer import match_variables
from mrf_jax.runtime.processes import own_share
from mrf_jax.runtime.progress import notice, progress
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.subspace import check_rank
from mrf_jax.simulation.signal_reference import make_signal_reference
from mrf_jax.training.checkpoint import CheckpointFolder
from mrf_jax.training.fold_data import Signals, TrainingData
from mrf_jax.training.losses import LOSSES
from mrf_jax.training.metrics import EpochLog
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.train import TrainedFold, train_folds
from mrf_jax.workdir.configuration import (
  FREE_KEYS,
  OF_FILES,
  config_differences,
)
from mrf_jax.workdir.stage_times import StageTime

_SAMPLINGS = ("patches", "tiles")


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


def trains_on_generated(config: ml_collections.ConfigDict, method: str) -> bool:
  """Whether generated heads are among the training subjects of a network."""
  return _training_section(config, method).get("generated_heads", False)


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
      field_strength_t=scan.field_strength_t,
    )
    scans = [s for k, s in enumerate(study.scans) if k != number]
    save_model(
      model,
      study.workdir.model(method, number),
      config=config.to_dict(),
      training={
        "seconds": fold.seconds,
        "left_out": number,
        "voxels": study.n_training_voxels(number),
        **scans_entry(scans),
      },
    )


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
  signals = _signals(study, method, folds)
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
  unit = _training_section(study.config, method).get("pd_unit", "references")
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


def make_network(config: ml_collections.ConfigDict, method: str) -> nn.Module:
  """Flax module of a network."""
  return NETWORKS[method](**config[method].network)


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
  unit = _training_section(config, method).get("pd_unit", "references")
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
  if has_match(module):
    own = f"{method}.network.match_step_percent"
    check_match(
      own, config.preprocessing, per=standardised(config, compressed=bool(rank))
    )
    if (rank or n_windows) < LEAST_RANK:
      raise UserError(
        f"{own}: {rank or n_windows} components tell no T1, T2 and PD; a match "
        f"needs {LEAST_RANK}, or is left out by 0"
      )
  check_outputs(
    module,
    method,
    n_channels=2 * (rank or n_windows),
    loss=options.loss,
  )


def check_match(
  name: str, preprocessing: Mapping[str, Any], *, per: str
) -> None:
  """Raises `UserError` where a network cannot tell signals from its inputs.

  A match needs signals with one mean and one scale, known from the training.
  """
  if per != "subject" or not by_training_scans(preprocessing):
    raise UserError(
      f"{name}: a match needs signals that are standardised as a whole and by "
      "the training scans: training.rank or normalise_signals_per=subject, and "
      "normalise_signals_by=training; 0 is a network without a match"
    )


def check_outputs(
  module: nn.Module, method: str, *, n_channels: int, loss: str
) -> None:
  """Raises `UserError` unless a network has the outputs that its loss needs."""
  patch = jax.ShapeDtypeStruct(
    (1, *patch_shape(module.reach, module.slices), n_channels), np.float32
  )
  outputs, _ = jax.eval_shape(
    lambda x: module.init_with_output(jax.random.key(0), x, train=False), patch
  )
  n_needed = len(MAP_NAMES) * LOSSES[loss][1]
  if outputs.shape[-1] != n_needed:
    raise UserError(
      f"{method}: the network has {outputs.shape[-1]} outputs, the loss "
      f"{loss} needs {n_needed}"
    )


def network_predicts_deviations(
  config: ml_collections.ConfigDict, method: str
) -> bool:
  """Whether a network predicts the standard deviations of its maps, too."""
  _, outputs_per_map = LOSSES[training_options(config, method).loss]
  return outputs_per_map == 2


def training_options(
  config: ml_collections.ConfigDict, method: str
) -> TrainingOptions:
  """Options of the training of a network.

  The section `training` of the network takes precedence over that of all
  networks. Some of its keys do not reach the training as such: `sampling`
  decides the size of a tile, `rank` the signals, see `signal_rank`,
  `generated_heads` the subjects, and `pd_unit` the scale of PD.

  Raises:
    UserError: an option is not valid.
  """
  section = _training_section(config, method)
  for name in ("rank", "generated_heads", "pd_unit"):
    section.pop(name, None)
  sampling = section.pop("sampling")
  check_one_of("training.sampling", sampling, _SAMPLINGS)
  if sampling == "patches":
    section["tile"] = 1
  if section["seed"] is None:
    section["seed"] = config.seed
  section["precision"] = config.precision
  return TrainingOptions(**section)


def signal_rank(config: ml_collections.ConfigDict, method: str) -> int | None:
  """Number of temporal components that a network sees; None: all windows."""
  return _training_section(config, method)["rank"]


def _training_section(config: ml_collections.ConfigDict, method: str) -> dict:
  """Section `training` of all networks, with the values of this network."""
  return {**config.training, **config[method].training}


def _signals(study: Study, method: str, folds: list[int]) -> Signals:
  """Normalised signals: all windows, or temporal components of each fold."""
  rank = signal_rank(study.config, method)
  per = standardised(study.config, compressed=rank is not None)
  module = make_network(study.config, method)
  atoms = match_atoms(module, study.subjects[0].acquisition)
  reference = None
  if by_training_scans(study.config.preprocessing):
    reference = make_signal_reference(study.subjects[0].acquisition)
  if rank is None:
    return dataclasses.replace(
      _windows(study, folds, per, reference),
      matches={} if atoms is None else dict.fromkeys(folds, atoms.table()),
    )
  # Of the training subjects of the fold.
  scans = compress_scans(study, rank=rank, left_out=folds)
  statistics = {}
  if reference is not None:
    for left_out, scan in scans.items():
      others = (x for k, x in enumerate(scan.signals) if k != left_out)
      statistics[left_out] = SignalStatistics.of_scans(
        others, per=per, reference=reference.of_components(scan.basis)
      )

  def load(subject: int, left_out: int) -> np.ndarray:
    return normalise_signals(
      scans[left_out].signals[subject],
      per=per,
      statistics=statistics.get(left_out),
    )

  bases = {left_out: scan.basis for left_out, scan in scans.items()}
  matches = {}
  if atoms is not None:
    matches = {
      left_out: atoms.table(basis) for left_out, basis in bases.items()
    }
  return Signals(
    2 * rank,
    load,
    per_fold=True,
    bases=bases,
    statistics=statistics,
    matches=matches,
  )


def _windows(
  study: Study,
  folds: list[int],
  per: str,
  reference: SignalReference | None,
) -> Signals:
  """Normalised signals of all windows, one table for all folds."""
  together, statistics, scales = None, {}, {}
  if reference is not None:
    numbers = range(len(study.subjects))
    scans = [
      SignalStatistics.of_scan(study.signals(k), per=per, reference=reference)
      for k in progress(numbers, total=len(numbers), text="signal statistics")
    ]
    for fold in folds:
      others = [scan for k, scan in enumerate(scans) if k != fold]
      statistics[fold] = SignalStatistics.pooled(others)
    # How the shared table stores them; each fold sees them by its own.
    together = SignalStatistics.pooled(scans)
    scales = {k: together.scale_to(own) for k, own in statistics.items()}
  return Signals(
    2 * study.subjects[0].n_windows,
    lambda subject, _: normalise_signals(
      study.signals(subject), per=per, statistics=together
    ),
    statistics=statistics,
    scales=scales,
  )


def has_match(module: nn.Module) -> bool:
  """Whether a network contains a match with a dictionary."""
  return getattr(module, "match_step_percent", 0) != 0


def match_atoms(
  module: nn.Module, acquisition: Acquisition
) -> MatchAtoms | None:
  """Atoms of the match that a network contains; None if it contains none."""
  if not has_match(module):
    return None
  return make_match_atoms(
    acquisition,
    tuple(module.match_t1_ms),
    tuple(module.match_t2_ms),
    module.match_step_percent,
  )


def given_variables(
  module: nn.Module,
  acquisition: Acquisition,
  basis: Complex64[np.ndarray, "frame rank"] | None,
  statistics: SignalStatistics | None,
  map_range: MapRange,
) -> dict[str, Any]:
  """Variables of a network that are not trained, by their collections.

  Those of a network that contains a match: its atoms of an acquisition. Its
  signals have the statistics.
  """
  atoms = match_atoms(module, acquisition)
  if atoms is None:
    return {}
  assert statistics is not None
  return match_variables(atoms.table(basis), statistics, map_range)


def training_statistics(
  preprocessing: Mapping[str, Any],
  scans: Iterable[Complex64[np.ndarray, "voxel frame"]],
  acquisition: Acquisition,
  *,
  per: str,
  basis: Complex64[np.ndarray, "frame rank"] | None = None,
) -> SignalStatistics | None:
  """What standardises signals by those of the training scans.

  Args:
    preprocessing: section of that name of a configuration.
    scans: signals of the training scans, projected if there is a basis.
    acquisition: theirs.
    per: see `normalise_signals`.
    basis: temporal components, or None.

  Returns:
    Their statistics; None if each scan is to be standardised by itself.
  """
  if not by_training_scans(preprocessing):
    return None
  reference = make_signal_reference(acquisition, basis)
  return SignalStatistics.of_scans(scans, per=per, reference=reference)


def standardised(config: ml_collections.ConfigDict, *, compressed: bool) -> str:
  """How signals are standardised, as `per` of `normalise_signals`.

  Temporal components are never standardised one by one: the noise of weak
  components would then have the same weight as the signal of strong ones.
  """
  per = config.preprocessing.normalise_signals_per
  return "subject" if compressed and per == "frame" else per
