"""A network that begins with a match, and has it to fall back on."""

import jax
import numpy as np
import pytest

from mrf_jax import Maps, simulate_fingerprints, sliding_window, tailored
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.standardise import SignalStatistics, normalise_signals
from mrf_jax.matching.match_table import make_match_atoms, match_by_table
from mrf_jax.methods.network_signals import check_match
from mrf_jax.networks.match_layer import (
  MatchLayer,
  match_variables,
  steps_of_pd,
)
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from mrf_jax.simulation.signal_reference import make_signal_reference

ACQUISITION = Acquisition(tailored(120), 8)
STEP, SIDE, RANK = 20.0, 6, 12
POWERS = (0.0, 0.0, 0.5)


@pytest.fixture(scope="module")
def volume():
  """Components of three slices, [slice, y, x, …], and what they are of."""
  rng = np.random.default_rng(0)
  count = 3 * SIDE**2
  t1 = np.exp(rng.uniform(np.log(400), np.log(3000), count))
  t2, pd = t1 * rng.uniform(0.05, 0.1, count), rng.uniform(0.3, 1.0, count)
  echoes = pd[:, None] * simulate_fingerprints(ACQUISITION.sequence, t1, t2)
  signals = sliding_window(echoes.astype(np.complex64), window=8)
  basis = temporal_basis(gram_matrix(signals), rank=RANK).astype(np.complex64)
  reference = make_signal_reference(ACQUISITION, basis)
  statistics = SignalStatistics.of_scan(
    signals @ basis, per="subject", reference=reference
  )
  components = normalise_signals(
    signals @ basis, per="subject", statistics=statistics
  )
  gain = float(np.abs(reference.gains(signals @ basis)[0, 0]))
  atoms = make_match_atoms(ACQUISITION, (100.0, 5400.0), (10.0, 2460.0), STEP)
  maps = Maps(*(x.astype(np.float32) for x in (pd * gain, t1, t2)))
  return components, atoms.table(basis), statistics, maps


def network_and_variables(volume, **options):
  components, table, statistics, maps = volume
  network = SpatiotemporalPlus(
    widths=(8, 6), depth=1, match_step_percent=STEP, **options
  )
  own_range = MapRange.of([maps], powers=POWERS)
  shape = (1, 3, SIDE, SIDE) if network.slices > 1 else (3, SIDE, SIDE)
  inputs = components.reshape(*shape, -1)
  if network.sees_b1:
    b1 = np.random.default_rng(2).normal(size=(*shape, 1)).astype(np.float32)
    inputs = np.concatenate([inputs, b1], -1)
  variables = network.init(jax.random.key(0), inputs, train=False)
  variables |= match_variables(table, statistics, own_range)
  return network, variables, inputs, own_range


@pytest.mark.parametrize("slices", [1, 3])
def test_before_any_training_the_maps_are_those_of_the_match(volume, slices):
  network, variables, inputs, own_range = network_and_variables(
    volume, slices=slices
  )
  outputs = network.apply(variables, inputs, train=False)
  estimates = own_range.unscale(np.asarray(outputs[..., :3], np.float64))
  truth = volume[-1].stack().reshape(3, SIDE, SIDE, 3)[:, 1:-1, 1:-1]
  truth = truth[1:2] if slices > 1 else truth
  np.testing.assert_allclose(estimates, truth, rtol=0.04)


def test_brightness_changes_proton_density_alone(volume):
  """Of a trained network, too: a gain that is told wrongly does no harm."""
  network, variables, inputs, own_range = network_and_variables(volume)
  variables = with_random_maps(variables)
  given = variables["match"]["match"]
  # Signals twice as bright, standardised by the same numbers.
  bright = 2 * inputs + given["offset"] / given["scale"]
  outputs = [
    np.asarray(network.apply(variables, x, train=False), np.float64)
    for x in (inputs, bright)
  ]
  # The network's part is no small one.
  assert np.ptp(outputs[0], (0, 1, 2)).min() > 0.1
  change = outputs[1] - outputs[0]
  doubled = np.log(2) / (own_range.high[0] - own_range.low[0])
  np.testing.assert_allclose(change[..., 0], doubled, atol=2e-3)
  np.testing.assert_allclose(change[..., 1:], 0, atol=2e-3)


def with_random_maps(variables):
  """The same, with a last layer that is not zero."""
  params = variables["params"]
  kernel = params["maps"]["kernel"]
  values = np.random.default_rng(0).normal(size=kernel.shape)
  maps = {**params["maps"], "kernel": values.astype(np.float32)}
  return {**variables, "params": {**params, "maps": maps}}


