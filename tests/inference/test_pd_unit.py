"""PD in the unit of reference maps, or in that of a scan's signals."""

import dataclasses

import numpy as np
import pytest

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import load_model, save_model
from mrf_jax.inference.export import maps_of_volume
from mrf_jax.inference.model import reconstruct_with_deviations
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus
from tests.inference.examples import (
  change_description,
  head,
  make_model,
  make_subject,
  volume_of,
  with_statistics,
)

FACTOR = np.float32(8)


@pytest.fixture(scope="module")
def model():
  network = SpatiotemporalPlus(widths=(12, 8), depth=1, n_outputs=6)
  # Far from the bounds of PD, T1 and T2 that are possible.
  ranges = MapRange(np.array([50.0, 900, 40]), np.array([60.0, 1000, 50]))
  model = dataclasses.replace(
    make_model(network),
    method="spatiotemporal_plus",
    map_range=ranges,
    pd_unit="signals",
  )
  return with_statistics(model, [make_subject(head(), 3)])


@pytest.fixture(scope="module")
def subject():
  return make_subject(head())


def brighter(subject):
  return dataclasses.replace(subject, signals=subject.signals * FACTOR)


def test_signals_twice_as_bright_have_twice_the_pd(model, subject):
  plain, of_plain = reconstruct_with_deviations(model, subject)
  bright, of_bright = reconstruct_with_deviations(model, brighter(subject))
  for own, other in ((plain, bright), (of_plain, of_bright)):
    np.testing.assert_allclose(other.pd, FACTOR * own.pd, rtol=1e-4)
    np.testing.assert_allclose(other.t1_ms, own.t1_ms, rtol=1e-4)
  references = dataclasses.replace(model, pd_unit="references")
  same, _ = reconstruct_with_deviations(references, subject)
  other, _ = reconstruct_with_deviations(references, brighter(subject))
  np.testing.assert_allclose(same.pd, other.pd, rtol=1e-4)
  gain = model.statistics.reference.gain(subject.signals)
  np.testing.assert_allclose(plain.pd * gain, same.pd, rtol=1e-4)


def test_the_unit_is_exported_and_stored(model, subject, tmp_path):
  save_model(model, tmp_path / "model")
  stored = load_model(tmp_path / "model")
  assert stored.pd_unit == "signals"
  maps, deviations = reconstruct_with_deviations(stored, subject)
  volumes = maps_of_volume(stored, volume_of(subject), subject.mask)
  for name, values in (("pd", maps.pd), ("pd_sd", deviations.pd)):
    found = np.asarray(volumes[name])[subject.mask]
    np.testing.assert_allclose(found, values, rtol=1e-3)


def test_an_unknown_unit_is_a_damaged_bundle(model, tmp_path):
  save_model(model, tmp_path / "model")
  change_description(tmp_path / "model", pd_unit="litres")
  with pytest.raises(UserError, match="'litres'"):
    load_model(tmp_path / "model")


def test_bounds_of_pd_are_none_in_the_unit_of_signals(model):
  bounded = dataclasses.replace(model, map_range=model.map_range.bounded())
  low, high = bounded.physical_bounds()
  assert (low[0], high[0]) == (-np.inf, np.inf)
  assert list(low[1:]) == [900, 40] and list(high[1:]) == [1000, 50]
  assert np.isfinite(bounded.map_range.bounds).all()
