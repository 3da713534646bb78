"""Training of one network on scans in memory, as Python programs call it.

Cross-validation trains from files and resumes (`methods/network.py`), and
fine-tuning starts from a bundle (`methods/finetune.py`).
"""

import dataclasses
import signal
from collections import abc
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import numpy as np

from mrf_jax.checks import check_one_of
from mrf_jax.dataset.identity import (
  ScanIdentity,
  check_different,
  check_together,
  identify,
)
from mrf_jax.dataset.standardise import (
  SignalStatistics,
  check_normalisation,
)
from mrf_jax.dataset.subject import Subject, checked
from mrf_jax.errors import UserError
from mrf_jax.inference.deviation_scale import with_scaled_deviations
from mrf_jax.inference.model import Model
from mrf_jax.inference.training_scans import scans_entry
from mrf_jax.maps import MAP_NAMES
from mrf_jax.methods.network_options import check_outputs
from mrf_jax.methods.network_signals import (
  b1_range,
  check_match,
  has_match,
  match_atoms,
  seen_channels,
  training_statistics,
)
from mrf_jax.methods.study import clipped_references
from mrf_jax.networks import NETWORKS
from mrf_jax.networks.channels import channel_count, known_b1, sees_b1
from mrf_jax.networks.options import module_options
from mrf_jax.runtime.interrupts import Stopped
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from mrf_jax.training.fold_data import NO_SUBJECT, Signals, TrainingData
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.train import TrainedFold, train_folds

# Estimates of a step, and the side of a tile of a network that sees neighbours.
_ESTIMATES, _TILE = 256, 8
# Of PD, T1 and T2. At powers of one, the paper's, fluid with its T2 of seconds
# dominates the squared error, and T2 of tissue stays noise in a short training.
_MAP_POWERS = (1.0, 0.0, 0.5)
# Of networks with a match: what is added to the logarithm of its PD does not
# depend on brightness.
_OF_MATCH = {"map_powers": (0.0, 0.0, 0.5), "altered_masks": 0.3}
# Options of files and of several folds, which this training does not have.
_OF_RUNS = ("checkpoint_epochs", "checkpoint_minutes", "folds_at_once")

# Called with the number of an epoch, from 1, and what is known of it.
OnEpoch = Callable[[int, dict[str, float]], None]


