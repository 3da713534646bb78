"""Our own schedules, and the checks of a pulse sequence."""

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence.schedules import rf_spoiling_phases_deg, tailored
from mrf_jax.sequence.sequence import make_sequence


def test_tailored_has_four_blocks():
  sequence = tailored(720)
  assert sequence.n_frames == 720
  assert sequence.inversion_time_ms == 20.0
  assert sequence.has_constant_phase
  flips = sequence.flip_angles_deg
  for frames, peak in (
    (slice(0, 80), 35),
    (slice(80, 200), 45),
    (slice(200, 440), 75),
    (slice(520, 720), 75),
  ):
    assert flips[frames].max() == pytest.approx(peak, abs=0.1)
  np.testing.assert_allclose(flips[440:520], 6.0)
  # Slow enough for a 48-frame window: no jump above the slope of the lobes.
  assert np.abs(np.diff(flips)).max() < 1.6


@pytest.mark.parametrize("n_frames", [18, 96, 500])
def test_tailored_keeps_its_shares(n_frames):
  assert tailored(n_frames).n_frames == n_frames
  assert tailored(n_frames).flip_angles_deg.min() >= 6.0


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"tr_ms": [9, 9, 9]}, "tr_ms"),
    (
      {"flip_angles_deg": [1, np.nan]},
      r"flip_angles_deg\[1\] is nan°, not finite",
    ),
    ({"tr_ms": 1.5}, r"te_ms\[0\] is 2 ms, not shorter than its TR"),
    ({"tr_ms": [9, -3]}, r"tr_ms\[1\] is -3 ms, not positive"),
    ({"tr_ms": [12, 1e300]}, r"tr_ms\[1\] is 1e\+300 ms, longer than"),
    ({"flip_angles_deg": []}, "no frames"),
    ({"saturation_time_ms": -1}, "saturation_time_ms is -1"),
    ({"inversion_time_ms": 1e300}, "inversion_time_ms is 1e"),
    (
      {"inversion_time_ms": 20, "saturation_time_ms": 10},
      "inversion_time_ms is 20 and saturation_time_ms is 10",
    ),
  ],
)
def test_impossible_sequences_are_named(arguments, message):
  sound = {"flip_angles_deg": [1, 2], "tr_ms": 9, "te_ms": 2.0}
  with pytest.raises(UserError, match=message):
    make_sequence(**sound | arguments)


def test_rf_spoiling_phases_are_quadratic():
  phases = rf_spoiling_phases_deg(6)
  assert phases[0] == 0
  turns = np.diff(phases, 2) - 117  # the phase differences grow by 117°
  np.testing.assert_allclose(np.mod(turns + 180, 360), 180, atol=1e-9)
