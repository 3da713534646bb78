"""What a network with a match says of a voxel depends on its patch alone."""

import dataclasses

import jax
import numpy as np
import pytest

from mrf_jax import (
  Maps,
  reconstruct_with_deviations,
  simulate_fingerprints,
  tailored,
)
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.standardise import SignalStatistics
from mrf_jax.inference.export import maps_of_volume
from mrf_jax.inference.model import Model
from mrf_jax.maps import MAP_NAMES
from mrf_jax.matching.match_table import make_match_atoms
from mrf_jax.networks.match_layer import match_variables
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.simulation.signal_reference import make_signal_reference
from tests.dataset.examples import make_subject

ACQUISITION = Acquisition(tailored(60))
SHAPE, STEP, REACH = (3, 12, 14), 20.0, 1


@pytest.fixture(scope="module")
def subject():
  """A scan whose left half is five times as bright as the right one."""
  rng = np.random.default_rng(0)
  t1_ms = np.exp(rng.uniform(6, 8, SHAPE)).ravel()
  pd = np.where(np.arange(SHAPE[2]) < 7, 2.5, 0.5) * rng.uniform(0.8, 1, SHAPE)
  echoes = simulate_fingerprints(ACQUISITION.sequence, t1_ms, t1_ms / 12)
  noise = rng.normal(0, 1e-3, (2, *echoes.shape))
  signals = pd.ravel()[:, None] * echoes + noise[0] + 1j * noise[1]
  return make_subject(
    np.ones(SHAPE, bool),
    ACQUISITION,
    0,
    signals=signals.astype(np.complex64),
    b1=rng.uniform(0.8, 1.2, t1_ms.shape).astype(np.float32),
  )


def make_model(subject, **options):
  """A network with random weights, whose PD is that of the signals."""
  network = SpatiotemporalPlus(
    widths=(8, 6), depth=REACH, match_step_percent=STEP, **options
  )
  sees_b1 = options.get("sees_b1", False)
  atoms = make_match_atoms(ACQUISITION, (100.0, 5400.0), (10.0, 2460.0), STEP)
  statistics = SignalStatistics.of_scan(
    subject.signals, per="subject", reference=make_signal_reference(ACQUISITION)
  )
  maps = Maps(*np.array([[0.3, 200, 20], [1.2, 4000, 900]], np.float32).T)
  own = MapRange.of([maps], powers=(0.0, 0.0, 0.5))
  patch = np.zeros((1, 3, 3, 3, 2 * subject.n_windows + sees_b1), np.float32)
  patch = patch if network.slices > 1 else patch[:, 0]
  variables = network.init(jax.random.key(0), patch, train=False)
  kernel = variables["params"]["maps"]["kernel"]
  values = np.random.default_rng(1).normal(0, 0.1, kernel.shape)
  variables["params"]["maps"]["kernel"] = values.astype(np.float32)
  variables |= match_variables(atoms.table(), statistics, own)
  return Model(
    method="spatiotemporal_plus",
    network=network,
    variables=variables,
    map_range=own.bounded(),
    normalise_signals_per="subject",
    acquisition=ACQUISITION,
    statistics=statistics,
    pd_unit="signals",
    b1_range=(0.7, 1.3) if sees_b1 else None,
  )


def right_half(subject):
  """The scan with its dim half alone in the mask."""
  mask = subject.mask & (np.arange(SHAPE[2]) >= 7)
  own = mask[subject.mask]
  return dataclasses.replace(
    subject, mask=mask, signals=subject.signals[own], b1=subject.b1[own]
  )


def on_grid(maps, mask):
  volumes = np.full((*mask.shape, 3), np.nan)
  volumes[mask] = maps.stack()
  return volumes


@pytest.mark.parametrize(
  "options", [{}, {"slices": 1}, {"sees_b1": True}], ids=str
)
def test_another_mask_changes_its_rim_alone(subject, options):
  """Whatever the gain that it gives: bright voxels left the mask."""
  model, part = make_model(subject, **options), right_half(subject)
  gains = [model.statistics.reference.gain(x.signals) for x in (subject, part)]
  assert gains[1] > 2 * gains[0]
  estimates = [
    [on_grid(x, scan.mask) for x in reconstruct_with_deviations(model, scan)]
    for scan in (subject, part)
  ]
  inside = np.s_[:, :, 7 + REACH :]
  for whole, own in zip(*estimates, strict=True):
    np.testing.assert_allclose(own[inside], whole[inside], rtol=2e-3)
  # Voxels at the new rim have lost their neighbours.
  rim = np.s_[:, :, 7]
  assert not np.allclose(estimates[0][0][rim], estimates[1][0][rim], rtol=2e-3)
  assert np.ptp(estimates[0][0][..., 0]) > 0.5


def test_bright_voxels_are_as_bright_as_their_signals(subject):
  """Above the PD of all training, which bounds T1 and T2 alone."""
  model = make_model(subject)
  found, _ = reconstruct_with_deviations(model, subject)
  gain = model.statistics.reference.gain(subject.signals)
  assert (found.pd * gain).max() > 1.3
  assert found.t1_ms.max() <= 4000 * (1 + 1e-5)
  volumes = maps_of_volume(
    model, subject.signals.reshape(*SHAPE, -1), subject.mask
  )
  exported = np.stack([volumes[name] for name in MAP_NAMES], -1)
  np.testing.assert_allclose(
    exported[subject.mask], found.stack(), rtol=1e-3, atol=1e-3
  )