def train(
  network: str | nn.Module,
  subjects: abc.Sequence[Subject],
  *,
  epochs: int = 20,
  learning_rate: float = 2e-3,
  seed: int = 0,
  rank: int | None = None,
  normalise_signals_per: str | None = None,
  normalise_signals_by: str = "training",
  clip_percentiles: tuple[float, float] = (0.1, 99.9),
  bound_estimates: bool = True,
  on_epoch: OnEpoch | None = None,
  **options: Any,
) -> Model:
  """Trains a network on all of the scans, from random weights.

  The network learns the reference maps of the scans. Keep a scan out to see how
  large its errors are: those of the training scans are smaller.

  Args:
    network: name of one of `NETWORKS` (`cohen`, `hoppe`, `spatiotemporal`,
      `spatiotemporal_plus`), of its default size; or a Flax module, which has
      `reach` and `slices` as theirs have.
    subjects: scans of one acquisition, with signals and reference maps.
    epochs: passes over the voxels.
    learning_rate: of Adam, at the first step.
    seed: of initial weights, order and dropout; equal seeds give equal models.
    rank: temporal components of the scans that the network sees; None is all
      windows.
    normalise_signals_per: `frame`, `subject` or `voxel`, see
      `normalise_signals`; None is `frame`, or `subject` for components.
    normalise_signals_by: whose mean and variance these are: `training`, of the
      training scans, for any scan, whose phase and level are brought to those
      of its sequence first; or `scan`, of each scan by itself, as always for
      `voxel`.
    clip_percentiles: percentiles to which reference maps are clipped.
    bound_estimates: whether estimates of the model end at the least and the
      greatest values of these maps.
    on_epoch: called after each epoch with its number, from 1, and a dictionary
      of its mean `loss` (for the weighted likelihood, which rises, the
      likelihood in some of the training voxels), and of the mean absolute
      errors `mae_pd`, `mae_t1_ms` and `mae_t2_ms` in some of the training
      voxels.
    **options: further fields of `TrainingOptions`. Other defaults than there
      are `map_powers=(1, 0, 0.5)` (the network learns the logarithm of T1 and
      the root of T2, so that the long times of fluid do not dominate), `batch`
      and `tile` (256 estimates a step), `schedule="cosine"`,
      `watched_voxels=1000`, for a network that predicts standard deviations
      `loss="separate_likelihood"`, and for one with a match
      `map_powers=(0, 0, 0.5)` and `altered_masks=0.3`.

  Returns:
    The model, for `reconstruct` and `save_model`.

  Raises:
    UserError: a scan has no signals or maps, is there twice or does not fit the
      others, an option is not valid, or the loss is not finite.
  """
  name, module = _network(network)
  # Names of subjects stand for files in messages.
  scans = [checked(subject) for subject in subjects]
  names = [scan.subject for scan in scans]
  if not scans:
    raise UserError("train: there are no subjects")
  identities = _identities(scans, names)
  if normalise_signals_per is None:
    normalise_signals_per = "frame" if rank is None else "subject"
  check_normalisation(normalise_signals_per)
  for scan in scans if sees_b1(module) else ():
    known_b1(scan.subject, scan)
  n_channels = channel_count(
    module, n_components=scans[0].n_windows if rank is None else rank
  )
  settings = _options(
    module,
    dict(options, epochs=epochs, learning_rate=learning_rate, seed=seed),
  )
  references = clipped_references(scans, names, clip_percentiles)
  basis = None if rank is None else _basis(scans, rank)
  preprocessing = {
    "clip_percentiles": list(clip_percentiles),
    "normalise_signals_per": normalise_signals_per,
    "normalise_signals_by": normalise_signals_by,
    "bound_estimates": bound_estimates,
  }
  if has_match(module):
    check_match(
      "train",
      preprocessing,
      per=normalise_signals_per,
      n_components=scans[0].n_windows if rank is None else rank,
    )
  check_outputs(module, name, n_channels=n_channels, loss=settings.loss)
  atoms = match_atoms(module, scans[0].acquisition)
  statistics = training_statistics(
    preprocessing,
    (_components(scan, basis) for scan in scans),
    scans[0].acquisition,
    per=normalise_signals_per,
    basis=basis,
  )
  fold = _train(
    module,
    TrainingData(
      dataclasses.replace(
        _signals(module, scans, basis, normalise_signals_per, statistics),
        matches={} if atoms is None else {NO_SUBJECT: atoms.table(basis)},
      ),
      [scan.mask for scan in scans],
      references,
    ),
    settings,
    on_epoch,
  )
  model = Model(
    method=name,
    network=module,
    variables=fold.variables,
    map_range=fold.map_range.bounded() if bound_estimates else fold.map_range,
    normalise_signals_per=normalise_signals_per,
    acquisition=scans[0].acquisition,
    basis=basis,
    field_strength_t=scans[0].field_strength_t,
    statistics=statistics,
    b1_range=b1_range(module, scans),
    config=_configuration(name, module, settings, rank, preprocessing),
    training={
      "seconds": fold.seconds,
      "left_out": None,
      "subjects": names,
      "epochs": settings.epochs,
      "learning_rate": settings.learning_rate,
      "voxels": sum(scan.n_voxels for scan in scans),
      **scans_entry(identities),
    },
  )
  return with_scaled_deviations(model, zip(scans, references, strict=True))


def _network(network: str | nn.Module) -> tuple[str, nn.Module]:
  """The name of a network's kind, and its module."""
  if isinstance(network, str):
    check_one_of("network", network, NETWORKS)
    return network, NETWORKS[network]()
  missing = [x for x in ("reach", "slices") if not hasattr(network, x)]
  if not isinstance(network, nn.Module) or missing:
    raise UserError(
      f"network: {type(network).__name__} is neither one of "
      f"{', '.join(NETWORKS)} nor a Flax module with reach and slices"
    )
  names = [name for name, kind in NETWORKS.items() if type(network) is kind]
  return (names or [type(network).__name__])[0], network


