"""Error of float32 against float64 where there is no closed form.

docs/reliability.md lists the bounds; other parts have them in their own tests.
"""

import jax
import numpy as np
import pytest

from mrf_jax.dataset.patches import patch_shape
from mrf_jax.dataset.standardise import normalise_signals
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.networks import NETWORKS
from mrf_jax.networks.shapes import variable_shapes
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.simulation.scan import scan_slice
from tests.laws import complex_noise

MATRIX = 24
WINDOW = 8


def direct_scan(spiral, signals, mask, coils):
  """The scan by direct Fourier sums in float64."""
  axis = np.arange(spiral.matrix) - spiral.matrix // 2
  y, x = np.meshgrid(axis, axis, indexing="ij")
  places = np.stack([x[mask], y[mask]])  # [2, voxel]
  sensitivities = coils[:, mask].astype(np.complex128)
  power = np.sum(np.abs(sensitivities) ** 2, 0)
  frames = np.empty(signals.shape, np.complex128)
  for t, signal in enumerate(signals.T):
    k = spiral.trajectory[t % spiral.n_arms].astype(np.float64)
    waves = np.exp(-2j * np.pi * (k @ places))  # [sample, voxel]
    weights = spiral.weights.astype(np.float64)
    # Both transforms of mri-nufft are divided by the root of 4 × voxels.
    weights = weights * spiral.n_arms / (4 * spiral.matrix**2)
    k_space = waves @ (sensitivities * signal).T  # [sample, coil]
    images = waves.conj().T @ (weights[:, None] * k_space)
    frames[:, t] = np.sum(sensitivities.conj().T * images, 1) / power
  return sliding_window(frames, window=WINDOW)


def test_scan_against_direct_sums():
  spiral = make_spiral(
    matrix=MATRIX, n_arms=WINDOW, samples_per_arm=96, density_power=1.25
  )
  axis = np.linspace(-1, 1, MATRIX)
  mask = np.hypot(axis[:, None], axis) < 0.7
  coils = np.exp(-((axis[:, None] - [[[-1]], [[1]]]) ** 2) + 1j * axis).astype(
    np.complex64
  )
  signals = complex_noise(mask.sum(), 3 * WINDOW)
  images = scan_slice(
    np.random.default_rng(0),
    signals,
    mask,
    coils,
    spiral,
    noise_sd=0.0,
    window=WINDOW,
    stride=1,
  )
  expected = direct_scan(spiral, signals.astype(np.complex128), mask, coils)
  assert relative(images, expected) < 3e-5


@pytest.mark.parametrize("per", ["frame", "subject", "voxel"])
def test_normalisation_in_float64(per):
  # A mean of twenty standard deviations, as where one tissue fills the mask.
  signals = complex_noise(40_000, 12).astype(complex) + 20
  normalised = normalise_signals(signals.astype(np.complex64), per=per)
  parts = np.concatenate([signals.real, signals.imag], 1)
  axis = {"frame": 0, "subject": None, "voxel": 1}[per]
  mean, sd = (f(axis=axis, keepdims=True) for f in (parts.mean, parts.std))
  assert relative(normalised, (parts - mean) / sd) < 1e-5


@pytest.mark.parametrize("method", NETWORKS)
def test_network_in_float64(method):
  """At the paper's sizes, with batch statistics that span two decades."""
  network = NETWORKS[method]()
  n_frames = 673
  rng = np.random.default_rng(0)
  shape = patch_shape(network.reach, network.slices)
  patches = rng.standard_normal((16, *shape, 2 * n_frames))
  patches[:, ..., ::7] *= 10.0
  shapes = variable_shapes(network, n_channels=2 * n_frames)
  variables = jax.tree.map(lambda leaf: _value(rng, leaf.shape), shapes)

  def maps(dtype):
    arrays = jax.tree.map(dtype, (variables, patches))
    values = jax.jit(lambda v, x: network.apply(v, x, train=False))(*arrays)
    assert values.dtype == dtype
    return np.asarray(values).reshape(len(patches), -1)

  single = maps(np.float32)
  with jax.enable_x64(True):
    double = maps(np.float64)
  assert np.ptp(double, axis=0).min() > 0
  assert relative(single, double) < 1e-5


def _value(rng, shape):
  """Kernels that keep the size of signals; positive statistics and biases."""
  if len(shape) == 1:
    return 10 ** rng.uniform(-1, 1, shape)
  return rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))


def relative(values, expected):
  """Largest error, relative to the largest value."""
  return np.abs(values - expected).max() / np.abs(expected).max()
