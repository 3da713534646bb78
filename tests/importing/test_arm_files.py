"""Trajectories in files of their own, and gradients that are late."""

import mrd_files
import numpy as np
import pypulseq
import pytest
import scipy.io
from test_arms import (
  ACQUISITION,
  MATRIX,
  SPIRAL,
  acquisitions,
  disc,
)

from mrf_jax import UserError
from mrf_jax.importing.arm_files import assign_arms, delayed, read_arms
from mrf_jax.importing.raw import RawSeries
from mrf_jax.kspace.encoding import NufftEncoding
from mrf_jax.sequence.pulseq_trajectory import pulseq_trajectory

N_SAMPLES = SPIRAL.trajectory.shape[1]
SYSTEM = pypulseq.Opts()


def stored(folder, kind, arms=SPIRAL.trajectory):
  """A file of arms [arm, sample, 2]."""
  path = folder / f"arms.{kind}"
  if kind == "npy":
    np.save(path, arms)
  elif kind == "npz":
    np.savez(path, density=np.ones(3), arms=arms)
  elif kind == "mat":
    # As MATLAB users have it: [2, sample, arm].
    scipy.io.savemat(path, {"arms": arms.transpose(2, 1, 0)})
  else:
    np.savetxt(path, arms.reshape(-1, 2), header="kx ky")
  return path


@pytest.mark.parametrize("kind", ["npy", "npz", "mat", "txt"])
def test_files_of_arms(kind, tmp_path):
  arms, unit = read_arms(stored(tmp_path, kind), n_samples=N_SAMPLES)
  np.testing.assert_allclose(arms, SPIRAL.trajectory, atol=1e-6)
  assert unit is None


@pytest.mark.parametrize(
  "change",
  [
    lambda x: x[..., 0] + 1j * x[..., 1],
    lambda x: (x[..., 0] + 1j * x[..., 1]).T,
    lambda x: np.moveaxis(x, -1, 0),
    lambda x: np.concatenate([x, 0 * x[..., :1]], -1),
  ],
  ids=["complex", "complex, turned", "coordinates first", "flat along z"],
)
def test_other_orders_of_the_axes(change, tmp_path):
  path = stored(tmp_path, "npy", change(SPIRAL.trajectory))
  arms, _ = read_arms(path, n_samples=N_SAMPLES)
  np.testing.assert_allclose(arms, SPIRAL.trajectory, atol=1e-6)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda x: x[:, 1:], r"of shape \(4, 319, 2\), but .* have 320 samples"),
    (lambda x: x[..., 0], r"none of whose outer axes is kx and ky"),
    (lambda x: np.concatenate([x, x[..., :1]], -1), "three-dimensional"),
    (lambda x: x * np.nan, "positions that are not finite"),
  ],
)
def test_other_files_are_refused(change, words, tmp_path):
  path = stored(tmp_path, "npy", change(SPIRAL.trajectory))
  with pytest.raises(UserError, match=rf"arms\.npy: .*{words}"):
    read_arms(path, n_samples=N_SAMPLES)
  text = tmp_path / "arms.txt"
  text.write_text("kx ky\n0 0\n")
  with pytest.raises(UserError, match="no text of two columns of numbers"):
    read_arms(text, n_samples=N_SAMPLES)


@pytest.mark.parametrize(
  ("shape", "words"),
  [
    ((2, 320, 2), "is its first or its last axis kx and ky"),
    ((3, 320, 4, 2), "arms along one axis are needed"),
  ],
)
def test_axes_that_may_be_others(shape, words, tmp_path):
  path = stored(tmp_path, "npy", np.ones(shape, np.float32))
  with pytest.raises(UserError, match=words):
    read_arms(path, n_samples=320)


def test_three_arms_are_no_coordinates(tmp_path):
  arms = SPIRAL.trajectory[:3].transpose(2, 1, 0)  # [2, sample, arm]
  found, _ = read_arms(stored(tmp_path, "npy", arms), n_samples=N_SAMPLES)
  np.testing.assert_allclose(found, SPIRAL.trajectory[:3], atol=1e-6)