def _identities(
  scans: abc.Sequence[Subject], names: abc.Sequence[str]
) -> list[ScanIdentity]:
  """Identities of the scans, of which none may be there twice."""
  identities = [identify(scan) for scan in scans]
  check_different(identities, names)
  check_together(identities, names)
  return identities


def _options(module: nn.Module, given: dict[str, Any]) -> TrainingOptions:
  """Options of the training; `UserError` for unknown ones."""
  fields = {field.name for field in dataclasses.fields(TrainingOptions)}
  known = sorted(fields.difference(_OF_RUNS))
  for name in given:
    check_one_of("train: the option", name, known)
  tile = given.get("tile", _TILE if module.reach else 1)
  predicts = getattr(module, "n_outputs", 3) == 2 * len(MAP_NAMES)
  defaults = {
    "tile": tile,
    "batch": max(1, _ESTIMATES // max(1, tile) ** 2),
    "schedule": "cosine",
    "map_powers": _MAP_POWERS,
    "watched_voxels": 1000,
    "loss": "separate_likelihood" if predicts else "squared_error",
  }
  if has_match(module):
    defaults |= _OF_MATCH
  return TrainingOptions(**(defaults | given))


def _basis(scans: abc.Sequence[Subject], rank: int) -> np.ndarray:
  """Strongest temporal components of all scans, [window, rank]."""
  gram = sum(gram_matrix(scan.signals) for scan in scans)
  return temporal_basis(gram, rank=rank).astype(np.complex64)


def _components(scan: Subject, basis: np.ndarray | None) -> np.ndarray:
  """Signals of a scan, projected if there is a basis."""
  assert scan.signals is not None
  return scan.signals if basis is None else scan.signals @ basis


def _signals(
  module: nn.Module,
  scans: abc.Sequence[Subject],
  basis: np.ndarray | None,
  per: str,
  statistics: SignalStatistics | None,
) -> Signals:
  """Normalised signals of the scans, as in reconstruction."""

  def load(number: int, left_out: int) -> np.ndarray:
    del left_out
    scan = scans[number]
    return seen_channels(
      module, scan, _components(scan, basis), per=per, statistics=statistics
    )

  n_components = scans[0].n_windows if basis is None else basis.shape[1]
  n_channels = channel_count(module, n_components=n_components)
  known = {} if statistics is None else {NO_SUBJECT: statistics}
  return Signals(n_channels, load, statistics=known)


def _train(
  module: nn.Module,
  data: TrainingData,
  settings: TrainingOptions,
  on_epoch: OnEpoch | None,
) -> TrainedFold:
  """The network, trained on all subjects."""

  def report(epoch: int, metrics: dict) -> None:
    if on_epoch is None:
      return
    values = {"loss": float(metrics["loss"][0])}
    if "watched_loss" in metrics:
      values["loss"] = float(metrics["watched_loss"][0, 0])
    if "watched_mae" in metrics:
      errors = metrics["watched_mae"][0, 0]
      values |= {
        f"mae_{name}": float(error)
        for name, error in zip(MAP_NAMES, errors, strict=True)
      }
    on_epoch(epoch, values)

  try:
    (fold,) = train_folds(
      module, data, settings, left_out=[NO_SUBJECT], on_epoch=report
    )
  except Stopped as stop:
    # What notebooks and debuggers expect of Ctrl-C.
    if stop.number == signal.SIGINT:
      raise KeyboardInterrupt from None
    raise
  return fold


def _configuration(
  name: str,
  module: nn.Module,
  settings: TrainingOptions,
  rank: int | None,
  preprocessing: dict[str, Any],
) -> dict[str, Any]:
  """The configuration of the same training, which `finetune` reads."""
  training = dataclasses.asdict(settings)
  seed, precision = training["seed"], training.pop("precision")
  training |= {"seed": None, "sampling": "tiles", "rank": rank}
  return {
    "seed": seed,
    "precision": precision,
    "preprocessing": preprocessing,
    "training": training,
    name: {"network": module_options(module), "training": {}},
  }
