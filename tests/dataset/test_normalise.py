import numpy as np
import pytest

from mrf_jax.dataset.normalise import MapRange, clip_outliers
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps


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


@pytest.mark.parametrize("output", [0.0, 0.05, 0.5])
def test_the_deviation_of_a_square_is_exact(output):
  """Of normal outputs, also where the slope of the square is zero."""
  ranges = MapRange(np.zeros(3), np.full(3, 40.0), powers=(1.0, 0.5, 0.5))
  rng = np.random.default_rng(0)
  normal = 40 * (output + 0.05 * rng.normal(size=400_000))
  expected = np.std(np.square(normal))
  _, _, found = ranges.unscale_deviations(np.full(3, 0.05), np.full(3, output))
  assert found == pytest.approx(expected, rel=0.01)


def test_outputs_below_a_root_are_not_sure():
  ranges = MapRange(np.zeros(3), np.ones(3), powers=(1.0, 0.0, 0.5))
  deviations = ranges.unscale_deviations(np.full(3, 0.1), np.full(3, -0.5))
  assert (deviations > 0.005).all()


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


def test_logarithms_of_small_proton_densities_are_refused():
  """They would end at the least that there is."""
  values = np.array([[1e-4, 800.0, 60.0], [9e-4, 1500.0, 90.0]], np.float32)
  maps = Maps.unstack(values)
  with pytest.raises(UserError, match=r"training maps: half of PD is below"):
    MapRange.of([maps], powers=(0.0, 0.0, 0.5))
  assert MapRange.of([maps]).high[0] == np.float32(9e-4)


@pytest.mark.parametrize("powers", [*POWERS, (0.0, 0.0, 0.5)])
def test_bounds_of_pd_alone_can_be_left_out(powers):
  ranges = MapRange.of([maps(1.0)], powers=powers).bounded()
  free = ranges.with_unbounded_pd()
  low, high = free.physical_bounds()
  assert (low[0], high[0]) == (-np.inf, np.inf)
  np.testing.assert_allclose(
    free.physical_bounds()[:, 1:], ranges.physical_bounds()[:, 1:]
  )
  beyond = np.array([[1.5, 1.5, -0.5]])
  assert free.unscale(beyond)[0, 0] > ranges.physical_bounds()[1, 0]
  np.testing.assert_array_equal(
    free.unscale(beyond)[0, 1:], ranges.unscale(beyond)[0, 1:]
  )
  assert ranges.unbounded().with_unbounded_pd().bounds is None