def test_samples_to_discard(tmp_path):
  padded = np.pad(SPIRAL.trajectory, ((0, 0), (5, 3), (0, 0)))
  path = stored(tmp_path, "npy", padded)
  found, _ = read_arms(path, n_samples=N_SAMPLES, discarded=(5, 3))
  np.testing.assert_array_equal(found, SPIRAL.trajectory)
  found, _ = read_arms(
    stored(tmp_path, "npy"), n_samples=N_SAMPLES, discarded=(5, 3)
  )
  np.testing.assert_array_equal(found, SPIRAL.trajectory)
  path = stored(tmp_path, "npy", padded)
  with pytest.raises(UserError, match="320 samples, 330 with those to discard"):
    read_arms(path, n_samples=N_SAMPLES, discarded=(5, 5))
  with pytest.raises(UserError, match="other samples to discard than others"):
    read_arms(path, n_samples=N_SAMPLES, discarded=None)


def test_a_single_complex_array_needs_no_name(tmp_path):
  values = SPIRAL.trajectory[..., 0] + 1j * SPIRAL.trajectory[..., 1]
  scipy.io.savemat(tmp_path / "k.mat", {"k": values})
  found, _ = read_arms(tmp_path / "k.mat", n_samples=N_SAMPLES)
  np.testing.assert_allclose(found, SPIRAL.trajectory, atol=1e-6)
  scipy.io.savemat(tmp_path / "two.mat", {"k": values, "w": values.real})
  with pytest.raises(UserError, match="--trajectory_variable names the varia"):
    read_arms(tmp_path / "two.mat", n_samples=N_SAMPLES)
  with pytest.raises(UserError, match=r"gone\.txt: cannot be read"):
    read_arms(tmp_path / "gone.txt", n_samples=N_SAMPLES)


def test_arms_of_acquisitions():
  slices, arms = np.repeat([0, 1], 6), np.zeros((6, 3, 2), np.float32)
  counter = np.tile([5, 5, 7, 7, 9, 9], 2)

  def numbers(n, step_1=counter):
    found, said = assign_arms(
      np.zeros((n, 3, 2), np.float32), slices, step_1, path="arms.npy"
    )
    return found.tolist(), said

  assert numbers(1)[0] == [0] * 12
  assert numbers(12)[0] == list(range(12))
  assert numbers(6)[0] == 2 * list(range(6))
  found, said = numbers(3)
  assert found == 2 * [0, 0, 1, 1, 2, 2] and "kspace_encode_step_1" in said
  with pytest.raises(UserError, match=r"4 arms, but .*12 acquisitions, 6 of a"):
    numbers(4)
  with pytest.raises(UserError, match="and no kspace_encode_step_1"):
    numbers(3, None)
  # Slices whose acquisitions alternate in the file.
  found, _ = assign_arms(arms, np.tile([0, 1], 6), None, path="arms.npy")
  assert found.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


@pytest.fixture
def scan(tmp_path):
  """Function that writes the scan, maybe without its trajectory."""

  def write(name, *, bare=False, samples=None, **options):
    own, trajectory, counters = acquisitions()
    if bare:
      trajectory = np.zeros((*trajectory.shape[:2], 0))
    return mrd_files.write(
      tmp_path / name,
      (own if samples is None else samples)[None],
      trajectory,
      matrix=MATRIX,
      counters=counters,
      **options,
    )

  return write


@pytest.mark.parametrize("kind", ["npy", "mat", "txt"])
def test_signals_by_a_trajectory_from_elsewhere(kind, scan, tmp_path):
  whole = RawSeries(scan("whole.mrd"), ACQUISITION).signals(disc()[None])
  bare = scan("bare.mrd", bare=True)
  with pytest.raises(UserError, match="acquisitions hold no trajectory"):
    RawSeries(bare, ACQUISITION)
  arms = SPIRAL.trajectory * MATRIX  # cycles per field of view
  raw = RawSeries(bare, ACQUISITION, trajectory=stored(tmp_path, kind, arms))
  assert any("is in cycles_per_fov" in s for s in raw.assumptions)
  assert any("counted by kspace_encode_step_1" in s for s in raw.assumptions)
  np.testing.assert_allclose(raw.signals(disc()[None]), whole, atol=1e-3)
  again = RawSeries(
    scan("again.mrd"), ACQUISITION, trajectory=stored(tmp_path, kind, arms)
  )
  assert any("not that of the scan's file" in s for s in again.assumptions)


