"""Configurations that are not valid are refused before anything is written."""

import ml_collections
import pytest

from configs import smoke
from mrf_jax import UserError
from mrf_jax.experiment.settings import check_methods, check_values, with_files


@pytest.mark.parametrize(
  ("name", "value", "words"),
  [
    ("data.n_subjects", 0, "data.n_subjects is 0, not at least 1"),
    ("data.grid.matrix", 0, "data.grid.matrix is 0, not at least 8"),
    ("data.grid.slice_thickness_mm", float("nan"), "is nan, not above 0"),
    ("data.grid.centre_z_mm", float("nan"), "centre_z_mm is nan"),
    ("data.grid.centre_z_mm", -120.0, "no brain in the slices around z = -120"),
    ("scan.noise_level", -0.1, "scan.noise_level is -0.1, not at least 0"),
    ("scan.noise_level", float("inf"), "scan.noise_level is inf"),
    (
      "scan.noise_correlation",
      1.0,
      "scan.noise_correlation is 1, not from 0 to below 1",
    ),
    (
      "scan.noise_correlation",
      -0.1,
      "scan.noise_correlation is -0.1, not from 0 to below 1",
    ),
    (
      "scan.gradient_delays_us",
      (0.0, 2e4),
      "not two delays, along x and y, shorter than the readout of 10920",
    ),
    ("scan.inversion_efficiency", 1.1, "inversion_efficiency is 1.1, above 1"),
    ("scan.slice_time_bandwidth", 0.5, "is 0.5, neither 0, an ideal slice"),
    (
      "data.b0.shim_hz",
      6e4,
      "shim_hz is 60000; 1000 is more than any scan has",
    ),
    ("data.motion.between_scans_mm", 400.0, "between_scans_mm is 400; 50 is"),
    ("reference.t2_bound_ms", 80.0, "not at least the last echo at 160 ms"),
    ("data.b0.shim_hz", -1.0, "data.b0.shim_hz is -1.0, not at least 0"),
    ("scan.spiral.readout_ms", 0.0, "scan.spiral.readout_ms is 0.0, not above"),
    ("reference.vfa_tr_ms", 0.0, "reference.vfa_tr_ms is 0.0, not above 0"),
    ("data.n_subjects", None, "data.n_subjects is None, not a number"),
  ],
)
def test_values_out_of_range(name, value, words):
  config = smoke.get_config()
  check_values(config)
  with config.unlocked():
    config.update_from_flattened_dict({name: value})
  for check in (check_values, check_methods):
    with pytest.raises(UserError, match=words):
      check(config)


def test_missing_values_are_named():
  config = smoke.get_config()
  with config.unlocked():
    del config.reference["vfa_tr_ms"]
  with pytest.raises(UserError, match=r"it has no reference\.vfa_tr_ms"):
    check_values(config)
  with config.unlocked():
    del config.data["lesions"]
  with pytest.raises(UserError, match=r"it has no data\.lesions\.count"):
    check_values(config)


@pytest.mark.parametrize(
  ("config", "words"),
  [
    (None, "get_config returns NoneType"),
    (3, "get_config returns int"),
    (ml_collections.ConfigDict({"seed": 0}), "it has no precision, methods, d"),
  ],
)
def test_other_objects_than_configurations(config, words):
  for check in (check_values, with_files):
    with pytest.raises(UserError, match=words):
      check(config)


def test_axes_of_the_dictionary():
  """They need a positive step, and a range that rises."""
  for name, value in (("step_percent", 0.0), ("t1_ms", (500.0, 100.0))):
    config = smoke.get_config()
    config.dictionary[name] = value
    with pytest.raises(UserError, match="no axis goes from"):
      check_methods(config)
