"""Passes with dropout, ensembles, and scans that do not fit the model."""

import dataclasses

import jax
import numpy as np
import pytest

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.errors import UserError
from mrf_jax.inference.model import (
  reconstruct,
  reconstruct_ensemble,
  reconstruct_with_deviations,
)
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import make_sequence
from tests.inference.examples import (
  N_FRAMES,
  NETWORKS,
  head,
  make_model,
  make_subject,
)

pytestmark = pytest.mark.usefixtures("unbounded")


def dropout_model(rate=0.3, n_outputs=3):
  network = Spatiotemporal(
    widths=(12, 8), branch_width=4, dropout=rate, n_outputs=n_outputs
  )
  return make_model(network)


def test_many_passes_equal_pairs():
  """Their mean and variance are those of many pairs of passes."""
  model, subject = dropout_model(), make_subject(head())
  # Passes are independent: pairs of other seeds are further passes.
  pairs = [
    reconstruct_with_deviations(model, subject, n_passes=2, seed=seed)
    for seed in range(60)
  ]
  maps, deviations = reconstruct_with_deviations(model, subject, n_passes=120)
  means = np.mean([maps.stack() for maps, _ in pairs], 0)
  spread = np.mean([sd.stack() ** 2 for _, sd in pairs], 0) ** 0.5
  typical = deviations.stack().mean()
  assert typical > 0.01
  error = np.abs(maps.stack() - means).mean() / typical
  assert error < 3 / np.sqrt(120)
  np.testing.assert_allclose(
    spread.mean(0), deviations.stack().mean(0), rtol=0.1
  )


