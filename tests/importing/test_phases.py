"""Phases of images, told from imaginary parts, and their unit."""

import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.importing.phases import full_turn, looks_like_phase

N_VOXELS, N_IMAGES = 3000, 60
UNITS = [
  (-np.pi, 2 * np.pi),
  (0, 2 * np.pi),
  (-180, 360),
  (-4096, 8192),
  (0, 4096),
  (-1, 2),
  (-500, 996),
  (0, 256),
]


def scan(phase, *, inversion, noise, masked):
  """Signals of which a third of the voxels have any, [voxel, image]."""
  rng = np.random.default_rng(0)
  t1 = rng.choice([800.0, 1300.0, 3500.0], (N_VOXELS, 1))
  recovery = np.exp(-50 * np.arange(N_IMAGES) / t1)
  signals = rng.uniform(0.6, 1, (N_VOXELS, 1)) * (
    1 - (1.9 if inversion else 0.7) * recovery
  )
  inside = np.arange(N_VOXELS)[:, None] < N_VOXELS // 3
  angle = {
    "none": 0.0,
    "coil": rng.uniform(-1, 1, (N_VOXELS, 1)),
    "any": rng.uniform(-np.pi, np.pi, (N_VOXELS, 1)),
    "half turn": np.pi + rng.uniform(-0.3, 0.3, (N_VOXELS, 1)),
  }[phase]
  parts = noise * rng.normal(size=(2, N_VOXELS, N_IMAGES))
  signals = inside * signals * np.exp(1j * angle) + parts[0] + 1j * parts[1]
  return np.where(inside, signals, 0) if masked else signals


def phases(signals, low, turn):
  angle = np.angle(signals)
  angle = angle % (2 * np.pi) if low == 0 else angle
  values = np.where(signals == 0, 0, turn * angle / (2 * np.pi))
  return np.floor(values) if turn > 200 and turn != 360 else values


@pytest.mark.parametrize("phase", ["none", "coil", "any", "half turn"])
@pytest.mark.parametrize("noise", [0.002, 0.02, 0.1])
@pytest.mark.parametrize("masked", [False, True])
def test_phases_in_any_unit_are_known(phase, noise, masked):
  """With an inversion, or with the noise of the background."""
  for inversion in (False, True) if not masked else (True,):
    signals = scan(phase, inversion=inversion, noise=noise, masked=masked)
    for low, turn in UNITS:
      assert looks_like_phase(np.abs(signals), phases(signals, low, turn))


@pytest.mark.parametrize("phase", ["none", "coil"])
@pytest.mark.parametrize("noise", [0.0, 0.002, 0.02])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_sound_series_above_zero_are_accepted(phase, noise, scale):
  signals = scale * scan(phase, inversion=False, noise=noise, masked=True)
  signals = np.where(signals.real >= 0, signals, 0)
  assert not looks_like_phase(signals.real, signals.imag)


def test_no_imaginary_part_is_no_phase():
  signals = scan("none", inversion=False, noise=0.02, masked=False)
  assert not looks_like_phase(np.abs(signals), np.zeros(signals.shape))
  assert not looks_like_phase(np.zeros(signals.shape), np.abs(signals))


@pytest.mark.parametrize(("low", "turn"), UNITS)
def test_unit_by_the_range_of_noise(low, turn):
  signals = scan("coil", inversion=True, noise=0.02, masked=False)
  values = phases(signals, low, turn).ravel()
  if turn in (2, 996, 256):
    with pytest.raises(UserError, match=r"p\.nii: .*--phase_turn"):
      full_turn("p.nii", values)
  else:
    assert full_turn("p.nii", values) == turn


@pytest.mark.parametrize("phase", ["none", "coil", "half turn"])
@pytest.mark.parametrize("inversion", [False, True])
def test_a_part_of_a_turn_is_not_taken_for_one(phase, inversion):
  """What a mask leaves of the phases, without noise, is asked about."""
  signals = scan(phase, inversion=inversion, noise=0, masked=True)
  for low, turn in UNITS:
    with pytest.raises(UserError, match="--phase_turn"):
      full_turn("p.nii", phases(signals, low, turn).ravel())
