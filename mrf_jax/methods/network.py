"""A network trained on the other subjects."""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax
import ml_collections
import numpy as np

from mrf_jax.dataset.normalise import check_normalisation, normalise_signals
from mrf_jax.dataset.patches import patch_shape
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import load_model, load_training, save_model
from mrf_jax.inference.model import Model, reconstruct_with_deviations
from mrf_jax.maps import MAP_NAMES
from mrf_jax.methods.compression import CompressedScans, compress_scans
from mrf_jax.methods.study import Estimates, Study, reconstruct_all
from mrf_jax.networks import NETWORKS
from mrf_jax.runtime.processes import own_share
from mrf_jax.runtime.progress import notice
from mrf_jax.signal.subspace import check_rank
from mrf_jax.training.checkpoint import Checkpoints, Saving
from mrf_jax.training.fold_data import Signals
from mrf_jax.training.losses import LOSSES
from mrf_jax.training.metrics import EpochLog
from mrf_jax.training.train import TrainedFold, check_options, train_folds
from mrf_jax.workdir.configuration import config_differences
from mrf_jax.workdir.stage_times import StageTime

SAMPLINGS = ("patches", "tiles")


def network(method: str, study: Study) -> Estimates:
  """A network trained on the other subjects; for process 0 only.

  What `train_own_folds` has trained in other processes is not trained again.
  """
  missing = _missing(study, method)
  if missing:
    _save_bundles(study, method, missing)
  checkpoints = _checkpoints(study, method)
  models, times = {}, []
  for fold in study.folds:
    checkpoints.remove(fold)
    model = load_model(study.models.model(method, fold))
    variables = jax.device_put(model.variables)
    models[fold] = dataclasses.replace(model, variables=variables)
  found, seconds = reconstruct_all(
    method,
    study,
    lambda k, subject: reconstruct_with_deviations(
      models[k], subject, precision=study.config.precision
    ),
  )
  deviations = [deviation for _, deviation in found if deviation is not None]
  if study.models is study.workdir:
    times.append(_training_time(study, method))
  maps = [estimate for estimate, _ in found]
  return Estimates(maps, [*times, seconds], deviations or None)


def _training_time(study: Study, method: str) -> StageTime:
  """Seconds of all folds, and the estimates that their epochs made."""
  bundles = [study.workdir.model(method, fold) for fold in study.folds]
  voxels = [subject.n_voxels for subject in study.subjects]
  epochs = training_options(study.config, method)["epochs"]
  return StageTime(
    method,
    "train",
    max(load_training(bundle)["seconds"] for bundle in bundles),
    voxels=epochs * sum(sum(voxels) - voxels[fold] for fold in study.folds),
  )


def train_own_folds(method: str, study: Study) -> None:
  """Trains this process's share of the folds, and leaves it as checkpoints.

  Args:
    method: name of the network.
    study: what it may look at.
  """
  folds = own_share(_missing(study, method))
  if folds:
    _train(study, method, folds)


def _missing(study: Study, method: str) -> list[int]:
  """Folds that have no bundle.

  Raises:
    UserError: it should stand in another workdir, and does not.
  """
  missing = [
    fold
    for fold in study.folds
    if not (study.models.model(method, fold) / "model.json").exists()
  ]
  if missing and study.models is not study.workdir:
    raise UserError(
      f"{study.models.model(method, missing[0])}: is not there; models_from "
      "wants a workdir whose networks are trained"
    )
  return missing


def _save_bundles(study: Study, method: str, folds: list[int]) -> None:
  """Trains folds as far as they are not, and writes their bundles."""
  config, scan = study.config, study.subjects[0]
  module, reach = make_network(config, method)
  trained, bases = _train(study, method, folds)
  for number, fold in zip(folds, trained, strict=True):
    model = Model(
      method=method,
      network=module,
      reach=reach,
      variables=fold.variables,
      map_range=fold.map_range,
      normalise_signals_per=standardised(config, compressed=number in bases),
      acquisition=scan.acquisition,
      basis=bases.get(number),
    )
    save_model(
      model,
      study.workdir.model(method, number),
      config=config.to_dict(),
      training={
        "seconds": fold.seconds,
        "left_out": number,
        "voxels": sum(
          subject.n_voxels
          for k, subject in enumerate(study.subjects)
          if k != number
        ),
      },
    )


