"""One network with dropout, several networks, and scans they refuse."""

import dataclasses

import numpy as np
import pytest
from tests.test_inference import NETWORKS, head, make_model, make_subject

from mrf_jax.errors import UserError
from mrf_jax.inference.model import (
  reconstruct_ensemble,
  reconstruct_with_deviations,
)
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import make_sequence


def dropout_model(rate=0.3, n_outputs=3):
  network = Spatiotemporal(
    widths=(12, 8), branch_width=4, dropout=rate, n_outputs=n_outputs
  )
  return make_model(network, 2)


def test_passes_have_the_mean_and_the_spread_of_single_ones():
  model, subject = dropout_model(), make_subject(head())
  # Passes are independent: two of another seed are two more.
  pairs = [
    reconstruct_with_deviations(model, subject, n_passes=2, seed=seed)
    for seed in range(60)
  ]
  found, deviations = reconstruct_with_deviations(model, subject, n_passes=120)
  means = np.mean([maps.stack() for maps, _ in pairs], 0)
  spread = np.mean([sd.stack() ** 2 for _, sd in pairs], 0) ** 0.5
  typical = deviations.stack().mean()
  assert typical > 0.01
  error = np.abs(found.stack() - means).mean() / typical
  assert error < 3 / np.sqrt(120)
  np.testing.assert_allclose(
    spread.mean(0), deviations.stack().mean(0), rtol=0.1
  )


def test_passes_of_one_seed_are_the_same_again_and_of_another_are_not():
  model, subject = dropout_model(), make_subject(head())
  one, same, other = (
    reconstruct_with_deviations(model, subject, n_passes=3, seed=seed)
    for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(one[0].stack(), same[0].stack())
  np.testing.assert_array_equal(one[1].stack(), same[1].stack())
  assert not np.allclose(one[0].stack(), other[0].stack())


def test_voxels_and_tiles_drop_features_of_their_own():
  # All voxels show the same: what sets them apart is what is dropped.
  model, subject = dropout_model(), make_subject(np.ones((1, 40, 40), bool))
  subject.signals[:] = subject.signals[:1]
  maps, _ = reconstruct_with_deviations(model, subject, n_passes=2)
  inner = maps.t1_ms.reshape(40, 40)[8:32, 8:32]
  assert len(np.unique(inner)) > 0.9 * inner.size


@pytest.mark.parametrize("method", NETWORKS)
def test_without_dropout_passes_change_nothing(method):
  model, subject = make_model(*NETWORKS[method]), make_subject(head())
  if model.has_dropout:
    model = dropout_model(rate=0.0)
  once, none = reconstruct_with_deviations(model, subject)
  passes, still_none = reconstruct_with_deviations(model, subject, n_passes=5)
  np.testing.assert_array_equal(once.stack(), passes.stack())
  assert none is None and still_none is None


def test_predicted_variance_and_that_of_passes_add_up():
  subject = make_subject(head())
  both = dropout_model(rate=1e-7, n_outputs=6)
  _, predicted = reconstruct_with_deviations(both, subject)
  _, with_passes = reconstruct_with_deviations(both, subject, n_passes=4)
  # Nothing is dropped at this rate.
  np.testing.assert_allclose(with_passes.stack(), predicted.stack(), rtol=1e-4)
  both = dropout_model(rate=0.3, n_outputs=6)
  _, more = reconstruct_with_deviations(both, subject, n_passes=40)
  alone = dataclasses.replace(
    both,
    network=both.network.clone(n_outputs=3),
    variables=_first_maps(both.variables),
  )
  _, dropped = reconstruct_with_deviations(alone, subject, n_passes=40)
  assert np.mean(more.stack() > dropped.stack()) == 1


def _first_maps(variables):
  layer = {
    name: leaf[..., :3] for name, leaf in variables["params"]["maps"].items()
  }
  return {**variables, "params": {**variables["params"], "maps": layer}}


def test_an_ensemble_is_the_mean_and_the_spread_of_its_members():
  subject = make_subject(head())
  network, reach = NETWORKS["cohen"]
  models = [
    dataclasses.replace(
      make_model(network, reach),
      map_range=dataclasses.replace(
        make_model(network, reach).map_range, high=np.full(3, high)
      ),
    )
    for high in (1.0, 2.0, 6.0)
  ]
  maps, deviations = reconstruct_ensemble(models, subject)
  one, none = reconstruct_ensemble(models[:1], subject)
  assert none is None
  # Members are 1, 2 and 6 times the first: their mean 3, deviation √7.
  np.testing.assert_allclose(maps.stack(), 3 * one.stack(), rtol=1e-5)
  np.testing.assert_allclose(
    deviations.stack(), np.sqrt(7) * np.abs(one.stack()), rtol=1e-5
  )


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"window": 2}, "window is 2, the model needs 1"),
    ({"stride": 2}, "stride is 2, the model needs 1"),
    ({"flip": 9.0}, r"flip_angles_deg of frame 5 is .*, the model needs"),
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
def test_another_scan_is_refused_with_both_values(change, said):
  model, subject = make_model(*NETWORKS["cohen"]), make_subject(head())
  fields = dict(vars(subject.sequence))
  if "flip" in change:
    fields["flip_angles_deg"] = np.array(fields["flip_angles_deg"])
    fields["flip_angles_deg"][5] += change["flip"]
  if "n_frames" in change:
    for name in ("flip_angles_deg", "tr_ms", "te_ms", "rf_phases_deg"):
      fields[name] = fields[name][: change["n_frames"]]
  fields |= {name: v for name, v in change.items() if name in fields}
  own = {name: v for name, v in change.items() if name in ("window", "stride")}
  acquisition = Acquisition(make_sequence(**fields), **own)
  other = dataclasses.replace(subject, acquisition=acquisition)
  with pytest.raises(UserError, match=said):
    reconstruct_ensemble([model], other)
