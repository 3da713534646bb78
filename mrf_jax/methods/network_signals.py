"""Signals that a network sees, and what it is given beside its training."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from jaxtyping import Complex64, Float32

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.signal_reference import SignalReference
from mrf_jax.dataset.standardise import (
  SignalStatistics,
  by_training_scans,
  normalise_signals,
)
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.matching.match_table import (
  LEAST_RANK,
  MatchAtoms,
  make_match_atoms,
)
from mrf_jax.methods.compression import compress_scans
from mrf_jax.methods.network_options import (
  make_network,
  signal_rank,
  standardised,
)
from mrf_jax.methods.study import Study
from mrf_jax.networks.channels import (
  channel_count,
  known_b1,
  sees_b1,
  with_b1_channel,
)
from mrf_jax.networks.match_layer import match_variables
from mrf_jax.runtime.progress import progress
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.simulation.signal_reference import make_signal_reference
from mrf_jax.training.fold_data import Signals

# Of B1 in the training scans, beyond which a network knows nothing of it.
_B1_PERCENTILES = 0.1, 99.9


def network_signals(study: Study, method: str, folds: list[int]) -> Signals:
  """What a network sees: windows, or temporal components of each fold.

  They are normalised, and B1 follows if the network sees it.

  Raises:
    UserError: a subject has no B1 map, and the network sees it.
  """
  rank = signal_rank(study.config, method)
  per = standardised(study.config, compressed=rank is not None)
  module = make_network(study.config, method)
  for subject in study.subjects if sees_b1(module) else ():
    known_b1(subject.subject, subject)
  atoms = match_atoms(module, study.subjects[0].acquisition)
  reference = None
  if by_training_scans(study.config.preprocessing):
    reference = make_signal_reference(study.subjects[0].acquisition)
  if rank is None:
    return dataclasses.replace(
      _windows(study, module, folds, per, reference),
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
    return seen_channels(
      module,
      study.subjects[subject],
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
    channel_count(module, n_components=rank),
    load,
    per_fold=True,
    bases=bases,
    statistics=statistics,
    matches=matches,
  )


def _windows(
  study: Study,
  module: nn.Module,
  folds: list[int],
  per: str,
  reference: SignalReference | None,
) -> Signals:
  """Normalised signals of all windows, one table for all folds."""
  n_windows = study.subjects[0].n_windows
  n_channels = channel_count(module, n_components=n_windows)
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
    if sees_b1(module):
      scales = {
        k: _with_same_b1(*scale, n_channels) for k, scale in scales.items()
      }
  return Signals(
    n_channels,
    lambda subject, _: seen_channels(
      module,
      study.subjects[subject],
      study.signals(subject),
      per=per,
      statistics=together,
    ),
    statistics=statistics,
    scales=scales,
  )


def _with_same_b1(shift, factor, n_channels: int):
  """Shift and factor of signals, and those of B1, which leave it as it is."""
  of_signals = (np.broadcast_to(x, n_channels - 1) for x in (shift, factor))
  return tuple(map(np.append, of_signals, (np.float32(0), np.float32(1))))


def seen_channels(
  module: nn.Module,
  subject: Subject,
  signals: Complex64[np.ndarray, "voxel component"],
  *,
  per: str,
  statistics: SignalStatistics | None,
) -> Float32[np.ndarray, "voxel channel"]:
  """What a network sees of a scan: standardised signals, and maybe its B1.

  Args:
    module: the network.
    subject: the scan.
    signals: its windows, or their temporal components.
    per: see `normalise_signals`.
    statistics: likewise.

  Raises:
    UserError: the network sees B1, and the scan has no map of it.
  """
  values = normalise_signals(signals, per=per, statistics=statistics)
  if not sees_b1(module):
    return values
  return with_b1_channel(values, known_b1(subject.subject, subject))


def b1_range(
  module: nn.Module, subjects: Iterable[Subject]
) -> tuple[float, float] | None:
  """Least and greatest B1 of training subjects; None if it is not seen.

  But for the outermost voxels, which may be errors of the maps.
  """
  if not sees_b1(module):
    return None
  maps = [known_b1(subject.subject, subject) for subject in subjects]
  low, high = np.percentile(np.concatenate(maps), _B1_PERCENTILES)
  return float(low), float(high)


def has_match(module: nn.Module) -> bool:
  """Whether a network contains a match with a dictionary."""
  return getattr(module, "match_step_percent", 0) != 0


def check_match(
  name: str, preprocessing: Mapping[str, Any], *, per: str, n_components: int
) -> None:
  """Raises `UserError` where a network cannot tell signals from its inputs.

  A match needs signals with one mean and one scale, known from the training,
  and components enough.
  """
  if n_components < LEAST_RANK:
    raise UserError(
      f"{name}: {n_components} components tell no T1, T2 and PD; a match needs "
      f"{LEAST_RANK}, or is left out by 0"
    )
  if per != "subject" or not by_training_scans(preprocessing):
    raise UserError(
      f"{name}: a match needs signals that are standardised as a whole and by "
      "the training scans: training.rank or normalise_signals_per=subject, and "
      "normalise_signals_by=training; 0 is a network without a match"
    )


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