def test_the_seed_determines_the_passes():
  model, subject = dropout_model(), make_subject(head())
  first, same, other = (
    reconstruct_with_deviations(model, subject, n_passes=2, seed=seed)
    for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(first[0].stack(), same[0].stack())
  np.testing.assert_array_equal(first[1].stack(), same[1].stack())
  assert not np.allclose(first[0].stack(), other[0].stack())


def test_dropout_differs_between_voxels():
  """Voxels of equal signals differ only by what is dropped."""
  model, subject = dropout_model(), make_subject(np.ones((1, 40, 40), bool))
  subject.signals[:] = subject.signals[:1]
  maps, _ = reconstruct_with_deviations(model, subject, n_passes=2)
  inner = maps.t1_ms.reshape(40, 40)[8:32, 8:32]
  assert len(np.unique(inner)) > 0.9 * inner.size


@pytest.mark.parametrize("method", NETWORKS)
def test_passes_without_dropout_change_nothing(method):
  model, subject = make_model(NETWORKS[method]), make_subject(head())
  if model.has_dropout:
    model = dropout_model(rate=0.0)
  once, none = reconstruct_with_deviations(model, subject)
  passes, still_none = reconstruct_with_deviations(model, subject, n_passes=5)
  np.testing.assert_array_equal(once.stack(), passes.stack())
  assert none is None and still_none is None


def test_predicted_and_pass_variance_add_up():
  subject = make_subject(head())
  both = dropout_model(rate=1e-7, n_outputs=6)
  _, predicted = reconstruct_with_deviations(both, subject)
  _, with_passes = reconstruct_with_deviations(both, subject, n_passes=4)
  # At this rate nothing is dropped.
  np.testing.assert_allclose(with_passes.stack(), predicted.stack(), rtol=1e-4)
  both = dropout_model(rate=0.3, n_outputs=6)
  _, more = reconstruct_with_deviations(both, subject, n_passes=2)
  params = dict(both.variables["params"])
  params["maps"] = jax.tree.map(lambda leaf: leaf[..., :3], params["maps"])
  alone = dataclasses.replace(
    both,
    network=both.network.clone(n_outputs=3),
    variables={**both.variables, "params": params},
  )
  _, dropped = reconstruct_with_deviations(alone, subject, n_passes=2)
  assert np.mean(more.stack() > dropped.stack()) == 1


def test_ensemble_mean_and_deviation():
  subject, model = make_subject(head()), make_model(NETWORKS["cohen"])
  models = [
    dataclasses.replace(
      model, map_range=MapRange(np.zeros(3), np.full(3, high))
    )
    for high in (1.0, 2.0, 6.0)
  ]
  maps, deviations = reconstruct_ensemble(models, subject)
  first, none = reconstruct_ensemble(models[:1], subject)
  assert none is None
  # The models give 1, 2 and 6 times the same maps: mean 3, deviation √7.
  np.testing.assert_allclose(maps.stack(), 3 * first.stack(), rtol=1e-5)
  np.testing.assert_allclose(
    deviations.stack(), np.sqrt(7) * np.abs(first.stack()), rtol=1e-5
  )


def changed(acquisition, *, flip=0.0, n_frames=N_FRAMES, **change):
  """An acquisition of other numbers."""
  fields = dict(vars(acquisition.sequence))
  for name in ("flip_angles_deg", "tr_ms", "te_ms", "rf_phases_deg"):
    fields[name] = np.array(fields[name][:n_frames])
  fields["flip_angles_deg"][5] += flip
  windows = {name: change.pop(name, 1) for name in ("window", "stride")}
  return Acquisition(make_sequence(**{**fields, **change}), **windows)


def test_profiles_differ_only_where_both_are_known():
  model = make_model(NETWORKS["cohen"])
  subject = make_subject(head())
  plain = subject.acquisition
  four, eight = (changed(plain, slice_time_bandwidth=x) for x in (4.0, 8.0))
  assert plain.difference(four) is None and four.difference(plain) is None
  words = ("slice_time_bandwidth of its sequence is 4", "8")
  assert four.difference(eight) == words
  assert reconstruct(model, dataclasses.replace(subject, acquisition=four))


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"window": 2}, "window is 2, the model needs 1"),
    ({"stride": 2}, "stride is 2, the model needs 1"),
    ({"flip": 9.0}, "flip_angles_deg of frame 5 is .*, the model needs"),
    (
      {"inversion_time_ms": None},
      "inversion_time_ms of its sequence is none, the model needs",
    ),
    (
      {"inversion_time_ms": 31.5},
      "inversion_time_ms of its sequence is 31.5, the model needs",
    ),
    ({"balanced": True}, "balanced of its sequence is 1, the model needs 0"),
    ({"n_frames": 12}, "12 frames, the model needs 18"),
  ],
)
def test_other_acquisitions_are_named(change, words):
  """The error has the scan's value and the one that the model needs."""
  model, subject = make_model(NETWORKS["cohen"]), make_subject(head())
  acquisition = changed(subject.acquisition, **change)
  other = dataclasses.replace(subject, acquisition=acquisition)
  for function, models in (reconstruct, model), (reconstruct_ensemble, [model]):
    with pytest.raises(UserError, match=words):
      function(models, other)


def test_bounds_clip_maps_and_leave_deviations():
  """Of a network that overshoots; in an ensemble, too."""
  subject, model = make_subject(head()), dropout_model(n_outputs=6)
  free, kept, expected = [], [], []
  for high in (1.0, 0.6):
    ranges = MapRange(np.zeros(3), np.full(3, high))
    free.append(dataclasses.replace(model, map_range=ranges))
    maps = reconstruct(free[-1], subject).stack()
    bounds = np.percentile(maps, (20, 80), axis=0)
    expected.append(np.clip(maps, *bounds))
    assert np.mean(maps != expected[-1]) > 0.3
    ranges = dataclasses.replace(ranges, bounds=bounds)
    kept.append(dataclasses.replace(model, map_range=ranges))
  for n_models in (1, 2):
    maps, deviations = reconstruct_ensemble(kept[:n_models], subject)
    np.testing.assert_allclose(
      maps.stack(), np.mean(expected[:n_models], 0), atol=1e-6
    )
    _, before = reconstruct_ensemble(free[:n_models], subject)
    np.testing.assert_array_equal(deviations.stack(), before.stack())
