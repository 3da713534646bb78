"""Fine-tuning of a trained network on other scans."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import ml_collections
import numpy as np

from mrf_jax.dataset.identity import (
  ScanIdentity,
  check_different,
  check_together,
  identify,
  is_same_field,
  is_same_pd_scale,
)
from mrf_jax.dataset.standardise import SignalStatistics
from mrf_jax.dataset.subject import Subject, load_subject
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import bundle_checksum
from mrf_jax.inference.model import Model
from mrf_jax.inference.training_scans import TrainingScans
from mrf_jax.maps import Maps
from mrf_jax.methods.network_options import training_options
from mrf_jax.methods.network_signals import (
  b1_range,
  match_atoms,
  seen_channels,
)
from mrf_jax.methods.study import clipped_references
from mrf_jax.networks.channels import channel_count, known_b1
from mrf_jax.runtime.progress import notice
from mrf_jax.signal.subspace import check_rank, gram_matrix, temporal_basis
from mrf_jax.simulation.signal_reference import make_signal_reference
from mrf_jax.training.checkpoint import CheckpointFolder
from mrf_jax.training.epochs import OnPace
from mrf_jax.training.fold_data import NO_SUBJECT, Signals, TrainingData
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.train import TrainedFold, train_folds
from mrf_jax.workdir.configuration import config_differences

# Share of the steps and of the learning rate of the network's own training, for
# scans of the same sequence. Scans of another sequence take all of both.
SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class LabelledScans:
  """Scans of one acquisition with reference maps, to train on.

  Attributes:
    paths: of the subject files.
    subjects: the scans, without their signals.
    references: their clipped reference maps.
    identities: what the scans are known by.
  """

  paths: Sequence[str]
  subjects: Sequence[Subject]
  references: Sequence[Maps]
  identities: Sequence[ScanIdentity]

  @property
  def n_voxels(self) -> int:
    """Voxels of all scans."""
    return sum(subject.n_voxels for subject in self.subjects)

  def with_signals(self) -> Iterator[tuple[Subject, Maps]]:
    """Each scan with its signals, read in turn, and its reference maps."""
    for path, references in zip(self.paths, self.references, strict=True):
      yield load_subject(path), references


def load_scans(paths: Sequence[str], config: dict) -> LabelledScans:
  """Loads scans without signals, and clips maps by the bundle's configuration.

  Raises:
    UserError: a file is damaged, the scans are of different acquisitions, field
      strengths or scales of proton density, one is there twice, or one has no
      reference maps.
  """
  subjects = [load_subject(path, with_signals=False) for path in paths]
  percentiles = config["preprocessing"]["clip_percentiles"]
  references = clipped_references(subjects, paths, percentiles)
  # One scan at a time: those of all may not fit into memory.
  scans = [identify(load_subject(path)) for path in paths]
  check_different(scans, paths)
  check_together(scans, paths)
  return LabelledScans(paths, subjects, references, scans)


def check_pd_scale(
  model: Model, trained: TrainingScans, scans: LabelledScans
) -> None:
  """Raises `UserError` if scans have another scale of PD than the model's.

  The output of the network stays on the scale of the maps that it learned.
  """
  low, high = (model.map_range.unscale(np.full(3, x))[0] for x in (0.0, 1.0))
  known = [scan.pd_median for scan in trained.scans if scan.pd_median]
  for path, scan in zip(scans.paths, scans.identities, strict=True):
    median = scan.pd_median
    assert median is not None
    # Older bundles have the range of their maps only.
    learned = known[-1] if known else min(max(median, low), high)
    if not is_same_pd_scale(median, learned):
      raise UserError(
        f"{path}: its reference PD has the median {median:.3g}, in the "
        f"training of {trained.bundle} it was {learned:.3g}; bring --pd of "
        "--mode=import to that scale"
      )


def other_field(model: Model, scans: LabelledScans) -> str | None:
  """Sentence on a field strength that is not the model's; None if it is."""
  own_t, model_t = scans.subjects[0].field_strength_t, model.field_strength_t
  if model_t is None or is_same_field(own_t, model_t):
    return None
  return (
    f"another field strength than the model's: {own_t:g} T, not {model_t:g}"
  )


def adapted_model(
  model: Model, scans: LabelledScans
) -> tuple[Model, list[str]]:
  """The model as the fine-tuning starts, adapted to the scans' acquisition.

  Temporal components and the statistics of signals are computed from the scans
  if they are of another acquisition than the model's.

  Returns:
    The model, and what was changed, in words; empty if nothing was.
  """
  scan = scans.subjects[0]
  if model.b1_range is not None:
    for path, subject in zip(scans.paths, scans.subjects, strict=True):
      known_b1(path, subject)
  model = dataclasses.replace(
    model,
    field_strength_t=scan.field_strength_t,
    # Nothing says how bright signals of a scanner are beside its maps.
    pd_unit="references",
    b1_range=_wider(model.b1_range, b1_range(model.network, scans.subjects)),
  )
  difference = scan.acquisition.difference(model.acquisition)
  if difference is None:
    return model, []
  of_scan, of_model = difference
  changes = [f"another scan than the model's: {of_scan}, not {of_model}"]
  basis, statistics = model.basis, model.statistics
  if basis is not None:
    rank = basis.shape[1]
    name = f"{scans.paths[0]}: the model's number of temporal components"
    check_rank(name, rank, n_frames=scan.n_windows)
    basis = temporal_basis(
      sum(gram_matrix(_signals_of(path)) for path in scans.paths), rank=rank
    ).astype(np.complex64)
    changes.append(f"its {rank} temporal components are computed again")
  elif scan.n_windows != model.acquisition.n_windows:
    changes.append("its first layer starts from random weights")
  if statistics is not None:
    statistics = SignalStatistics.of_scans(
      (_components(path, basis) for path in scans.paths),
      per=model.normalise_signals_per,
      reference=make_signal_reference(scan.acquisition, basis),
    )
    changes.append("its signal statistics are computed again")
  model = dataclasses.replace(
    model, acquisition=scan.acquisition, basis=basis, statistics=statistics
  )
  return model, changes


