import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import load_model, save_model
from mrf_jax.inference.model import Model, reconstruct
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored


@pytest.fixture
def model():
  network = Spatiotemporal(widths=(8, 8), branch_width=4)
  variables = network.init(
    jax.random.key(0), jnp.zeros((1, 5, 5, 2 * 5)), train=False
  )
  return Model(
    method="spatiotemporal",
    network=network,
    reach=2,
    variables=variables,
    map_range=MapRange(np.array([0.1, 100, 10]), np.array([1.2, 5000, 900])),
    normalise_signals_per="frame",
    acquisition=Acquisition(tailored(20), window=4, stride=4),
  )


@pytest.fixture
def subject():
  rng = np.random.default_rng(0)
  mask = rng.random((2, 20, 13)) < 0.7
  signals = rng.normal(size=(2, mask.sum(), 5))
  return Subject(
    subject="test",
    mask=mask,
    signals=(signals[0] + 1j * signals[1]).astype(np.complex64),
    affine=np.eye(4),
    acquisition=Acquisition(tailored(20), window=4, stride=4),
    field_strength_t=1.5,
    provenance="simulated",
  )


def test_a_bundle_comes_back_whole(tmp_path, model, subject):
  save_model(model, tmp_path / "fold-0", config={"seed": 3})
  loaded = load_model(tmp_path / "fold-0")
  assert loaded.network == model.network
  before, after = reconstruct(model, subject), reconstruct(loaded, subject)
  np.testing.assert_array_equal(before.stack(), after.stack())
  assert [p.name for p in tmp_path.iterdir()] == ["fold-0"]


def test_reconstruction_equals_patch_by_patch(model, subject):
  from mrf_jax.dataset.normalise import normalise_signals

  signals = normalise_signals(subject.signals, per="frame")
  volume = np.zeros((*subject.mask.shape, 10), np.float32)
  volume[subject.mask] = signals
  volume = np.pad(volume, ((0, 0), (2, 2), (2, 2), (0, 0)))
  patches = np.stack(
    [volume[z, y : y + 5, x : x + 5] for z, y, x in np.argwhere(subject.mask)]
  )
  scaled = model.network.apply(model.variables, patches, train=False)
  expected = model.map_range.unscale(np.asarray(scaled)[:, 0, 0])
  found = reconstruct(model, subject).stack()
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"window": 5, "stride": 4}, "window is 5, the model needs 4"),
    ({"sequence": tailored(24)}, "24 frames, the model needs 20"),
    (
      {"sequence": dataclasses.replace(tailored(20), inversion_time_ms=30.0)},
      "inversion_time_ms of its sequence is .*, the model needs",
    ),
    (
      {"sequence": dataclasses.replace(tailored(20), inversion_time_ms=None)},
      "inversion_time_ms of its sequence is .*, the model needs",
    ),
  ],
)
def test_other_scans_are_refused(model, subject, change, message):
  with pytest.raises(UserError, match=message):
    acquisition = dataclasses.replace(subject.acquisition, **change)
    reconstruct(model, dataclasses.replace(subject, acquisition=acquisition))


def change(bundle, **changes):
  """As another program might have written it."""
  description = json.loads((bundle / "model.json").read_text()) | changes
  del description["sha256"]
  (bundle / "model.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"maps_low": [0.0, 1.0]}, "range of its maps|inhomogeneous"),
    ({"maps_high": [1.0, np.nan, 1.0]}, "range of its maps"),
    ({"window": 0}, "window 0 and stride 4 do not fit 20 frames"),
    ({"stride": 2}, r"kernel.* has shape .* the network wants"),
    ({"network": {"widths": [10**9, 8], "branch_width": 4}}, "network wants"),
    ({"network": {"colour": "red"}}, "colour"),
    ({"network": {"widths": [8] * 10**6}}, "widths makes 1,000,000 layers"),
    (
      {"method": "spatiotemporal_plus", "network": {"depth": 3000}},
      "depth makes 3,000 layers, of 26 arrays",
    ),
    ({"normalise_signals_per": "day"}, "day"),
    ({"colour": "red"}, "model.json has colour"),
  ],
)
def test_descriptions_of_others_must_suit_the_variables(
  tmp_path, model, changes, words
):
  save_model(model, tmp_path / "fold-0", config={})
  change(tmp_path / "fold-0")
  load_model(tmp_path / "fold-0")
  save_model(model, tmp_path / "fold-0", config={})
  change(tmp_path / "fold-0", **changes)
  with pytest.raises(UserError, match=f"damaged model bundle .*{words}"):
    load_model(tmp_path / "fold-0")


