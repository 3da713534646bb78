"""A network that begins with a match, and has it to fall back on."""

import jax
import numpy as np
import pytest

from mrf_jax import Maps, simulate_fingerprints, sliding_window, tailored
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.standardise import SignalStatistics, normalise_signals
from mrf_jax.matching.match_table import make_match_atoms, match_by_table
from mrf_jax.methods.network_signals import check_match
from mrf_jax.networks.match_layer import match_variables
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from mrf_jax.simulation.signal_reference import make_signal_reference

ACQUISITION = Acquisition(tailored(120), 8)
STEP, SIDE, RANK = 20.0, 6, 12
POWERS = (1.0, 0.0, 0.5)


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
  network, variables, inputs, own_range = network_and_variables(volume)
  given = variables["match"]["match"]
  # Signals twice as bright, standardised by the same numbers.
  bright = 2 * inputs + given["offset"] / given["scale"]
  maps = [
    own_range.unscale(
      np.asarray(network.apply(variables, x, train=False)[..., :3], np.float64)
    )
    for x in (inputs, bright)
  ]
  np.testing.assert_allclose(maps[1][..., 0], 2 * maps[0][..., 0], rtol=1e-3)
  np.testing.assert_allclose(maps[1][..., 1:], maps[0][..., 1:], rtol=1e-2)


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
    check_match("match", preprocessing, per="subject")
  preprocessing["normalise_signals_by"] = "training"
  check_match("match", preprocessing, per="subject")
  with pytest.raises(Exception, match=r"training\.rank"):
    check_match("match", preprocessing, per="frame")


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
