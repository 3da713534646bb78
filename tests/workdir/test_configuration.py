"""Differences between two configurations."""

import pytest

from mrf_jax.workdir import config_differences

STORED = {
  "seed": 0,
  "methods": ["cohen"],
  "scan": {"noise": 0.3, "coils": {"n": 8}},
  "training": {"epochs": 2, "checkpoint_minutes": 5},
}


def changed(**values):
  return {**STORED, **values}


@pytest.mark.parametrize(
  ("asked", "differences"),
  [
    (changed(), []),
    (changed(seed=1), ["seed=0 (now 1)"]),
    (
      changed(scan={"noise": 0.3, "coils": {"n": 4}, "spiral": 2}),
      ["scan.coils.n=8 (now 4)", "scan.spiral=None (now 2)"],
    ),
    (changed(scan={"noise": 0.3}), ["scan.coils.n=8 (now None)"]),
    # A value where there was a dictionary.
    (
      changed(scan=None),
      [
        "scan=None (now None)",
        "scan.coils.n=8 (now None)",
        "scan.noise=0.3 (now None)",
      ],
    ),
    # They may change; other options of training may not.
    (changed(methods=("hoppe",)), []),
    (
      changed(training={"epochs": 3, "checkpoint_minutes": 9}),
      ["training.epochs=2 (now 3)"],
    ),
    # An empty dictionary has no values.
    (changed(preprocessing={}, design={"step": {}}), []),
  ],
)
def test_values_that_differ(asked, differences):
  assert config_differences(STORED, asked) == differences


def test_values_are_compared_as_json():
  stored = {"files": ["a", "b"], "widths": {"1": 2, "null": 3}}
  asked = {"files": ("a", "b"), "widths": {1: 2, None: 3}}
  assert config_differences(stored, asked) == []
  asked["widths"][1] = 4
  assert config_differences(stored, asked) == ["widths.1=2 (now 4)"]


def test_free_keys_and_parts():
  asked = changed(seed=1, methods=["hoppe"], scan={"noise": 0.5})
  assert config_differences(STORED, asked, free=("scan", "seed")) == [
    "methods=['cohen'] (now ['hoppe'])"
  ]
  assert config_differences(STORED, asked, parts=("seed", "data")) == [
    "seed=0 (now 1)"
  ]
