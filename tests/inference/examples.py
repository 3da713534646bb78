"""Small networks with random weights, and scans of random signals."""

import dataclasses
import json
import shutil

import numpy as np

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.signal_reference import SignalReference
from mrf_jax.dataset.standardise import SignalStatistics
from mrf_jax.inference.bundle_description import description_checksum
from mrf_jax.inference.model import Model, scaled_estimates
from mrf_jax.networks.cohen import Cohen
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from tests.dataset import examples
from tests.networks.examples import random_variables

N_FRAMES = 18
ACQUISITION = Acquisition(tailored(N_FRAMES), window=1, stride=1)
NETWORKS = {
  "spatiotemporal": Spatiotemporal(widths=(12, 8), branch_width=4),
  "spatiotemporal_plus": SpatiotemporalPlus(
    widths=(12, 8), depth=2, n_outputs=3
  ),
  "one_slice": SpatiotemporalPlus(
    widths=(12, 8), depth=2, slices=1, n_outputs=3
  ),
  "one_voxel_of_each_slice": SpatiotemporalPlus(
    widths=(12, 8), depth=0, n_outputs=3
  ),
  "cohen": Cohen(widths=(16,)),
}


def make_subject(mask, seed=0):
  return examples.make_subject(mask, ACQUISITION, seed)


def make_model(network):
  return Model(
    method="test",
    network=network,
    variables=random_variables(network, n_channels=2 * N_FRAMES),
    map_range=MapRange(np.zeros(3), np.ones(3)),
    normalise_signals_per="frame",
    acquisition=ACQUISITION,
  )


def with_statistics(model, subjects):
  """The model, which standardises by these scans and their mean fingerprint."""
  mean = np.mean([s.signals.mean(0) for s in subjects], 0)
  reference = SignalReference(
    *np.stack([mean, mean / np.linalg.norm(mean) ** 2]).astype(np.complex64)
  )
  parts = [
    SignalStatistics.of_scan(
      subject.signals, per=model.normalise_signals_per, reference=reference
    )
    for subject in subjects
  ]
  statistics = SignalStatistics.pooled(parts)
  return dataclasses.replace(model, statistics=statistics)


def volume_of(subject):
  """Signals on the grid, [slice, y, x, window], zero outside the mask."""
  volume = np.zeros((*subject.mask.shape, subject.n_windows), np.complex64)
  volume[subject.mask] = subject.signals
  return volume


def change_description(bundle, **changes):
  """Changes `model.json` as another program might write it."""
  path = bundle / "model.json"
  description = json.loads(path.read_text()) | changes
  # Checksums show that a file was damaged, not who wrote it.
  description["sha256"]["description"] = description_checksum(description)
  path.write_text(json.dumps(description))


def changed_bundle(bundle, folder, **changes):
  """Copy of a bundle with another description; its folder."""
  shutil.copytree(bundle, folder)
  change_description(folder, **changes)
  return folder


def head(radius=15.0):
  """Three slices of a disc, some of whose voxels are void."""
  y, x = np.mgrid[:40, :40]
  disc = (y - 20) ** 2 + (x - 20) ** 2 < radius**2
  return disc & (np.random.default_rng(1).random((3, 40, 40)) < 0.9)


def within_deviations(model, scans):
  """Shares of errors within one and two standard deviations, [2, map].

  On the scale of the network's maps.

  Args:
    model: the model.
    scans: scans and their reference maps, with PD in the model's unit.
  """
  of_scans = []
  for subject, references in scans:
    scaled, variance, gain = scaled_estimates(
      model, subject, precision="float32"
    )
    error = scaled - model.map_range.scale(references.stack() * [gain, 1, 1])
    of_scans.append([abs(error) <= k * np.sqrt(variance) for k in (1, 2)])
  return np.concatenate(of_scans, 1).mean(1)
