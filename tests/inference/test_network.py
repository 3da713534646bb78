import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax.dataset.normalise import MapRange, normalise_signals
from mrf_jax.dataset.patches import make_grid, patch_shape
from mrf_jax.dataset.subject import Subject
from mrf_jax.inference import network as inference_network
from mrf_jax.inference.model import Model, reconstruct
from mrf_jax.networks.cohen import Cohen
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored

N_FRAMES = 18
NETWORKS = {
  "spatiotemporal": (Spatiotemporal(widths=(12, 8), branch_width=4), 2),
  "spatiotemporal_plus": (
    SpatiotemporalPlus(widths=(12, 8), depth=2, n_outputs=3),
    2,
  ),
  "one_slice": (
    SpatiotemporalPlus(widths=(12, 8), depth=2, slices=1, n_outputs=3),
    2,
  ),
  "one_voxel_of_each_slice": (
    SpatiotemporalPlus(widths=(12, 8), depth=0, n_outputs=3),
    0,
  ),
  "cohen": (Cohen(widths=(16,)), 0),
}


def make_subject(mask, seed=0):
  signals = np.random.default_rng(seed).normal(size=(2, mask.sum(), N_FRAMES))
  return Subject(
    subject="test",
    mask=mask,
    signals=(signals[0] + 1j * signals[1]).astype(np.complex64),
    affine=np.eye(4),
    acquisition=Acquisition(tailored(N_FRAMES), window=1, stride=1),
    field_strength_t=1.5,
    provenance="simulated",
  )


def make_model(network, reach):
  patch = jnp.zeros((1, *patch_shape(reach, network.slices), 2 * N_FRAMES))
  shapes = jax.eval_shape(
    lambda: network.init(jax.random.key(0), patch, train=False)
  )
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    # Kernels of both signs; variances, which have one axis, are positive.
    lambda leaf: rng.uniform(0.1 if leaf.ndim == 1 else -0.3, 0.3, leaf.shape),
    shapes,
  )
  return Model(
    method="test",
    network=network,
    reach=reach,
    variables=jax.tree.map(np.float32, variables),
    map_range=MapRange(np.zeros(3), np.ones(3)),
    normalise_signals_per="frame",
    acquisition=Acquisition(tailored(N_FRAMES), window=1, stride=1),
  )


def head(radius=15.0):
  """Three slices of a disc, some of whose voxels are void."""
  y, x = np.mgrid[:40, :40]
  disc = (y - 20) ** 2 + (x - 20) ** 2 < radius**2
  return disc & (np.random.default_rng(1).random((3, 40, 40)) < 0.9)


def of_patches(model, subject, chosen):
  """What the network says of some voxels, each from a patch of its own."""
  network, reach = model.network, model.reach
  signals = normalise_signals(subject.signals, per="frame")
  table = np.concatenate([np.zeros_like(signals[:1]), signals])
  # As in training: another head's slices stand beside.
  grid = make_grid([subject.mask, subject.mask], padding=reach)
  patches = grid.neighbours(
    1 + chosen, before=reach, after=reach, slices=network.slices
  )
  assert int(patches.max()) < len(table)
  return network.apply(model.variables, table[patches], train=False)[:, 0, 0]


@pytest.mark.parametrize("method", NETWORKS)
def test_maps_are_those_of_every_voxels_patch(method):
  model, subject = make_model(*NETWORKS[method]), make_subject(head())
  chosen = np.arange(0, subject.n_voxels, 7)
  expected = of_patches(model, subject, chosen)
  found = reconstruct(model, subject).stack()[chosen]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", NETWORKS)
def test_blocks_do_not_change_the_maps(monkeypatch, method):
  model, subject = make_model(*NETWORKS[method]), make_subject(head())
  whole = reconstruct(model, subject).stack()
  monkeypatch.setattr(inference_network, "_BLOCK", 64)
  blocks = reconstruct(model, subject).stack()
  assert np.ptp(whole, axis=0).min() > 0
  np.testing.assert_allclose(blocks, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", NETWORKS)
def test_scans_of_alike_heads_share_one_program(monkeypatch, caplog, method):
  monkeypatch.setattr(inference_network, "_BLOCK", 64)
  network, reach = NETWORKS[method]
  # With deviations, so that no other test has compiled it.
  model = make_model(network.clone(n_outputs=6), reach)

  def programs(subject):
    caplog.clear()
    with jax.log_compiles():
      reconstruct(model, subject)
    messages = [record.getMessage() for record in caplog.records]
    return [text for text in messages if "Finished XLA compilation" in text]

  one, other = make_subject(head()), make_subject(head(radius=14.8), seed=1)
  assert one.n_voxels // 64 != other.n_voxels // 64
  assert len(programs(one)) == 1
  assert not programs(other)


@pytest.mark.parametrize("method", NETWORKS)
def test_a_scan_is_one_call(monkeypatch, method):
  calls = []
  for name in ("_by_voxel", "_by_tile"):
    function = getattr(inference_network, name)

    def call(*arguments, function=function):
      calls.append(function)
      return function(*arguments)

    monkeypatch.setattr(inference_network, name, call)
  reconstruct(make_model(*NETWORKS[method]), make_subject(head()))
  assert len(calls) == 1


@pytest.mark.parametrize("method", NETWORKS)
def test_many_voxels_equal_an_eager_network(method):
  model = make_model(*NETWORKS[method])
  subject = make_subject(np.ones((3, 110, 110), bool))
  assert subject.n_voxels > 32768
  with jax.disable_jit():
    expected = of_patches(model, subject, np.arange(subject.n_voxels))
  found = reconstruct(model, subject).stack()
  np.testing.assert_allclose(found, expected, atol=1e-6)