def _train(
  study: Study, method: str, folds: list[int]
) -> tuple[list[TrainedFold], Mapping[int, np.ndarray]]:
  """Trains some folds from where their checkpoints stand.

  Returns:
    The folds, and the basis of each where they see compressed signals.
  """
  options = training_options(study.config, method)
  rank = options.pop("rank")
  seed = options.pop("seed")
  signals = _signals(study)
  if rank is not None:
    scans = compress_scans(study, rank=rank, left_out=folds)
    signals = _compressed(study, dict(zip(folds, scans, strict=True)), rank)
  saving = Saving(
    _checkpoints(study, method),
    every_epochs=options.pop("checkpoint_epochs"),
    every_minutes=options.pop("checkpoint_minutes"),
  )
  module, reach = make_network(study.config, method)
  metrics = study.workdir.root / "metrics"
  with EpochLog(metrics, method, process=jax.process_index()) as log:
    trained = train_folds(
      module,
      signals,
      [subject.mask for subject in study.subjects],
      study.references,
      reach=reach,
      seed=study.config.seed if seed is None else seed,
      left_out=folds,
      saving=saving,
      on_epoch=log,
      **options,
    )
  return trained, signals.bases


def _checkpoints(study: Study, method: str) -> Checkpoints:
  return Checkpoints(
    study.workdir.checkpoints(method),
    config=study.workdir.config,
    differences=config_differences,
    warn=lambda text: notice(f"warning: {text}"),
  )


def make_network(
  config: ml_collections.ConfigDict, method: str
) -> tuple[nn.Module, int]:
  """The Flax module that the configuration describes, and its reach."""
  module = NETWORKS[method](**config[method].network)
  return module, module.reach


def check_network(
  config: ml_collections.ConfigDict, method: str, *, n_windows: int
) -> None:
  """Refuses a network that cannot take the configuration's fingerprints.

  Args:
    config: the experiment's configuration.
    method: name of the network.
    n_windows: T.

  Raises:
    UserError: the fingerprints or the options do not suit it.
  """
  options = training_options(config, method)
  for name in ("checkpoint_epochs", "checkpoint_minutes"):
    if not options.pop(name) > 0:
      raise UserError(f"training.{name} is not above 0")
  rank = options.pop("rank")
  del options["seed"]
  check_options(**options)
  check_normalisation(config.preprocessing.normalise_signals_per)
  if rank is not None:
    check_rank(rank, n_frames=n_windows)
  loss = options["loss"]
  module, reach = make_network(config, method)
  n_channels = 2 * (rank or n_windows)
  patch = jax.ShapeDtypeStruct(
    (1, *patch_shape(reach, module.slices), n_channels), np.float32
  )
  outputs, _ = jax.eval_shape(
    lambda x: module.init_with_output(jax.random.key(0), x, train=False), patch
  )
  wanted = len(MAP_NAMES) * LOSSES[loss][1]
  if outputs.shape[-1] != wanted:
    raise UserError(
      f"{method}: the network has {outputs.shape[-1]} outputs, the loss "
      f"{loss} wants {wanted}"
    )


def network_predicts_deviations(
  config: ml_collections.ConfigDict, method: str
) -> bool:
  """Whether a network has deviations of its maps among its outputs.

  Args:
    config: the experiment's configuration.
    method: name of the network.
  """
  _, outputs_per_map = LOSSES[training_options(config, method)["loss"]]
  return outputs_per_map == 2


def training_options(config: ml_collections.ConfigDict, method: str) -> dict:
  """Arguments of `train_folds` and of `Saving`.

  Those of all networks, and what this one has of its own.

  Args:
    config: the experiment's configuration.
    method: name of the network.

  Raises:
    UserError: the sampling is unknown.
  """
  options = {**config.training, **config[method].training}
  options["precision"] = config.precision
  sampling = options.pop("sampling")
  if sampling not in SAMPLINGS:
    raise UserError(
      f"training.sampling: {sampling!r} is not one of {', '.join(SAMPLINGS)}"
    )
  if sampling == "patches":
    options["tile"] = 1
  return options


def _signals(study: Study) -> Signals:
  """Normalised signals of all subjects, all frames."""
  per = standardised(study.config, compressed=False)

  def of(subject: int, left_out: int) -> np.ndarray:
    del left_out
    return normalise_signals(study.signals(subject), per=per)

  return Signals(2 * study.subjects[0].n_windows, of)


def _compressed(
  study: Study, scans: dict[int, CompressedScans], rank: int
) -> Signals:
  """Normalised signals of all subjects in each fold's components."""
  per = standardised(study.config, compressed=True)

  def of(subject: int, left_out: int) -> np.ndarray:
    return normalise_signals(scans[left_out].signals[subject], per=per)

  bases = {left_out: scan.basis for left_out, scan in scans.items()}
  return Signals(2 * rank, of, per_fold=True, bases=bases)


def standardised(config: ml_collections.ConfigDict, *, compressed: bool) -> str:
  """What of the signals is standardised by itself; see `normalise_signals`.

  Not a component: the noise of the weak ones would weigh as much as the signal
  of the strong ones.

  Args:
    config: the experiment's configuration.
    compressed: whether a network sees temporal components.
  """
  per = config.preprocessing.normalise_signals_per
  return "subject" if compressed and per == "frame" else per
