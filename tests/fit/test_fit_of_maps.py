import numpy as np
import pytest

from mrf_jax import (
  Acquisition,
  Maps,
  simulate_fingerprints,
  sliding_window,
  tailored,
)
from mrf_jax.fit.maps import enlarged, fit_maps, quick_match
from tests.fit.examples import (
  ACQUISITION,
  VOXEL_MM,
  make_scan,
  scan,
  with_signals,
)


def fit_of(maps, subject=None):
  subject = subject or scan()
  match = quick_match(subject.acquisition, subject.signals)
  return fit_maps(match, maps, subject.mask, VOXEL_MM)


def changed(**factors):
  values = {
    name: getattr(scan().maps, name) for name in ("pd", "t1_ms", "t2_ms")
  }
  return Maps(**{n: v * factors.get(n, 1) for n, v in values.items()})


def test_true_maps_are_not_doubtful():
  fit = fit_of(scan().maps)
  assert fit.holds and not fit.is_doubtful.any()
  # 2 % of the mean magnitude in two parts, and less of the bright voxels.
  assert 0.01 < np.median(fit.residual) < 0.05
  assert np.abs(fit.t1_difference).max() < 0.1


def test_scans_of_another_b1():
  """Their true maps fit at this B1, and less at nominal flip angles."""
  b1 = np.where(np.arange(scan().n_voxels) % 2, 0.8, 1.1)
  train = ACQUISITION.sequence
  maps = scan().maps
  signals = sliding_window(
    simulate_fingerprints(train, maps.t1_ms, maps.t2_ms, b1=b1),
    window=ACQUISITION.window,
    stride=ACQUISITION.stride,
  )
  residuals = [
    fit_maps(
      quick_match(ACQUISITION, signals, **options), maps, scan().mask, VOXEL_MM
    ).residual
    for options in ({"b1": b1.astype(np.float32)}, {})
  ]
  assert np.max(residuals[0]) < 0.05
  assert np.median(residuals[1]) > 3 * np.median(residuals[0])


def test_match_is_near_the_truth():
  match = quick_match(ACQUISITION, scan().signals)
  # Atoms are 15 % apart.
  assert np.median(np.abs(np.log(match.t1_ms / scan().maps.t1_ms))) < 0.1


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_wrong_estimates_are_doubtful(factor):
  # T2 of 800 ms in a fifth of the voxels: longer ones look alike.
  for maps in (changed(t1_ms=factor), changed(t2_ms=factor**3)):
    fit = fit_of(maps)
    assert not fit.holds and fit.is_doubtful.mean() > 0.7
    assert np.median(fit.residual) > np.median(fit_of(scan().maps).residual)


def test_a_wrong_region_is_doubtful_alone():
  t1_ms = scan().maps.t1_ms.copy()
  z = np.nonzero(scan().mask)[0]
  t1_ms[z == 0] *= 3
  fit = fit_of(Maps(scan().maps.pd, t1_ms, scan().maps.t2_ms))
  assert fit.is_doubtful[z == 0].mean() > 0.9


def test_noise_of_estimates_averages_out():
  scatter = np.exp(0.3 * np.random.default_rng(0).normal(size=scan().n_voxels))
  assert (
    fit_of(changed(t1_ms=scatter.astype(np.float32))).is_doubtful.mean() < 0.02
  )


def test_scale_and_phase_of_signals_do_not_matter():
  subject = make_scan()
  wanted = fit_of(subject.maps, subject)
  match = quick_match(ACQUISITION, subject.signals * np.complex64(3e4j))
  found = fit_maps(match, subject.maps, subject.mask, VOXEL_MM)
  np.testing.assert_allclose(found.residual, wanted.residual, atol=1e-3)


def test_deviations_reach_the_match():
  maps = changed(t1_ms=3.0)
  fit = fit_of(maps)
  own = Maps(*(np.full(scan().n_voxels, 0.01, np.float32) for _ in range(3)))
  larger = enlarged(own, maps, fit)
  error = np.abs(maps.t1_ms - scan().maps.t1_ms)
  doubtful = fit.is_doubtful
  assert np.median(larger.t1_ms[doubtful] / error[doubtful]) == pytest.approx(
    1, abs=0.15
  )
  assert np.all(larger.pd[doubtful] >= own.pd[doubtful])
  true = fit_of(scan().maps)
  kept = enlarged(own, scan().maps, true)
  np.testing.assert_array_equal(kept.t1_ms, own.t1_ms)


def test_a_shift_of_the_whole_scan_is_doubtful():
  maps = changed(t1_ms=1.2)
  fit = fit_of(maps)
  # Less than a voxel needs by itself.
  assert not fit.holds and fit.is_doubtful.mean() > 0.9
  assert fit_of(changed(t1_ms=1.1)).holds


def test_voxels_of_noise_are_doubtful():
  rng = np.random.default_rng(0)
  signals = scan().signals.copy()
  shape = (len(signals[::20]), signals.shape[1])
  signals[::20] = rng.normal(size=shape) + 1j * rng.normal(size=shape)
  subject = with_signals(scan(), signals)
  match = quick_match(ACQUISITION, subject.signals)
  fit = fit_maps(match, scan().maps, subject.mask, VOXEL_MM)
  assert match.is_noise[::20].mean() > 0.9
  assert np.delete(match.is_noise, slice(None, None, 20)).sum() == 0
  own = Maps(*(np.full(scan().n_voxels, 0.01, np.float32) for _ in range(3)))
  larger = enlarged(own, scan().maps, fit)
  noise = match.is_noise
  assert np.all(larger.t1_ms[noise] >= 0.99 * scan().maps.t1_ms[noise])
  assert np.all(fit.is_doubtful[noise])


def test_a_few_images_do_not_tell_noise():
  few = Acquisition(tailored(18), 6, 6)
  rng = np.random.default_rng(0)
  noise = rng.normal(size=(50, 3)) + 1j * rng.normal(size=(50, 3))
  match = quick_match(few, noise.astype(np.complex64))
  assert match.noise_share == 0 and not match.is_noise.any()


def test_deviations_in_noise_are_as_large_as_errors():
  noisy = make_scan(noise=1.0)
  match = quick_match(ACQUISITION, noisy.signals)
  # The mean of the training, which a network makes of noise.
  n_voxels = noisy.n_voxels
  values = (np.full(n_voxels, v, np.float32) for v in (0.8, 1000.0, 80.0))
  maps = Maps(*values)
  fit = fit_maps(match, maps, noisy.mask, VOXEL_MM)
  assert not fit.holds
  own = Maps(*(np.full(n_voxels, 0.01, np.float32) for _ in range(3)))
  larger = enlarged(own, maps, fit)
  # Longer T2 are told less well.
  brain = noisy.maps.t2_ms < 300
  for name in ("t1_ms", "t2_ms"):
    error = (getattr(maps, name) - getattr(noisy.maps, name))[brain]
    deviation = getattr(larger, name)[brain]
    assert np.sqrt(np.mean(deviation**2)) > np.sqrt(np.mean(error**2))