def late_samples(delay_us, sample_us):
  """Acquisitions whose trajectory was late by a delay."""
  from test_arms import COILS, signals

  encoding = NufftEncoding(disc(12), COILS)
  late = delayed(SPIRAL.trajectory, delay_us / sample_us)
  return np.concatenate(
    [encoding.of_samples(arm).forward(signals()) for arm in late]
  )


def test_gradients_that_are_late(scan):
  sample_us, delay_us = 4.0, 6.0
  options = {
    "samples": late_samples(delay_us, sample_us),
    "sample_time_us": sample_us,
  }
  late = scan("late.mrd", **options)
  right = RawSeries(scan("right.mrd"), ACQUISITION).signals(disc(8)[None])
  energy = np.linalg.norm(np.abs(right))

  def error(raw):
    found = np.abs(raw.signals(disc(8)[None]))
    return np.linalg.norm(found - np.abs(right)) / energy

  wrong = error(RawSeries(late, ACQUISITION))
  assert error(RawSeries(late, ACQUISITION, delay_us=delay_us)) < 0.3 * wrong
  with pytest.raises(UserError, match="delay of the gradients needs; --sample"):
    RawSeries(scan("timeless.mrd"), ACQUISITION, delay_us=2.0)


def test_a_delay_of_nothing_is_nothing():
  arms = SPIRAL.trajectory
  np.testing.assert_array_equal(delayed(arms, 0.0), arms)
  np.testing.assert_allclose(delayed(arms, 2.0)[:, 2:], arms[:, :-2])
  np.testing.assert_allclose(delayed(arms, -1.0)[:, :-1], arms[:, 1:])
  middle = (arms[:, 1:] + arms[:, :-1]) / 2
  np.testing.assert_allclose(delayed(arms, 0.5)[:, 1:], middle, atol=1e-6)


@pytest.fixture
def spokes(tmp_path):
  """A Pulseq file of spokes, each turned by 30°."""
  file = pypulseq.Sequence(SYSTEM)
  pulse = pypulseq.make_block_pulse(0.3, duration=1e-3, system=SYSTEM)
  flat_s, amplitude = 3.2e-3, 40e3  # Hz/m
  for frame in range(3):
    angle = np.deg2rad(30 * frame)
    readout = [
      pypulseq.make_trapezoid(
        axis,
        amplitude=amplitude * share,
        flat_time=flat_s,
        rise_time=1e-4,
        system=SYSTEM,
      )
      for axis, share in (("x", np.cos(angle)), ("y", np.sin(angle)))
      if abs(share) > 1e-6
    ]
    adc = pypulseq.make_adc(64, duration=flat_s, delay=1e-4, system=SYSTEM)
    file.add_block(pulse)
    file.add_block(*readout, adc)
    file.add_block(pypulseq.make_delay(5e-3))
  path = tmp_path / "spokes.seq"
  file.write(str(path))
  return path, flat_s, amplitude


def test_trajectory_of_a_pulseq_file(spokes):
  path, flat_s, amplitude = spokes
  positions = pulseq_trajectory(path, n_samples=32)
  assert positions.shape == (3, 32, 3)
  times_s = (np.arange(32) + 0.5) / 32 * flat_s + 0.5e-4
  # Moments of the frames before have no part in it.
  for frame, found in enumerate(positions):
    angle = np.deg2rad(30 * frame)
    line = amplitude * times_s[:, None] * [np.cos(angle), np.sin(angle), 0]
    np.testing.assert_allclose(found, line, atol=1e-3 * amplitude * flat_s)
  arms, unit = read_arms(path, n_samples=32)
  assert arms.shape == (3, 32, 2) and unit == "per_m"
  # Of 64 samples, the first eight and the last four are discarded.
  part, _ = read_arms(path, n_samples=52, discarded=(8, 4))
  whole = pulseq_trajectory(path, n_samples=64)
  np.testing.assert_allclose(part, whole[:, 8:60, :2], rtol=1e-6)


def test_a_pulseq_file_without_gradients(tmp_path):
  file = pypulseq.Sequence(SYSTEM)
  file.add_block(pypulseq.make_block_pulse(0.3, duration=1e-3, system=SYSTEM))
  file.add_block(pypulseq.make_adc(64, duration=3.2e-3, system=SYSTEM))
  file.write(str(tmp_path / "bare.seq"))
  with pytest.raises(UserError, match=r"bare\.seq: it has no gradients"):
    pulseq_trajectory(tmp_path / "bare.seq", n_samples=32)
