"""Cramér–Rao bounds against least squares, and how they change."""

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence.schedules import tailored
from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.cramer_rao import cramer_rao_bounds
from mrf_jax.signal.fingerprints import simulate_fingerprints

SEQUENCE = tailored(120)
PD, T1, T2, SD = 0.8, 900.0, 80.0, 1e-4


def windows(parameters, *, window, stride):
  """Complex signals of (PD, phase, T1, T2), double precision."""
  pd, phase, t1, t2 = parameters.T
  echoes = simulate_fingerprints(
    SEQUENCE, t1, t2, dtype=np.float64, n_states=61
  )
  signals = (pd * np.exp(1j * phase))[:, None] * echoes
  return sliding_window(signals, window=window, stride=stride)


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (24, 1), (24, 7)])
def test_least_squares_reaches_the_bound(window, stride):
  bound = cramer_rao_bounds(
    SEQUENCE, [T1], [T2], pd=PD, noise_sd=SD, window=window, stride=stride
  )
  # Weighted least squares at tiny noise is linear, unbiased and efficient.
  truth = np.array([[PD, 0.3, T1, T2]])
  step = 1e-4 * np.diag([PD, 1.0, T1, T2])
  options = {"window": window, "stride": stride}
  slopes = (
    windows(truth + step, **options) - windows(truth - step, **options)
  ) / (2 * np.diag(step)[:, None])
  rng = np.random.default_rng(0)
  n = 4000
  frames = rng.normal(size=(2, n, SEQUENCE.n_frames)) * SD * np.sqrt(window)
  noise = sliding_window(frames[0] + 1j * frames[1], **options)
  assert noise.real.std() == pytest.approx(SD, rel=0.05)
  weights = sliding_window(np.eye(SEQUENCE.n_frames), **options)
  inverse = np.linalg.pinv(weights.T @ weights, rcond=1e-10)
  information = (slopes.conj() @ inverse @ slopes.T).real
  errors = (noise @ inverse @ slopes.conj().T).real @ np.linalg.inv(information)
  for (least,), spread in zip(
    (bound.pd, bound.t1_ms, bound.t2_ms), errors.std(0)[[0, 2, 3]], strict=True
  ):
    assert spread == pytest.approx(least, rel=0.05)


def test_windows_and_unknown_b1_cost():
  atoms = {"t1_ms": [700.0, 4500.0], "t2_ms": [70.0, 2000.0]}
  frames = cramer_rao_bounds(SEQUENCE, **atoms, noise_sd=SD * 24**0.5)
  all_windows = cramer_rao_bounds(SEQUENCE, **atoms, noise_sd=SD, window=24)
  some = cramer_rao_bounds(SEQUENCE, **atoms, noise_sd=SD, window=24, stride=9)
  unknown = cramer_rao_bounds(
    SEQUENCE, **atoms, noise_sd=SD, window=24, stride=9, b1_known=False
  )
  order = [frames, all_windows, some, unknown]
  for name in ("pd", "t1_ms", "t2_ms"):
    values = np.stack([getattr(bound, name) for bound in order])
    assert np.all(np.diff(values, axis=0) > 0), name


def test_bounds_scale_with_noise_and_pd():
  bound = cramer_rao_bounds(
    SEQUENCE, [T1, T1, T1], T2, pd=[1.0, 1.0, 0.5], noise_sd=[SD, 2 * SD, SD]
  )
  assert bound.t1_ms[1] == pytest.approx(2 * bound.t1_ms[0])
  assert bound.t1_ms[2] == pytest.approx(2 * bound.t1_ms[0])
  assert bound.pd[2] == pytest.approx(bound.pd[0])


def test_undetermined_parameters_are_unbounded():
  # One frame cannot tell three numbers apart.
  sequence = make_sequence([30.0], 12.0, 2.0)
  bound = cramer_rao_bounds(sequence, [T1], [T2], noise_sd=SD)
  assert np.isinf([bound.pd[0], bound.t1_ms[0], bound.t2_ms[0]]).all()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"noise_sd": 0.0}, r"noise_sd\[0\] is 0"),
    ({"pd": [1.0, -1.0]}, r"pd\[1\] is -1"),
    ({"window": 200}, "window 200 and stride 1 do not fit 120 frames"),
    ({"stride": 0}, "stride 0"),
    ({"b1": [1.0, 1.0, 1.0]}, "shapes"),
    ({"t2_ms": [50.0, 1000.0]}, r"t2_ms\[1\]"),
  ],
)
def test_impossible_arguments_are_named(change, message):
  arguments = {"t1_ms": [900.0, 800.0], "t2_ms": 80.0, "noise_sd": SD}
  with pytest.raises(UserError, match=message):
    cramer_rao_bounds(SEQUENCE, **{**arguments, **change})