def test_many_small_arrays_make_no_deep_network(tmp_path, model):
  bundle = tmp_path / "fold-0"
  save_model(model, bundle, config={})
  arrays = {f"params/spatial_{i}/bias": np.zeros(1) for i in range(1000)}
  np.savez(bundle / "variables/arrays.npz", **arrays)
  network = {"widths": [1, 1], "depth": 900}
  change(bundle, method="spatiotemporal_plus", network=network)
  with pytest.raises(UserError, match=r"900 layers, .* at most 128 are known"):
    load_model(bundle)


def test_variables_that_are_no_numbers_are_refused(tmp_path, model):
  variables = jax.tree.map(lambda x: np.full_like(x, np.nan), model.variables)
  broken = dataclasses.replace(model, variables=variables)
  save_model(broken, tmp_path / "fold-0", config={})
  with pytest.raises(UserError, match="values that are NaN or infinite"):
    load_model(tmp_path / "fold-0")


def test_missing_and_damaged_bundles_are_named(tmp_path, model):
  with pytest.raises(UserError, match="gone: no model bundle"):
    load_model(tmp_path / "gone")
  bundle = tmp_path / "fold-0"
  save_model(model, bundle, config={})
  text = (bundle / "model.json").read_text()
  (bundle / "model.json").write_text(text[: len(text) // 2])
  with pytest.raises(UserError, match="damaged model bundle"):
    load_model(bundle)
  (bundle / "model.json").write_text(text.replace('"window": 4', '"window": 5'))
  with pytest.raises(UserError, match=r"model\.json was changed after"):
    load_model(bundle)
  (bundle / "model.json").write_text('{"a":' * 100_000)
  with pytest.raises(UserError, match="damaged model bundle"):
    load_model(bundle)
  (bundle / "model.json").write_text(text)
  # A system's own.
  (bundle / "variables/.DS_Store").write_text("")
  load_model(bundle)
  change(bundle, method="other")
  with pytest.raises(UserError, match="unknown method 'other'"):
    load_model(bundle)


def test_other_variables_are_refused(tmp_path, model):
  for name, factor in (("a", 1.0), ("b", 1.001)):
    variables = jax.tree.map(lambda x, by=factor: by * x, model.variables)
    changed = dataclasses.replace(model, variables=variables)
    save_model(changed, tmp_path / name, config={})
  shutil.rmtree(tmp_path / "a/variables")
  shutil.copytree(tmp_path / "b/variables", tmp_path / "a/variables")
  with pytest.raises(UserError, match=r"a: damaged .* are not as they were"):
    load_model(tmp_path / "a")


def of_version_1(bundle, variables):
  """As orbax writes trees, without checksums."""
  shutil.rmtree(bundle / "variables")
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save((bundle / "variables").absolute(), variables)
  change(bundle, version=1)


def test_bundles_of_version_1_are_read(tmp_path, model, subject):
  bundle = tmp_path / "fold-0"
  save_model(model, bundle, config={})
  of_version_1(bundle, jax.tree.map(np.asarray, model.variables))
  loaded = load_model(bundle)
  before, after = reconstruct(model, subject), reconstruct(loaded, subject)
  np.testing.assert_array_equal(before.stack(), after.stack())


def test_variables_that_no_folder_could_hold_are_refused(tmp_path, model):
  bundle = tmp_path / "fold-0"
  save_model(model, bundle, config={})
  # The files stay small: orbax does not store what is zero, and deflate packs
  # it to a thousandth.
  huge = np.zeros((4096, 8192), np.float32)
  of_version_1(bundle, {"kernel": huge})
  with pytest.raises(UserError, match=r"it claims 134,217,728 bytes"):
    load_model(bundle)
  save_model(model, bundle, config={})
  np.savez_compressed(bundle / "variables/arrays.npz", kernel=huge)
  change(bundle)
  with pytest.raises(UserError, match=r"it claims 134,217,856 bytes"):
    load_model(bundle)
