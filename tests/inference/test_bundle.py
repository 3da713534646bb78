"""Model bundles: written, read, and refused where they are not sound."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import load_model, save_model
from mrf_jax.inference.model import reconstruct
from tests.inference.examples import (
  NETWORKS,
  change_description,
  head,
  make_model,
  make_subject,
  with_statistics,
)


@pytest.fixture
def model():
  method = "spatiotemporal"
  return dataclasses.replace(make_model(NETWORKS[method]), method=method)


@pytest.fixture
def bundle(tmp_path, model):
  save_model(model, tmp_path / "fold-0", config={"seed": 3})
  return tmp_path / "fold-0"


def test_a_bundle_comes_back_whole(bundle, model):
  subject, loaded = make_subject(head()), load_model(bundle)
  assert loaded.network == model.network
  before, after = reconstruct(model, subject), reconstruct(loaded, subject)
  np.testing.assert_array_equal(before.stack(), after.stack())
  # No temporary file is left.
  assert [path.name for path in bundle.parent.iterdir()] == ["fold-0"]


def test_bounds_of_estimates_come_back(bundle, model):
  """A bundle without them is as before there were any."""
  assert "maps_bounds" not in (bundle / "model.json").read_text()
  assert load_model(bundle).map_range.bounds is None
  bounded = dataclasses.replace(model, map_range=model.map_range.bounded())
  save_model(bounded, bundle)
  np.testing.assert_array_equal(
    load_model(bundle).map_range.bounds, [[0, 0, 0], [1, 1, 1]]
  )


def test_statistics_of_the_signals_come_back(bundle, model):
  scans = [make_subject(head(9.0), seed) for seed in (1, 2)]
  model = with_statistics(model, scans)
  save_model(model, bundle)
  loaded, subject = load_model(bundle), make_subject(head())
  before, after = reconstruct(model, subject), reconstruct(loaded, subject)
  np.testing.assert_array_equal(before.stack(), after.stack())
  for changes, words in (
    ({"mean": np.zeros(3)}, "statistics have the shapes"),
    ({"variance": np.full(36, np.nan)}, "statistics are not finite"),
    (
      {"variance": np.full(36, -1.0)},
      "variance or the number of its signals is below 0",
    ),
  ):
    broken = dataclasses.replace(model.statistics, **changes)
    save_model(dataclasses.replace(model, statistics=broken), bundle)
    with pytest.raises(UserError, match=f"damaged model bundle .*{words}"):
      load_model(bundle)


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"maps_bounds": [0.0, 1.0]}, "bounds of its maps is"),
    ({"maps_bounds": [[1.0] * 3, [0.0] * 3]}, "bounds of its maps are"),
    ({"maps_low": [0.0, 1.0]}, "range of its maps|inhomogeneous"),
    ({"maps_high": [1.0, np.nan, 1.0]}, "range of its maps"),
    ({"window": 0}, "window 0 and stride 1 do not fit 18 frames"),
    ({"stride": 2}, r"kernel.* has shape .* the network needs"),
    ({"network": {"widths": [10**9, 8], "branch_width": 4}}, "network needs"),
    ({"network": {"colour": "red"}}, "colour"),
    ({"network": {"widths": [8] * 10**6}}, "widths makes 1,000,000 layers"),
    (
      {"method": "spatiotemporal_plus", "network": {"depth": 3000}},
      "depth makes 3,000 layers, of 26 arrays",
    ),
    ({"normalise_signals_per": "day"}, "day"),
    ({"colour": "red"}, "model.json has colour"),
    ({"config": None}, "config is not a dictionary"),
    ({"version": 1}, "mrf-model version 1"),
    ({"method": "other"}, "unknown method 'other'"),
  ],
)
def test_descriptions_must_fit_the_variables(bundle, changes, words):
  change_description(bundle)
  load_model(bundle)
  change_description(bundle, **changes)
  with pytest.raises(UserError, match=f"damaged model bundle .*{words}"):
    load_model(bundle)


def test_small_arrays_make_no_deep_network(bundle):
  arrays = {f"params/spatial_{i}/bias": np.zeros(1) for i in range(1000)}
  np.savez(bundle / "variables/arrays.npz", **arrays)
  network = {"widths": [1, 1], "depth": 900}
  change_description(
    bundle,
    method="spatiotemporal_plus",
    network=network,
    sha256={"files": {}},
  )
  with pytest.raises(UserError, match=r"900 layers, .* at most 128 are known"):
    load_model(bundle)


def test_variables_must_be_finite(bundle, model):
  variables = jax.tree.map(lambda x: np.full_like(x, np.nan), model.variables)
  broken = dataclasses.replace(model, variables=variables)
  save_model(broken, bundle, config={})
  with pytest.raises(UserError, match="values that are NaN or infinite"):
    load_model(bundle)


def test_variables_must_fit_their_file(bundle):
  """A small file cannot claim a large array."""
  huge = np.zeros((4096, 8192), np.float32)
  np.savez_compressed(bundle / "variables/arrays.npz", kernel=huge)
  change_description(bundle, sha256={"files": {}})
  with pytest.raises(UserError, match=r"it claims 134,217,856 bytes"):
    load_model(bundle)


def test_variables_of_another_bundle(bundle, model):
  variables = jax.tree.map(lambda x: np.float32(1.001) * x, model.variables)
  other = bundle.with_name("fold-1")
  changed = dataclasses.replace(model, variables=variables)
  save_model(changed, other, config={})
  shutil.rmtree(bundle / "variables")
  shutil.copytree(other / "variables", bundle / "variables")
  with pytest.raises(
    UserError, match=r"fold-0: damaged .* are not as they wer"
  ):
    load_model(bundle)


def test_a_missing_bundle_is_named(tmp_path):
  with pytest.raises(UserError, match="gone: no model bundle"):
    load_model(tmp_path / "gone")


def test_files_of_the_system_are_ignored(bundle):
  (bundle / "variables/.DS_Store").write_text("")
  load_model(bundle)


@pytest.mark.parametrize(
  ("damage", "words"),
  [
    (lambda text: text[: len(text) // 2], ""),
    (lambda text: text.replace('"window": 1', '"window": 2'), "was changed"),
    (lambda text: text.replace('"sha256"', '"colour"'), "has no sha256"),
    (lambda text: '{"a":' * 100_000, ""),
  ],
  ids=["half of it", "another value", "no checksum", "deep nesting"],
)
def test_a_damaged_description_is_named(bundle, damage, words):
  path = bundle / "model.json"
  path.write_text(damage(path.read_text()))
  with pytest.raises(UserError, match=f"damaged model bundle.*{words}"):
    load_model(bundle)
