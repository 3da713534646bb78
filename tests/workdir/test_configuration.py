"""Differences between two configurations."""

import copy

import pytest

from configs import smoke
from mrf_jax.workdir import config_differences

STORED = {
  "seed": 0,
  "methods": ["cohen"],
  "scan": {"noise": 0.3, "coils": {"n": 8}},
  "training": {"epochs": 2, "checkpoint_minutes": 5},
}


@pytest.mark.parametrize(
  ("changes", "differences"),
  [
    ({}, []),
    ({"seed": 1}, ["seed=0 (now 1)"]),
    (
      {"scan": {"coils": {"n": 4}, "spiral": 2}},
      [
        "scan.coils.n=8 (now 4)",
        "scan.noise=0.3 (now None)",
        "scan.spiral=None (now 2)",
      ],
    ),
    # Methods may change, and when checkpoints are written.
    ({"methods": ("hoppe",)}, []),
    (
      {"training": {"epochs": 3, "checkpoint_minutes": 9}},
      ["training.epochs=2 (now 3)"],
    ),
    # Results from before this method was there.
    ({"dictionary_fit": {"rank": 25}}, []),
    # Results from before there was this option, which did what False does.
    ({"preprocessing": {"bound_estimates": False}}, []),
    (
      {"preprocessing": {"bound_estimates": True}},
      ["preprocessing.bound_estimates=False (now True)"],
    ),
    # An empty dictionary has no values.
    ({"preprocessing": {}, "reference": {"b1": {}}}, []),
  ],
)
def test_values_that_differ(changes, differences):
  assert config_differences(STORED, {**STORED, **changes}) == differences


def test_a_workdir_of_before_networks_could_see_b1():
  now = smoke.get_config().to_dict()
  before = copy.deepcopy(now)
  del before["scan"]["b1_map_error"]
  del before["spatiotemporal_plus"]["network"]["sees_b1"]
  assert not config_differences(before, now)
  now["spatiotemporal_plus"]["network"]["sees_b1"] = True
  now["scan"]["b1_map_error"] = 0.02
  assert config_differences(before, now) == [
    "scan.b1_map_error=None (now 0.02)",
    "spatiotemporal_plus.network.sees_b1=False (now True)",
  ]


def test_options_of_a_method_that_has_results():
  stored = {**STORED, "dictionary_fit": {"rank": 25}}
  asked = {**STORED, "dictionary_fit": {"rank": 10}}
  assert config_differences(stored, asked) == [
    "dictionary_fit.rank=25 (now 10)"
  ]


def test_values_are_compared_as_json():
  stored = {"widths": {"1": 2, "null": [3]}}
  assert not config_differences(stored, {"widths": {1: 2, None: (3,)}})


def test_free_keys_and_parts():
  asked = {**STORED, "seed": 1, "methods": ["hoppe"], "scan": {"noise": 0.5}}
  assert config_differences(STORED, asked, free=("scan", "seed")) == [
    "methods=['cohen'] (now ['hoppe'])"
  ]
  assert config_differences(STORED, asked, parts=("seed", "data")) == [
    "seed=0 (now 1)"
  ]
