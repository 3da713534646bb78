import numpy as np
import pytest

from mrf_jax.dataset.normalise import (
  SIGNAL_NORMALISATIONS,
  MapRange,
  clip_outliers,
  normalise_signals,
)
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from tests.laws import complex_noise


def signals():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(200, 6)) * np.arange(1, 7) + 3
  return (values + 1j * rng.normal(size=(200, 6))).astype(np.complex64)


@pytest.mark.parametrize(
  ("per", "axis"), [("frame", 0), ("subject", None), ("voxel", 1)]
)
def test_zero_mean_and_unit_variance(per, axis):
  values = normalise_signals(signals(), per=per)
  assert values.shape == (200, 12)
  assert values.dtype == np.float32
  np.testing.assert_allclose(values.mean(axis), 0, atol=1e-5)
  np.testing.assert_allclose(values.std(axis), 1, atol=1e-4)


def test_real_parts_come_first():
  values = normalise_signals(signals(), per="frame")
  real = signals().real
  np.testing.assert_allclose(
    values[:, :6], (real - real.mean(0)) / real.std(0), atol=1e-5
  )


def test_constant_frames_become_zero():
  flat = signals()
  flat[:, 2] = 5.0
  values = normalise_signals(flat, per="frame")
  assert np.all(np.isfinite(values))
  np.testing.assert_array_equal(values[:, [2, 8]], 0)


def in_float64(signals, per):
  """What `normalise_signals` should return, by its definition."""
  values = np.concatenate([signals.real, signals.imag], 1).astype(np.float64)
  axis = {"frame": 0, "subject": None, "voxel": 1}[per]
  values -= values.mean(axis, keepdims=True)
  scale = values.std(axis, keepdims=True)
  return values / np.where(scale > 0, scale, 1)


def many(n_voxels, n_frames=5):
  """Signals of more voxels than a thread takes at once."""
  noise = complex_noise(n_voxels, n_frames)
  return noise * np.arange(1, 1 + n_frames, dtype=np.float32) + np.complex64(3)


@pytest.mark.parametrize("n_voxels", [1, 2, 127, 129, 4096, 9001])
@pytest.mark.parametrize("per", SIGNAL_NORMALISATIONS)
def test_blocks_of_voxels_are_one_scan(per, n_voxels):
  signals = many(n_voxels)
  values = normalise_signals(signals, per=per)
  np.testing.assert_allclose(values, in_float64(signals, per), atol=2e-6)


@pytest.mark.parametrize("per", SIGNAL_NORMALISATIONS)
def test_a_large_mean_costs_no_digits(per):
  """Of numbers that float32 has exactly; it has not their mean."""
  small = np.sign(complex_noise(9001, 4).view(np.float32)).view(np.complex64)
  signals = small + np.complex64(2**18 + 1j * 2**18)
  values = normalise_signals(signals, per=per)
  np.testing.assert_allclose(values, in_float64(signals, per), atol=2e-6)


@pytest.mark.parametrize("per", SIGNAL_NORMALISATIONS)
@pytest.mark.parametrize("n_voxels", [3, 9001])
def test_constant_signals_are_zero(per, n_voxels):
  signals = np.full((n_voxels, 3), np.complex64(0.1 + 0.1j))
  assert not normalise_signals(signals, per=per).any()


@pytest.mark.parametrize("per", SIGNAL_NORMALISATIONS)
def test_a_bright_first_voxel_does_not_hide_the_others(per):
  signals = many(300)
  signals[0] *= 1e5
  values = normalise_signals(signals, per=per)
  np.testing.assert_allclose(
    values, in_float64(signals, per), rtol=1e-6, atol=1e-6
  )


@pytest.mark.parametrize("exponent", [-70, 60])
@pytest.mark.parametrize("per", SIGNAL_NORMALISATIONS)
def test_units_do_not_matter(per, exponent):
  signals = many(200)
  np.testing.assert_array_equal(
    normalise_signals(signals * np.float32(2.0**exponent), per=per),
    normalise_signals(signals, per=per),
  )


def test_unknown_normalisation_lists_the_known():
  with pytest.raises(UserError, match="frame, subject, voxel"):
    normalise_signals(signals(), per="slice")


def test_output_into_a_larger_table():
  signals = np.arange(12, dtype=np.complex64).reshape(4, 3) * (1 + 0.5j)
  table = np.zeros((6, 6), np.float32)
  normalise_signals(signals, per="frame", out=table[1:5])
  np.testing.assert_array_equal(
    table[1:5], normalise_signals(signals, per="frame")
  )
  assert not table[[0, 5]].any()


def test_outliers_are_clipped_map_by_map():
  pd = np.linspace(0, 1, 1001, dtype=np.float32)
  t1 = pd.copy() * 1000
  t1[-1] = 1e6
  clipped = clip_outliers(Maps(pd, t1, pd), percentiles=(0.1, 99.9))
  assert clipped.t1_ms.max() < 1001
  assert clipped.pd.max() == pytest.approx(0.999)
  assert clipped.pd.min() == pytest.approx(0.001)


def maps(scale):
  values = np.linspace(1, 2, 10) * scale
  return Maps(values, values * 1000, values * 100)


def test_range_scales_and_unscales():
  ranges = MapRange.of([maps(1.0), maps(1.5)])
  np.testing.assert_allclose(ranges.low, [1, 1000, 100])
  np.testing.assert_allclose(ranges.high, [3, 3000, 300])
  scaled = ranges.scale(maps(1.5).stack())
  assert scaled.max() == pytest.approx(1)
  np.testing.assert_allclose(ranges.unscale(scaled), maps(1.5).stack())


def test_constant_map_is_refused():
  flat = Maps(np.ones(4), np.arange(4.0), np.arange(4.0))
  with pytest.raises(UserError, match="pd is 1 in every voxel"):
    MapRange.of([flat])


POWERS = [(1.0, 1.0, 1.0), (1.0, 0.0, 0.5)]


@pytest.mark.parametrize("powers", POWERS)
def test_bounds_end_estimates_at_the_training_maps(powers):
  """On any scale, and nothing between them changes."""
  free = MapRange.of([maps(1.0), maps(1.5)], powers=powers)
  ranges = free.bounded()
  np.testing.assert_allclose(
    ranges.physical_bounds(), [[1, 1000, 100], [3, 3000, 300]], rtol=1e-6
  )
  outputs = np.array([[-0.4] * 3, [0.3, 0.6, 0.9], [1.7] * 3])
  low, inner, high = ranges.unscale(outputs)
  np.testing.assert_allclose(low, [1, 1000, 100])
  np.testing.assert_array_equal(inner, free.unscale(outputs)[1])
  np.testing.assert_allclose(high, [3, 3000, 300])
  assert np.all(free.unscale(outputs)[2] > high)
  # A network that is too high is not surer for it.
  deviations = np.full((3, 3), 0.1)
  np.testing.assert_array_equal(
    ranges.unscale_deviations(deviations, outputs),
    free.unscale_deviations(deviations, outputs),
  )


@pytest.mark.parametrize("powers", POWERS)
def test_bounds_hold_further_training_maps(powers):
  free = MapRange.of([maps(1.0)], powers=powers)
  wider = free.bounded().widened([maps(1.2), maps(0.5)])
  np.testing.assert_allclose(
    wider.physical_bounds(), [[0.5, 500, 50], [2.4, 2400, 240]], rtol=1e-6
  )
  # The scale, which the network has learned, stays.
  np.testing.assert_array_equal([wider.low, wider.high], [free.low, free.high])
  assert free.widened([maps(1.2)]).physical_bounds() is None