def _wider(
  before: tuple[float, float] | None, now: tuple[float, float] | None
) -> tuple[float, float] | None:
  """The range of B1 of both trainings; None if the network sees none."""
  if before is None or now is None:
    return None
  return min(before[0], now[0]), max(before[1], now[1])


def finetune_options(
  config: dict,
  method: str,
  *,
  share: float,
  before: dict,
  voxels: int,
  epochs: int | None,
  learning_rate: float | None,
) -> TrainingOptions:
  """Options of a fine-tuning, from those of the network's last training.

  Args:
    config: configuration of the model bundle.
    method: name of the network.
    share: of the steps and of the learning rate of the last training.
    before: what the bundle stores of the last training, which may have been
      another than that of the configuration.
    voxels: training voxels of the fine-tuning.
    epochs: instead of `share` of the steps, if not None.
    learning_rate: instead of `share` of the last one, if not None.

  Raises:
    UserError: an option is not valid.
  """
  options = training_options(ml_collections.ConfigDict(config), method)
  if epochs is None:
    # As many steps where there are fewer voxels; older bundles do not store
    # the number of theirs.
    passes = before.get("epochs", options.epochs)
    passes *= before.get("voxels", voxels) / voxels
    epochs = max(1, round(share * passes))
  if learning_rate is None:
    learning_rate = share * before.get("learning_rate", options.learning_rate)
  return dataclasses.replace(
    options, epochs=epochs, learning_rate=learning_rate
  )


def finetune_checkpoints(
  folder: pathlib.Path,
  options: TrainingOptions,
  source: str,
  scans: LabelledScans,
) -> CheckpointFolder:
  """Folder of the checkpoints of a fine-tuning of the model bundle `source`."""
  return CheckpointFolder(
    folder,
    config={
      **dataclasses.asdict(options),
      "model": str(source),
      "model_sha256": bundle_checksum(source),
      # By their content: a file may be imported anew, or lie elsewhere.
      "scans": [scan.parts for scan in scans.identities],
    },
    differences=lambda stored, asked: config_differences(
      stored, asked, free=()
    ),
    warn=lambda text: notice(f"warning: {text}"),
  )


def train_further(
  model: Model,
  scans: LabelledScans,
  options: TrainingOptions,
  checkpoints: CheckpointFolder,
  *,
  on_pace: OnPace,
) -> tuple[TrainedFold, dict[int, np.ndarray]]:
  """Trains a network on all of the scans, from its own weights.

  `on_pace` is that of `train_folds`.

  Returns:
    The trained network, and by epoch the mean absolute errors of the maps in
    the watched voxels.
  """
  errors: dict[int, np.ndarray] = {}

  def note_errors(epoch: int, metrics: dict) -> None:
    if "watched_mae" in metrics:
      errors[epoch] = metrics["watched_mae"][0, 0]

  masks = [subject.mask for subject in scans.subjects]
  (trained,) = train_folds(
    model.network,
    TrainingData(_normalised(model, scans), masks, scans.references),
    options,
    left_out=[NO_SUBJECT],
    start=TrainedFold(model.variables, model.map_range, 0.0),
    checkpoint_folder=checkpoints,
    on_epoch=note_errors,
    on_pace=on_pace,
  )
  return trained, errors


def _normalised(model: Model, scans: LabelledScans) -> Signals:
  """Signals of the scans, normalised as in reconstruction."""

  def load(subject: int, left_out: int) -> np.ndarray:
    del left_out
    return seen_channels(
      model.network,
      scans.subjects[subject],
      _components(scans.paths[subject], model.basis),
      per=model.normalise_signals_per,
      statistics=model.statistics,
    )

  n_components = scans.subjects[0].n_windows
  bases, statistics, matches = {}, {}, {}
  if model.basis is not None:
    n_components = model.basis.shape[1]
    bases[NO_SUBJECT] = model.basis
  if model.statistics is not None:
    statistics[NO_SUBJECT] = model.statistics
  atoms = match_atoms(model.network, model.acquisition)
  if atoms is not None:
    matches[NO_SUBJECT] = atoms.table(model.basis)
  return Signals(
    channel_count(model.network, n_components=n_components),
    load,
    per_fold=model.basis is not None,
    bases=bases,
    statistics=statistics,
    matches=matches,
  )


def _components(path: str, basis: np.ndarray | None) -> np.ndarray:
  """Signals of a scan, projected if there is a basis."""
  signals = _signals_of(path)
  return signals if basis is None else signals @ basis


def _signals_of(path: str) -> np.ndarray:
  """Signals, read when needed: those of all scans may not fit into memory."""
  signals = load_subject(path).signals
  assert signals is not None
  return signals