@pytest.mark.parametrize(
  ("slices", "sees_b1"), [(1, False), (3, False), (3, True)]
)
def test_voxels_of_noise_are_as_outside_of_the_mask(volume, slices, sees_b1):
  """Air and bone in a mask change no estimate of their neighbours."""
  network, variables, inputs, _ = network_and_variables(
    volume, slices=slices, sees_b1=sees_b1
  )
  variables = with_random_maps(variables)
  given = variables["match"]["match"]
  rng = np.random.default_rng(1)
  shape = inputs.shape[:-1]
  is_noise = rng.random(shape) < 0.3
  noise = 0.02 * rng.normal(size=(*shape, 2 * RANK)) - given["offset"]
  noisy, outside = inputs.copy(), inputs.copy()
  # Whatever a map of B1 says there.
  noisy[is_noise, : 2 * RANK] = (noise / given["scale"])[is_noise]
  outside[is_noise] = 0
  outputs = [
    np.asarray(network.apply(variables, x, train=False))
    for x in (noisy, outside)
  ]
  centres = is_noise[:, 1] if slices > 1 else is_noise
  is_own = ~centres[:, 1:-1, 1:-1]
  assert 3 < is_own.sum() < is_own.size
  np.testing.assert_allclose(
    outputs[0][is_own], outputs[1][is_own], rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("rank", [12, 32])
def test_noise_is_told_from_signals(rank):
  """Nearly all of pure noise, and no signal of ten times its energy."""
  echoes = simulate_fingerprints(
    ACQUISITION.sequence, *np.array([[700.0, 1400.0, 4000.0], [60, 90, 1500]])
  )
  signals = sliding_window(echoes.astype(np.complex64), window=8)
  rng = np.random.default_rng(0)
  basis = np.linalg.qr(rng.normal(size=(signals.shape[1], rank)))[0]
  u, _, _ = np.linalg.svd(signals.T, full_matrices=False)
  basis = np.linalg.qr(np.concatenate([u, basis], 1))[0][:, :rank]
  own = (signals @ basis).repeat(200, 0)
  noise = rng.normal(size=(2, *own.shape))
  noise = noise[0] + 1j * noise[1]
  noise *= np.linalg.norm(own, axis=1)[:, None] / np.sqrt(2 * rank)
  atoms = make_match_atoms(ACQUISITION, (100.0, 5400.0), (10.0, 2460.0), STEP)
  layer = MatchLayer(len(atoms.times))
  statistics = SignalStatistics.of_scan(
    own.astype(np.complex64),
    per="subject",
    reference=make_signal_reference(ACQUISITION, basis),
  )
  given = match_variables(
    atoms.table(basis), statistics, MapRange(np.zeros(3), np.ones(3), POWERS)
  )
  variables = {"match": given["match"]["match"]}
  shares = []
  for values in (noise, own + noise / np.sqrt(10)):
    parts = np.concatenate([values.real, values.imag], -1).astype(np.float32)
    parts = (parts - statistics.mean[0]) / statistics.deviation[0]
    features, _ = layer.apply(variables, parts.astype(np.float32))
    shares.append(np.mean((np.asarray(features) == 0).all(-1)))
  assert shares[0] > 0.95
  assert shares[1] < 0.01


def test_steps_of_pd_are_those_to_the_neighbours():
  pd = np.exp(np.random.default_rng(0).normal(0, 0.3, (2, 3, 5, 6)))
  steps = np.asarray(steps_of_pd(np.log(pd).astype(np.float32)))
  assert steps.shape == (2, 3, 4, 10)
  own = pd[1, 1, 2, 3]
  around = [pd[1, 1, y, x] for y in (1, 2, 3) for x in (2, 3, 4)]
  expected = [*around[:4], *around[5:], pd[1, 0, 2, 3], pd[1, 2, 2, 3]]
  np.testing.assert_allclose(
    np.exp(steps[1, 1, 2]), np.array(expected) / own, rtol=1e-5
  )
  # To where no voxel is, the step is the largest, however dark a voxel is.
  edge = np.full((1, 1, 3, 3), -20.0, np.float32)
  for own in (-1.0, 0.5):
    edge[0, 0, 1, 1] = own
    np.testing.assert_array_equal(steps_of_pd(edge), -2.0)


def test_the_match_is_not_trained(volume):
  network, variables, inputs, _ = network_and_variables(volume)
  params, given = variables["params"], variables["match"]

  def total(params, given):
    trees = {**variables, "params": params, "match": given}
    outputs, _ = network.apply(
      trees, inputs, train=True, mutable=["batch_stats"]
    )
    return outputs.sum()

  changes = jax.grad(total)(params, given)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(changes))
  # What is given is no part of what an optimiser sees.
  assert "match" not in params


def test_signals_that_cannot_be_told_are_refused():
  preprocessing = {
    "normalise_signals_by": "scan",
    "normalise_signals_per": "subject",
  }
  with pytest.raises(Exception, match="normalise_signals_by=training"):
    check_match("match", preprocessing, per="subject", n_components=9)
  preprocessing["normalise_signals_by"] = "training"
  check_match("match", preprocessing, per="subject", n_components=3)
  with pytest.raises(Exception, match="2 components tell no T1, T2 and PD"):
    check_match("match", preprocessing, per="subject", n_components=2)
  with pytest.raises(Exception, match=r"training\.rank"):
    check_match("match", preprocessing, per="frame", n_components=9)


def test_a_match_takes_signals_of_many_axes(volume):
  components, table, statistics, _ = volume
  signals = components * statistics.deviation[0] + statistics.mean[0]
  signals = signals.astype(np.float32)
  flat = match_by_table(table, signals)
  deep = match_by_table(table, signals.reshape(3, SIDE, SIDE, -1))
  # Sums of products may be in another order.
  np.testing.assert_allclose(
    flat.log_times, np.asarray(deep.log_times).reshape(-1, 2), rtol=1e-6
  )
