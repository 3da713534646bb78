"""Phase and level of a sequence's fingerprints, in tissue and in scans."""

import numpy as np
import pytest

import mrf_jax
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.simulation.signal_reference import make_signal_reference
from mrf_jax.simulation.tissue import BRAIN_AT_1_5T

ACQUISITION = mrf_jax.Acquisition(mrf_jax.tailored(480), window=24, stride=8)


@pytest.fixture(scope="module")
def reference():
  return make_signal_reference(ACQUISITION)


def windows(t1_ms, t2_ms, pd):
  frames = mrf_jax.simulate_fingerprints(ACQUISITION.sequence, t1_ms, t2_ms)
  images = sliding_window(
    frames, window=ACQUISITION.window, stride=ACQUISITION.stride
  )
  return images * np.asarray(pd, np.float32)[:, None]


def test_tissues_and_their_mixtures_have_one_level(reference):
  t1_ms, t2_ms, pd = np.array(list(BRAIN_AT_1_5T.values())).T
  pure = windows(t1_ms, t2_ms, pd)
  shares = np.random.default_rng(0).dirichlet(np.ones(3), 200)
  signals = np.concatenate([pure, shares.astype(np.float32) @ pure])
  levels = np.abs(signals @ reference.filters()[:, 1])
  np.testing.assert_allclose(levels, 1, atol=0.05)
  norms = np.linalg.norm(pure, axis=1)
  assert norms.max() / norms.min() > 1.3


@pytest.mark.parametrize(
  ("sequence", "window", "stride"),
  [
    (mrf_jax.tailored(480), 24, 8),
    (mrf_jax.tailored(100), 1, 1),
    (mrf_jax.jiang_type(500), 24, 8),
    # All of long T1 are negative, those of short T1 positive.
    (
      mrf_jax.make_sequence(
        np.full(60, 15.0), 10.0, 2.0, inversion_time_ms=20.0
      ),
      6,
      2,
    ),
  ],
  ids="tailored frames jiang short".split(),
)
def test_fingerprints_of_any_matter_have_one_phase(sequence, window, stride):
  """Also between the atoms that the phase is made for."""
  acquisition = mrf_jax.Acquisition(sequence, window=window, stride=stride)
  rng = np.random.default_rng(0)
  t1_ms = np.exp(rng.uniform(np.log(110), np.log(5000), 200))
  t2_ms = np.maximum(t1_ms * rng.uniform(0.03, 0.7, 200), 10)
  signals = mrf_jax.simulate_fingerprints(sequence, t1_ms, t2_ms)
  signals = sliding_window(signals, window=window, stride=stride)
  products = signals @ make_signal_reference(acquisition).filters()[:, 0]
  margins = products.real / np.linalg.norm(signals, axis=1)
  assert margins.min() > 0.15
  np.testing.assert_allclose(np.angle(products), 0, atol=0.01)


def test_a_part_of_a_head_has_the_level_of_the_head():
  """A simulated one, with all errors of a scan."""
  head = mrf_jax.simulate_head(ACQUISITION, matrix=48, n_coils=4, seed=3)
  gains_of = make_signal_reference(ACQUISITION).gains
  whole = np.abs(gains_of(head.signals)).max()
  is_white = head.maps.t1_ms < 850
  is_grey = (head.maps.t1_ms > 950) & (head.maps.t1_ms < 1600)
  left = np.argwhere(head.mask)[:, 2] < 24
  for part in (is_white, is_grey, left):
    assert part.sum() > 100
    level = np.abs(gains_of(head.signals[part])).max()
    assert level == pytest.approx(whole, rel=0.05)
