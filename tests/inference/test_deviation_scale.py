"""Factors that bring predicted standard deviations to the size of errors."""

import dataclasses

import jax
import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import load_model, save_model
from mrf_jax.inference.deviation_scale import with_scaled_deviations
from mrf_jax.inference.export import maps_of_volume
from mrf_jax.inference.model import reconstruct_with_deviations
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.networks.cohen import Cohen
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from tests.inference.examples import (
  NETWORKS,
  change_description,
  head,
  make_model,
  make_subject,
  volume_of,
  within_deviations,
)

pytestmark = pytest.mark.usefixtures("unbounded")

FACTORS = np.array([0.7, 1.3, 2.0])


def predicting():
  return make_model(Cohen(widths=(16,), n_outputs=6))


def scan_with_errors(model, factors, seed, heavy=False):
  """A scan, and maps off the model's by so many predicted deviations."""
  subject = make_subject(head(), seed)
  maps, deviations = reconstruct_with_deviations(model, subject)
  rng = np.random.default_rng(seed)
  errors = rng.normal(size=maps.stack().shape)
  if heavy:
    errors = rng.laplace(size=errors.shape)
  off = maps.stack() + factors * errors * deviations.stack()
  return subject, Maps.unstack(off.astype(np.float32))


def test_normal_errors_give_their_own_size():
  model = predicting()
  scans = [scan_with_errors(model, FACTORS, seed) for seed in range(3)]
  scaled = with_scaled_deviations(model, scans)
  np.testing.assert_allclose(scaled.deviation_scale, FACTORS, rtol=0.05)


def test_errors_with_long_tails_are_held_twice():
  """68 % would be within one deviation, but less than 95 % within two."""
  model = predicting()
  scans = [scan_with_errors(model, FACTORS, s, heavy=True) for s in range(3)]
  scaled = with_scaled_deviations(model, scans)
  within_one, within_two = within_deviations(scaled, scans)
  np.testing.assert_allclose(within_two, 0.9545, atol=1e-3)
  assert (within_one > 0.7).all()


def test_what_the_scale_was_before_does_not_matter():
  model = predicting()
  scans = [scan_with_errors(model, FACTORS, 0)]
  once = with_scaled_deviations(model, scans)
  assert with_scaled_deviations(once, scans) == once


def test_maps_stay_and_deviations_are_multiplied():
  model, subject = predicting(), make_subject(head())
  scaled = dataclasses.replace(model, deviation_scale=tuple(FACTORS))
  for passes in (0, 2):
    maps, deviations = reconstruct_with_deviations(
      model, subject, n_passes=passes
    )
    same, larger = reconstruct_with_deviations(scaled, subject, n_passes=passes)
    np.testing.assert_array_equal(same.stack(), maps.stack())
    np.testing.assert_allclose(
      larger.stack(), FACTORS * deviations.stack(), rtol=1e-5
    )


def test_the_variance_from_pass_to_pass_stays():
  network = Spatiotemporal(
    widths=(12, 8), branch_width=4, dropout=0.3, n_outputs=6
  )
  model, subject = make_model(network), make_subject(head())
  none = dataclasses.replace(model, deviation_scale=(1e-9,) * 3)
  squares = [
    reconstruct_with_deviations(own, subject, n_passes=4)[1].stack() ** 2
    for own in (
      none,
      model,
      dataclasses.replace(model, deviation_scale=(2.0,) * 3),
    )
  ]
  between, one, two = squares
  assert (between > 0).all()
  np.testing.assert_allclose(
    two - between, 4 * (one - between), rtol=1e-3, atol=1e-6 * one.max()
  )


def test_networks_without_deviations_stay_as_they_are():
  model = make_model(NETWORKS["cohen"])
  # Not a scan is read.
  scans = iter([pytest.fail])
  assert with_scaled_deviations(model, scans) is model
  assert next(scans) is pytest.fail


def test_exact_or_absent_references_change_nothing():
  model = predicting()
  exact = scan_with_errors(model, 0 * FACTORS, 0)
  ones = (1.0, 1.0, 1.0)
  for scans in ([exact], []):
    assert with_scaled_deviations(model, scans).deviation_scale == ones


def test_exported_deviations_are_the_same():
  model = dataclasses.replace(predicting(), deviation_scale=tuple(FACTORS))
  subject = make_subject(head())
  _, deviations = reconstruct_with_deviations(model, subject)
  volumes = jax.jit(lambda x, m: maps_of_volume(model, x, m))(
    volume_of(subject), subject.mask
  )
  for name in MAP_NAMES:
    np.testing.assert_allclose(
      volumes[f"{name}_sd"][subject.mask],
      getattr(deviations, name),
      rtol=1e-4,
    )


def test_bundles_keep_the_scale(tmp_path):
  model = dataclasses.replace(
    predicting(), method="cohen", deviation_scale=(0.5, 1.0, 3.0)
  )
  save_model(model, tmp_path / "model", config={})
  assert load_model(tmp_path / "model").deviation_scale == (0.5, 1.0, 3.0)


@pytest.mark.parametrize("scale", [(1, 2), (1, 0, 1), (1, 1, float("nan"))])
def test_a_scale_that_cannot_be_is_named(tmp_path, scale):
  model = dataclasses.replace(
    predicting(), method="cohen", deviation_scale=(0.5, 1.0, 3.0)
  )
  save_model(model, tmp_path / "model", config={})
  change_description(tmp_path / "model", deviation_scale=scale)
  with pytest.raises(UserError, match="damaged model bundle"):
    load_model(tmp_path / "model")
