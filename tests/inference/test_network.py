"""Inference on a whole scan equals the network on each voxel's patch."""

import dataclasses
import unittest.mock

import jax
import numpy as np
import pytest

from mrf_jax.dataset import signal_rows
from mrf_jax.dataset.standardise import SIGNAL_NORMALISATIONS, normalise_signals
from mrf_jax.inference import network as inference_network
from mrf_jax.inference.model import reconstruct
from mrf_jax.runtime.precision import PRECISIONS
from tests.inference.examples import (
  N_FRAMES,
  NETWORKS,
  head,
  make_model,
  make_subject,
  with_statistics,
)

pytestmark = pytest.mark.usefixtures("unbounded")


def of_patches(model, subject, chosen):
  """Outputs for some voxels, each from a patch that NumPy cuts."""
  network = model.network
  volume = np.zeros((*subject.mask.shape, 2 * N_FRAMES), np.float32)
  volume[subject.mask] = normalise_signals(
    subject.signals,
    per=model.normalise_signals_per,
    statistics=model.statistics,
  )
  depth, reach = network.slices // 2, network.reach
  sides = (depth, depth), (reach, reach), (reach, reach), (0, 0)
  volume = np.pad(volume, sides)
  height, size = 2 * depth + 1, 2 * reach + 1
  patches = np.stack(
    [
      volume[z : z + height, y : y + size, x : x + size]
      for z, y, x in np.argwhere(subject.mask)[chosen]
    ]
  )
  if network.slices == 1:
    patches = patches[:, 0]
  return network.apply(model.variables, patches, train=False)[:, 0, 0]


@pytest.mark.parametrize("method", NETWORKS)
def test_maps_equal_patch_by_patch(method, monkeypatch):
  """With one call of a compiled function."""
  model, subject = make_model(NETWORKS[method]), make_subject(head())
  chosen = np.arange(0, subject.n_voxels, 7)
  expected = of_patches(model, subject, chosen)
  by_voxel = unittest.mock.Mock(wraps=inference_network._by_voxel)
  by_tile = unittest.mock.Mock(wraps=inference_network._by_tile)
  monkeypatch.setattr(inference_network, "_by_voxel", by_voxel)
  monkeypatch.setattr(inference_network, "_by_tile", by_tile)
  maps = reconstruct(model, subject).stack()[chosen]
  np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-4)
  assert by_voxel.call_count + by_tile.call_count == 1


@pytest.mark.parametrize("per", SIGNAL_NORMALISATIONS)
@pytest.mark.parametrize("method", ["spatiotemporal", "cohen"])
def test_signals_are_standardised_in_each_block(method, per, monkeypatch):
  # Another size than below, where programs are counted.
  monkeypatch.setattr(signal_rows, "BLOCK", 128)
  model, subject = make_model(NETWORKS[method]), make_subject(head())
  model = dataclasses.replace(model, normalise_signals_per=per)
  # Units of 1e-21, and frames and parts of different means and scales.
  subject.signals[:] *= np.arange(1, 1 + N_FRAMES, dtype=np.float32)
  subject.signals[:] += np.complex64(7 - 2j)
  subject.signals[:] *= np.float32(1e-21)
  before = subject.signals.copy()
  expected = of_patches(model, subject, np.arange(subject.n_voxels))
  maps = reconstruct(model, subject).stack()
  np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(subject.signals, before)


@pytest.mark.parametrize("per", ["frame", "subject"])
@pytest.mark.parametrize("method", ["spatiotemporal", "cohen"])
def test_signals_are_standardised_by_the_training_scans(
  method, per, monkeypatch
):
  monkeypatch.setattr(signal_rows, "BLOCK", 128)
  model, subject = make_model(NETWORKS[method]), make_subject(head())
  model = dataclasses.replace(model, normalise_signals_per=per)
  others = [make_subject(head(10.0), seed) for seed in (1, 2)]
  for scan in (*others, subject):
    scan.signals[:] += np.complex64(3 + 1j) * np.arange(1, 1 + N_FRAMES)
  model = with_statistics(model, others)
  expected = of_patches(model, subject, np.arange(subject.n_voxels))
  maps = reconstruct(model, subject).stack()
  np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-4)
  # Gain and phase of a scan, and a mask of some of its voxels.
  subject.signals[:] *= np.complex64(300 * np.exp(2j))
  again = reconstruct(model, subject).stack()
  np.testing.assert_allclose(again, expected, rtol=1e-2, atol=2e-3)
  if method == "cohen":
    part = subject.mask.copy()
    part[1:] = False
    inside = part[subject.mask]
    cut = dataclasses.replace(
      subject, mask=part, signals=subject.signals[inside]
    )
    np.testing.assert_allclose(
      reconstruct(model, cut).stack(), again[inside], atol=0.05
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_large_mean_costs_no_precision(precision):
  """Signals of few digits, so that float32 has them with their mean, too."""
  model, subject = make_model(NETWORKS["spatiotemporal"]), make_subject(head())
  signals = np.round(subject.signals * 64) / 64
  maps = [
    reconstruct(
      model,
      dataclasses.replace(
        subject, signals=(signals + mean).astype(np.complex64)
      ),
      precision=precision,
    ).stack()
    for mean in (0, 2.0**14)
  ]
  # Numbers that bfloat16 rounds up or down by a last digit of float32 differ.
  atol = 0.02 if precision == "bfloat16" else 1e-5
  np.testing.assert_allclose(*maps, atol=atol)


@pytest.mark.parametrize("method", NETWORKS)
def test_blocks_share_one_program(monkeypatch, caplog, method):
  """Blocks of voxels do not change the maps, and similar heads share them."""
  model = make_model(NETWORKS[method])
  first, other = make_subject(head()), make_subject(head(radius=14.8), seed=1)
  assert first.n_voxels // 64 != other.n_voxels // 64
  whole = reconstruct(model, first).stack()
  assert np.ptp(whole, axis=0).min() > 0
  monkeypatch.setattr(signal_rows, "BLOCK", 64)

  def maps_and_programs(subject):
    caplog.clear()
    with jax.log_compiles():
      maps = reconstruct(model, subject).stack()
    return maps, caplog.text.count("Finished XLA compilation")

  blocks, n_programs = maps_and_programs(first)
  np.testing.assert_allclose(blocks, whole, rtol=1e-5, atol=1e-5)
  assert n_programs == 1
  assert maps_and_programs(other)[1] == 0


@pytest.mark.parametrize("method", NETWORKS)
def test_many_voxels_equal_an_eager_network(method):
  model = make_model(NETWORKS[method])
  subject = make_subject(np.ones((3, 110, 110), bool))
  assert subject.n_voxels > 32768
  with jax.disable_jit():
    # In parts, for their memory.
    parts = np.array_split(np.arange(subject.n_voxels), 9)
    expected = np.concatenate([of_patches(model, subject, p) for p in parts])
  maps = reconstruct(model, subject).stack()
  np.testing.assert_allclose(maps, expected, atol=1e-6)
