"""Fits of T1 and T2 against the truth, and with noise against SciPy."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

from mrf_jax.errors import UserError
from mrf_jax.relaxometry import fits
from mrf_jax.relaxometry.fits import fit_t2, fit_vfa_t1
from tests.laws import check_blocks
from tests.relaxometry.examples import spgr

FLIPS_DEG = np.array([1.0, 2.0, 5.0, 8.0, 11.0, 14.0, 25.0])
TR_MS = 5.85
TE_MS = np.arange(20.0, 161.0, 20.0)


def _spgr(m0, t1_ms, flips_deg=FLIPS_DEG):
  return spgr(m0, t1_ms, flips_deg, TR_MS)


def _echoes(s0, t2_ms):
  """Mono-exponential decay in float64, [voxel, echo]."""
  return np.asarray(s0)[..., None] * np.exp(
    -TE_MS / np.asarray(t2_ms)[..., None]
  )


def _scipy_fit(model, signals, time_ms, bounds_ms):
  """Least squares of each voxel by SciPy from its time, (a, t) [voxel]."""
  fits = [
    least_squares(
      lambda q, s=s: model(q[0], q[1]) - s,
      (1.0, t),
      bounds=([-np.inf, bounds_ms[0]], [np.inf, bounds_ms[1]]),
      x_scale=(1.0, t),
      xtol=1e-12,
      ftol=1e-12,
      gtol=1e-12,
    ).x
    for s, t in zip(signals, time_ms, strict=True)
  ]
  return np.array(fits).T


fit_t1 = functools.partial(fit_vfa_t1, flip_angles_deg=FLIPS_DEG, tr_ms=TR_MS)
fit_line = functools.partial(fit_t1, method="linear")
fit_echoes = functools.partial(fit_t2, te_ms=TE_MS)


@pytest.mark.parametrize(
  ("signal", "fit", "time_range_ms"),
  [
    (_spgr, fit_t1, (100, 5000)),
    (_spgr, fit_line, (100, 5000)),
    (_echoes, fit_echoes, (10, 2500)),
  ],
  ids=["nonlinear", "linear", "t2"],
)
def test_times_of_clean_signals(signal, fit, time_range_ms):
  time_ms = np.geomspace(*time_range_ms, 200)
  amplitude = np.geomspace(1e-3, 1e7, 200)
  amplitude_fit, time_fit = fit(signal(amplitude, time_ms))
  assert amplitude_fit.dtype == time_fit.dtype == np.float32
  np.testing.assert_allclose(time_fit, time_ms, rtol=1e-6)
  np.testing.assert_allclose(amplitude_fit, amplitude, rtol=1e-6)


@pytest.mark.parametrize("fit", [fit_t1, fit_line])
def test_b1_corrects_t1(fit):
  t1_ms = np.linspace(300, 3000, 60)
  b1 = np.linspace(0.8, 1.2, 60)
  signals = _spgr(np.ones(60), t1_ms, FLIPS_DEG * b1[:, None])
  _, corrected = fit(signals, b1=b1)
  _, blind = fit(signals)
  np.testing.assert_allclose(corrected, t1_ms, rtol=1e-6)
  # Flip angles too large by 1/b1 scale T1 by b1², to first order.
  np.testing.assert_allclose(blind, t1_ms * b1**2, rtol=0.03)


@pytest.mark.parametrize(
  ("signal", "fit", "time_range_ms", "bounds_ms", "noise"),
  [
    (_spgr, fit_t1, (300, 4500), (50, 8000), 2e-3),
    (_echoes, fit_echoes, (20, 1500), (5, 4000), 0.02),
  ],
  ids=["t1", "t2"],
)
def test_noisy_times_agree_with_scipy(
  signal, fit, time_range_ms, bounds_ms, noise
):
  rng = np.random.default_rng(1)
  time_ms = rng.uniform(*time_range_ms, 100)
  signals = signal(np.ones(100), time_ms)
  signals += rng.normal(0, noise, signals.shape)
  amplitude_fit, time_fit = fit(signals)
  amplitude_ref, time_ref = _scipy_fit(signal, signals, time_ms, bounds_ms)
  assert np.std(time_fit / time_ms) > 0.03  # the noise matters
  np.testing.assert_allclose(time_fit, time_ref, rtol=1e-5)
  np.testing.assert_allclose(amplitude_fit, amplitude_ref, rtol=1e-5)


def test_linear_t1_equals_polyfit():
  rng = np.random.default_rng(5)
  signals = _spgr(np.ones(50), rng.uniform(300, 3000, 50))
  signals += rng.normal(0, 1e-3, signals.shape)
  b1 = rng.uniform(0.8, 1.2, 50)
  m0, t1_ms = fit_line(signals, b1=b1)
  for voxel in range(50):
    a = np.deg2rad(FLIPS_DEG) * b1[voxel]
    s = signals[voxel]
    e1, intercept = np.polyfit(s / np.tan(a), s / np.sin(a), 1)
    assert t1_ms[voxel] == pytest.approx(-TR_MS / np.log(e1), rel=1e-6)
    assert m0[voxel] == pytest.approx(intercept / (1 - e1), rel=1e-6)
  _, nonlinear = fit_t1(signals, b1=b1)
  assert np.median(np.abs(t1_ms / nonlinear - 1)) > 0.01  # not the same fit


def test_line_without_t1_is_bounded():
  a = np.deg2rad(FLIPS_DEG)
  # S / sin(a) = 2 + e1 S / tan(a), where no T1 has this e1.
  e1 = np.array([-0.5, 1.5])[:, None]
  signals = 2 * np.sin(a) / (1 - e1 * np.cos(a))
  m0, t1_ms = fit_line(signals)
  np.testing.assert_allclose(t1_ms, [50, 8000], rtol=1e-6)
  # M0 is the mean of the values from each flip angle at that T1.
  e1 = np.exp(-TR_MS / t1_ms.astype(float))[:, None]
  each = (signals / np.sin(a) - e1 * signals / np.tan(a)) / (1 - e1)
  np.testing.assert_allclose(m0, each.mean(1), rtol=1e-4)


@pytest.mark.parametrize(
  "signals",
  [
    np.zeros((3, 8)),
    np.ones((3, 8)),
    -np.ones((3, 8)),
    np.eye(8),
    np.linspace(1, 3, 8)[None],
    np.random.default_rng(0).normal(size=(500, 8)),
    np.random.default_rng(1).normal(size=(500, 8)) * 1e-30,
    np.random.default_rng(2).normal(size=(500, 8)) * 1e30,
  ],
  ids="zero one minus impulse rising noise tiny huge".split(),
)
def test_meaningless_voxels_stay_in_bounds(signals):
  flips = np.linspace(2, 25, 8)

  def beside_an_object(fit, sound, **options):
    # Alone, most of the signal at a bound would be an error.
    strong = 1e3 * max(np.abs(signals).max(), 1.0) * sound
    found = fit(np.concatenate([signals, strong]), **options)
    return tuple(values[: len(signals)] for values in found)

  times_ms = np.linspace(100, 1000, 20)
  spoiled = _spgr(np.ones(20), times_ms, flips)
  fits = (
    (*beside_an_object(fit_t1, spoiled, flip_angles_deg=flips), 50, 8000),
    (*beside_an_object(fit_line, spoiled, flip_angles_deg=flips), 50, 8000),
    (*beside_an_object(fit_echoes, _echoes(np.ones(20), times_ms)), 5, 4000),
  )
  for amplitude, time_ms, least, greatest in fits:
    assert np.all(np.isfinite(amplitude))
    assert np.all((time_ms >= least) & (time_ms <= greatest))
    if not signals.any():
      assert not amplitude.any()


def test_float32_returns_after_the_fit():
  fit_echoes(_echoes(np.ones(3), np.full(3, 80.0)))
  assert jnp.asarray(1.0).dtype == np.float32


def test_voxels_are_independent():
  signals = _echoes(np.ones(3), np.array([40.0, 80.0, 120.0]))
  signals[1] = 0
  _, t2_fit = fit_echoes(signals)
  np.testing.assert_allclose(t2_fit[[0, 2]], [40, 120], rtol=1e-5)


def test_amplitude_fits_t2_of_a_bound():
  signals = _echoes(np.ones(1), np.array([1000.0]))
  s0_fit, t2_fit = fit_echoes(signals, bounds_ms=(10, 300))
  decay = _echoes(1.0, 300.0)
  assert t2_fit[0] == pytest.approx(300, rel=1e-5)
  assert s0_fit[0] == pytest.approx(
    (decay @ signals[0]) / (decay @ decay), rel=1e-5
  )


def test_blocks_change_nothing(monkeypatch):
  rng = np.random.default_rng(3)
  signals = _echoes(np.ones(333), rng.uniform(20, 300, 333))
  signals += rng.normal(0, 0.01, signals.shape)
  check_blocks(
    lambda: fit_echoes(signals)[1],
    monkeypatch,
    [(fits, "_CPU_BLOCK", 64), (fits, "_ACCELERATOR_BLOCK", 64)],
    rel=1e-6,
  )


def test_no_voxels():
  s0_fit, t2_fit = fit_echoes(np.zeros((0, 8)))
  assert s0_fit.shape == t2_fit.shape == (0,)


NAN = np.ones((4, 7))
NAN[1, 2] = NAN[3, 0] = np.nan


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"signals": np.ones(7)}, r"shape \(7,\)"),
    ({"signals": np.ones((4, 6))}, r"shape \(4, 6\).*\(7,\)"),
    ({"signals": NAN}, r"signals: 2 values are NaN.*first at \[1, 2\]"),
    ({"signals": np.ones((4, 7), complex)}, "complex"),
    ({"b1": np.ones(3)}, r"b1 has shape \(3,\)"),
    ({"b1": np.array([1, 1, -2, 1])}, r"b1 .*not -2 at \[2\]"),
    ({"method": "novifast"}, "'novifast' is not one of nonlinear, linear"),
    ({"b1": np.full(4, 9.0)}, "b1 is 9; a factor on the flip angle"),
    ({"flip_angles_deg": np.linspace(8, 200, 7)}, "200°.*below 180"),
    ({"tr_ms": 0.0}, "tr_ms must be positive, not 0$"),
    ({"tr_ms": np.ones(7)}, "not one value"),
    ({"bounds_ms": (100, 50)}, "bounds_ms"),
    ({"flip_angles_deg": np.zeros(7)}, "two different"),
    ({"flip_angles_deg": np.arange(7)}, "flip_angles_deg must be positive"),
  ],
)
def test_t1_arguments_are_checked(changes, message):
  with pytest.raises(UserError, match=message):
    fit_t1(**{"signals": np.ones((4, 7)), **changes})


@pytest.mark.parametrize(
  ("signals", "te_ms", "message"),
  [
    (np.ones((4, 7)), TE_MS, r"shape \(4, 7\)"),
    (np.full((4, 8), np.nan), TE_MS, "signals: 32 values are NaN"),
    (np.ones((4, 8)), -TE_MS, "te_ms must be positive"),
    (np.ones((4, 1)), TE_MS[:1], "two different echo times"),
  ],
)
def test_t2_arguments_are_checked(signals, te_ms, message):
  with pytest.raises(UserError, match=message):
    fit_t2(signals, te_ms=te_ms)


def _t1_of(signals, **changes):
  return fit_t1(signals, **changes)[1]


T1_MS = np.linspace(300, 3000, 60)
T2_MS = np.linspace(30, 300, 60)


@pytest.mark.parametrize(
  ("fit", "message"),
  [
    # Beyond what an argument tells by itself.
    (
      lambda: _t1_of(
        _spgr(np.ones(60), T1_MS, 4 * FLIPS_DEG),
        flip_angles_deg=np.deg2rad(4 * FLIPS_DEG),
      ),
      r"T1 is at its bound of 8000 ms in 100% .*radians",
    ),
    (
      lambda: _t1_of(
        _spgr(np.ones(60), T1_MS, 4 * FLIPS_DEG)[:, ::-1],
        flip_angles_deg=4 * FLIPS_DEG,
      ),
      "T1 is at its bound .* the flip angles are in the reverse order",
    ),
    (
      lambda: _t1_of(_spgr(np.ones(60), T1_MS), bounds_ms=(0.05, 8.0)),
      "T1 is at its bound of 8 ms .* if bounds_ms is in seconds",
    ),
    (
      lambda: fit_echoes(
        _echoes(np.ones(60), 10 * T2_MS), te_ms=1e3 * 0.03 * TE_MS
      ),
      "T2 is at its bound of 4000 ms .* if te_ms is in µs",
    ),
    (
      lambda: fit_echoes(_echoes(np.ones(60), T2_MS)[:, ::-1]),
      "T2 is at its bound of 4000 ms .* in the reverse order",
    ),
    (
      lambda: fit_echoes(np.ones((60, 8))),
      "T2 is at its bound of 4000 ms in 100% of the signal: its units, its",
    ),
  ],
  ids="radians flips bounds microseconds echoes flat".split(),
)
def test_most_of_the_signal_at_a_bound(fit, message):
  with pytest.raises(UserError, match=message):
    fit()


def test_fluids_and_noise_may_be_at_a_bound():
  """A third of the voxels fluid, and four times as many of background."""
  rng = np.random.default_rng(4)
  t2_ms = np.where(np.arange(90) < 30, 6000.0, 80.0)
  signals = np.concatenate([_echoes(np.ones(90), t2_ms), np.zeros((360, 8))])
  signals = np.abs(signals + rng.normal(0, 0.05, signals.shape))
  _, found = fit_echoes(signals)
  assert np.mean((found == 5) | (found == 4000)) > 0.25
  np.testing.assert_allclose(np.median(found[30:90]), 80, rtol=0.05)


def test_voxels_one_by_one_may_be_at_a_bound():
  _, found = fit_echoes(_echoes(np.ones(3), np.full(3, 1e5)))
  assert np.all(found == 4000)


def test_narrow_bounds_are_meant():
  _, found = fit_echoes(_echoes(np.ones(60), T2_MS), bounds_ms=(50, 80))
  assert np.mean((found == 50) | (found == 80)) > 0.8
