"""Standardisation of signals, by a scan itself and by training scans."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax.dataset.signal_reference import SignalReference, scan_level
from mrf_jax.dataset.standardise import (
  SIGNAL_NORMALISATIONS,
  SignalStatistics,
  normalise_signals,
)
from mrf_jax.errors import UserError
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


def reference(n_frames, seed=5):
  """Of fingerprints that are mostly constant."""
  noise = 0.1 * complex_noise(2, n_frames, seed=seed)
  rows = np.complex64(1 / n_frames) * (1 + noise)
  return SignalReference(*rows)


def scans(n_scans=3, n_voxels=300, n_frames=6):
  """Fingerprints of one sign, of other phases and levels from scan to scan."""
  rng = np.random.default_rng(2)
  for k in range(n_scans):
    values = 3 + np.arange(n_frames) + rng.normal(size=(n_voxels + k, n_frames))
    phases = np.exp(1j * (k + 0.3 * rng.normal(size=(n_voxels + k, 1))))
    yield (2.0**k * values * phases).astype(np.complex64)


def turned(signals, known):
  """Signals of one phase and of level one, by their definition."""
  products = signals.astype(np.complex128) @ known.phase.conj()
  levels = np.abs(signals.astype(np.complex128) @ known.level.conj())
  return signals * np.exp(-1j * np.angle(products))[:, None] / np.median(levels)


@pytest.mark.parametrize("per", ["frame", "subject"])
def test_training_scans_have_zero_mean_and_unit_variance_together(per):
  known, own = reference(6), list(scans())
  parts = [SignalStatistics.of_scan(x, per=per, reference=known) for x in own]
  statistics = SignalStatistics.pooled(parts)
  values = [normalise_signals(x, per=per, statistics=statistics) for x in own]
  axis = 0 if per == "frame" else None
  together = np.concatenate(values)
  np.testing.assert_allclose(together.mean(axis), 0, atol=1e-5)
  variance = np.mean(together**2, axis)
  if per == "frame":  # of both parts of a frame
    variance = (variance[:6] + variance[6:]) / 2
  np.testing.assert_allclose(variance, 1, atol=1e-4)
  expected = np.concatenate([turned(x, known) for x in own])
  expected = np.concatenate([expected.real, expected.imag], 1)
  mean, scale = expected.mean(axis), expected.std(axis)
  if per == "frame":
    scale = np.sqrt(np.mean(scale.reshape(2, 6) ** 2, 0))
    scale = np.concatenate([scale, scale])
  # The level is the median but for voxels far from it.
  np.testing.assert_allclose(together, (expected - mean) / scale, atol=0.1)


def test_one_voxel_is_the_same_in_any_mask():
  """Alone among others of its tissue, or with them all."""
  known, (scan, *others) = reference(6), scans()
  parts = [
    SignalStatistics.of_scan(x, per="frame", reference=known) for x in others
  ]
  statistics = SignalStatistics.pooled(parts)
  whole = normalise_signals(scan, per="frame", statistics=statistics)
  part = normalise_signals(scan[:100], per="frame", statistics=statistics)
  np.testing.assert_allclose(part, whole[:100], atol=0.1)
  # Of voxels whose last frame is dark: their own mean is another.
  dark = np.argsort(np.abs(scan[:, -1]))[:100]
  part = normalise_signals(scan[dark], per="frame", statistics=statistics)
  np.testing.assert_allclose(part, whole[dark], atol=0.4)
  own = normalise_signals(scan[dark], per="frame")
  other = normalise_signals(scan, per="frame")[dark]
  assert np.abs(own - other).max() > 0.8


@pytest.mark.parametrize("factor", [1e-20, 0.3, 1e15, 2 * np.exp(2.2j)])
def test_gain_and_phase_of_a_scan_do_not_matter(factor):
  known, (scan, other, _) = reference(6), scans()
  statistics = SignalStatistics.of_scan(other, per="frame", reference=known)
  changed = (scan * factor).astype(np.complex64)
  np.testing.assert_allclose(
    normalise_signals(changed, per="frame", statistics=statistics),
    normalise_signals(scan, per="frame", statistics=statistics),
    atol=2e-4,
  )


@pytest.mark.parametrize("per", ["frame", "subject"])
def test_one_table_serves_statistics_of_each_fold(per):
  known, own = reference(6), list(scans())
  parts = [SignalStatistics.of_scan(x, per=per, reference=known) for x in own]
  together, fold = (SignalStatistics.pooled(x) for x in (parts, parts[1:]))
  shift, factor = together.scale_to(fold)
  table = normalise_signals(own[0], per=per, statistics=together)
  np.testing.assert_allclose(
    (table - shift) * factor,
    normalise_signals(own[0], per=per, statistics=fold),
    atol=1e-4,
  )


def test_statistics_of_components():
  known, (scan, *_) = reference(6), scans()
  basis = np.linalg.qr(complex_noise(6, 6))[0].astype(np.complex64)
  own = known.of_components(basis)
  np.testing.assert_allclose(
    own.gains(scan @ basis), known.gains(scan), rtol=1e-4
  )


@pytest.mark.parametrize("n_air", [0, 4000, 60_000])
def test_level_is_that_of_the_tissue(n_air):
  """With skin, and with air that may be most of the mask."""
  rng = np.random.default_rng(0)
  tissue = rng.normal(1, 0.12, 6000)
  skin, air = rng.uniform(1.5, 6, 500), rng.rayleigh(0.03, n_air)
  others = [0.0, 0.0, np.inf]
  level = scan_level(np.concatenate([tissue, skin, air, others]))
  assert level == pytest.approx(1, rel=0.03)
  in_jax = scan_level(jnp.concatenate([tissue, skin, air, np.array(others)]))
  assert float(in_jax) == pytest.approx(float(level), rel=1e-3)


def test_level_of_few_voxels():
  rng = np.random.default_rng(0)
  for part in (rng.normal(1, 0.1, n) for n in (1, 2, 5)):
    assert part.min() <= scan_level(part) <= part.max()
  assert scan_level(np.repeat(0.7, 9)) == pytest.approx(0.7)
  assert scan_level(np.zeros(4)) == 1


def test_level_does_not_jump_between_tissues():
  rng = np.random.default_rng(0)
  bright, dark = (x * rng.normal(1, 0.05, 1000) for x in (1.25, 1.0))
  levels = [
    scan_level(np.concatenate([bright, dark[:n]])) for n in (950, 1000, 1050)
  ]
  bright = np.concatenate([bright, bright[:50]])
  levels.append(scan_level(np.concatenate([bright, dark])))
  assert np.ptp(levels) < 0.06


def test_fingerprints_by_themselves_have_no_statistics():
  known, (scan, *_) = reference(6), scans()
  statistics = SignalStatistics.of_scan(scan, per="frame", reference=known)
  np.testing.assert_array_equal(
    normalise_signals(scan, per="voxel", statistics=statistics),
    normalise_signals(scan, per="voxel"),
  )
  with pytest.raises(ValueError, match="no common statistics"):
    SignalStatistics.of_scan(scan, per="voxel", reference=known)


def test_a_voxel_without_signal_is_the_same_in_any_scan():
  known, (scan, other, _) = reference(6), scans()
  statistics = SignalStatistics.of_scan(other, per="frame", reference=known)
  scan[3] = 0
  shift, factor = statistics.shift_and_factor()
  np.testing.assert_allclose(
    normalise_signals(scan, per="frame", statistics=statistics)[3],
    -shift * factor,
    rtol=1e-5,
  )


def test_scans_without_signal_stay_zero():
  known = reference(6)
  gains = known.gains(np.zeros((5, 6), np.complex64))
  np.testing.assert_array_equal(gains, 1)


def test_constant_columns_are_zero():
  known, (scan, *_) = reference(6), scans()
  statistics = SignalStatistics.of_scan(scan, per="frame", reference=known)
  flat = dataclasses.replace(statistics, variance=np.zeros(12))
  values = normalise_signals(scan, per="frame", statistics=flat)
  assert np.isfinite(values).all()
