"""Fast spin echo signal against T2 decay and isochromats."""

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.signal.fast_spin_echo import fast_spin_echo_signal

ECHO_TRAIN = {"echo_spacing_ms": 20.0, "n_echoes": 8, "tr_ms": 1626.0}


def isochromats(t1, t2, *, refocusing_deg, b1, n_spins=400, n_trains=12):
  """The echoes of spins that dephase by whole turns between the pulses."""
  half = 10.0
  turns = np.exp(2j * np.pi * np.arange(n_spins) / n_spins)

  def relax(xy, z, time):
    return xy * np.exp(-time / t2), 1 + (z - 1) * np.exp(-time / t1)

  z = np.ones(n_spins)
  for _ in range(n_trains):
    flip = np.deg2rad(90 * b1)
    xy, z = z * np.sin(flip) + 0j, z * np.cos(flip)
    angle = np.deg2rad(refocusing_deg * b1)
    echoes = []
    for _ in range(8):
      xy, z = relax(xy * turns, z, half)
      # About the x axis, which is that of the excited magnetisation.
      y, z = (
        np.cos(angle) * xy.imag - np.sin(angle) * z,
        np.sin(angle) * xy.imag + np.cos(angle) * z,
      )
      xy = xy.real + 1j * y
      xy, z = relax(xy * turns, z, half)
      echoes.append(abs(xy.mean()))
    # Spoiling leaves only the mean of the longitudinal magnetisation.
    _, z = relax(0 * xy, np.full(n_spins, z.mean()), 1626.0 - 160.0)
  return np.array(echoes)


def test_ideal_refocusing_decays_with_t2():
  t1, t2 = np.array([685.0, 1150.0, 4500.0]), np.array([68.0, 88.0, 2000.0])
  signal = np.asarray(fast_spin_echo_signal(1.0, t1, t2, **ECHO_TRAIN))
  te = 20.0 * np.arange(1, 9)
  decay = np.exp(-(te - 20.0) / t2[:, None])
  np.testing.assert_allclose(signal, signal[:, :1] * decay, rtol=1e-5)


@pytest.mark.parametrize("refocusing_deg", [180.0, 150.0, 90.0])
@pytest.mark.parametrize("b1", [1.0, 0.85])
def test_equals_isochromats(refocusing_deg, b1):
  signal = fast_spin_echo_signal(
    2.0, [900.0], [80.0], refocusing_deg=refocusing_deg, b1=b1, **ECHO_TRAIN
  )
  expected = isochromats(900.0, 80.0, refocusing_deg=refocusing_deg, b1=b1)
  np.testing.assert_allclose(signal[0], 2 * expected, atol=1e-5)


def test_echo_train_must_fit_tr():
  with pytest.raises(UserError, match="8 echoes of 20 ms do not fit"):
    fast_spin_echo_signal(
      1.0, [900.0], [80.0], echo_spacing_ms=20.0, n_echoes=8, tr_ms=160.0
    )
