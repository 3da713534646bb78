"""Several acquisitions of each frame: arms, averages, missing ones."""

import mrd_files
import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.importing.arms import arms_of_frames
from mrf_jax.importing.raw import RawSeries
from mrf_jax.kspace.encoding import NufftEncoding
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import make_sequence

N_FRAMES, N_ARMS, N_SLICES = 10, 4, 2
# Frame and arm of each acquisition of a slice: one train after the other.
FRAME, ARM = np.tile(np.arange(N_FRAMES), N_ARMS), np.repeat(range(4), N_FRAMES)


def counted(order=slice(None), *, stamps=True, **more):
  """Counters of slices, each of N_ARMS trains, stored in some order."""
  frame, arm = FRAME[order], ARM[order]
  slices = np.repeat(np.arange(N_SLICES), len(frame))
  time = 1000 * arm + 14 * frame
  every = {
    "repetition": np.tile(frame, N_SLICES),
    "kspace_encode_step_1": np.tile(arm, N_SLICES),
    "slice": slices,
  }
  if stamps:
    every["acquisition_time_stamp"] = np.tile(time, N_SLICES)
  return every | more, slices


def found(counters, slices, **options):
  arms, said = arms_of_frames(
    counters, slices, N_FRAMES, path="scan.mrd", **options
  )
  return arms, " ".join(said)


@pytest.mark.parametrize("stamps", [True, False])
@pytest.mark.parametrize("seed", [None, 0])
def test_each_frame_has_its_arms(seed, stamps):
  order = np.arange(len(FRAME))
  if seed is not None:
    order = np.random.default_rng(seed).permutation(order)
  arms, said = found(*counted(order, stamps=stamps))
  for k, table in enumerate(arms):
    own = order[table - k * len(order)]
    assert table.shape == (N_FRAMES, N_ARMS)
    assert (FRAME[own] == np.arange(N_FRAMES)[:, None]).all()
    assert all(len(set(ARM[row])) == N_ARMS for row in own)
  assert "counted by repetition, each has 4" in said
  assert "counted by kspace_encode_step_1" in said


def test_a_frame_that_lacks_an_arm():
  kept = np.delete(np.arange(len(FRAME)), [3, 17])
  arms, said = found(*counted(kept))
  assert (arms[0] < 0).sum(1).tolist() == [0, 0, 0, 1, 0, 0, 0, 1, 0, 0]
  assert "4 of 80 acquisitions are missing, of frame 3 of slice 0" in said


def test_others_that_are_counted_with_a_frame():
  """Three dummies before the train of one arm."""
  frame = np.r_[[0, 0, 0], np.arange(N_FRAMES)]
  counters = {"repetition": frame, "scan_counter": np.arange(len(frame))}
  slices = np.zeros(len(frame), int)
  with pytest.raises(UserError, match="tells the 4 acquisitions of frame 0 ap"):
    found(counters, slices)
  counters["segment"] = np.r_[range(4), np.zeros(N_FRAMES - 1, int)]
  with pytest.raises(UserError, match="has 1 acquisitions, another one 4"):
    found(counters, slices)


def test_two_scans_in_one_file():
  """What the package `ismrmrd` makes of a file that is written again."""
  frame = np.tile(np.arange(N_FRAMES), 2)
  scans = {"set": frame}, np.zeros(len(frame), int)
  with pytest.raises(UserError, match=r"written twice\? --frame=set averages"):
    found(*scans)
  arms, said = found(*scans, frame="set")
  assert arms[0].shape == (N_FRAMES, 2) and "each has 2 acquisitions;" in said


@pytest.mark.parametrize("name", ["contrast", "set", "user_2"])
def test_what_may_be_no_arm_is_asked_for(name):
  counters, slices = counted(**{name: np.tile(ARM % 2, N_SLICES)})
  with pytest.raises(UserError, match=rf"told apart by {name}.*--frame=rep"):
    found(counters, slices)
  arms, _ = found(counters, slices, frame="repetition")
  assert arms[0].shape == (N_FRAMES, N_ARMS)


def test_two_counters_of_as_many_values():
  counters, slices = counted(
    segment=np.tile(np.arange(len(FRAME)) // N_ARMS, N_SLICES)
  )
  with pytest.raises(UserError, match="--frame=repetition or --frame=segment"):
    found(counters, slices)
  arms, _ = found(counters, slices, frame="repetition")
  np.testing.assert_array_equal(
    FRAME[arms[0]], np.tile(np.arange(N_FRAMES)[:, None], 4)
  )


def test_frames_against_time():
  counters, slices = counted()
  counters["acquisition_time_stamp"] *= -1
  with pytest.raises(UserError, match="by repetition and another by acquis"):
    found(counters, slices)
  arms, _ = found(counters, slices, frame="repetition")
  assert arms[0].shape == (N_FRAMES, N_ARMS)


def test_arms_that_turn_from_frame_to_frame():
  """Their counter does not count the runs of the train."""
  turned = np.tile((ARM + FRAME) % N_ARMS, N_SLICES)
  arms, _ = found(*counted(kspace_encode_step_1=turned))
  assert (FRAME[arms[0]] == np.arange(N_FRAMES)[:, None]).all()


def test_a_scan_across_midnight():
  counters, slices = counted()
  day = 34_560_000
  stamps = counters["acquisition_time_stamp"] + day - 1500
  counters["acquisition_time_stamp"] = stamps % day
  arms, _ = found(counters, slices)
  assert arms[0].shape == (N_FRAMES, N_ARMS)


@pytest.mark.parametrize(
  ("frame", "words"),
  [
    ("repetiton", "'repetiton' is not file or one of"),
    ("file", "--frame=file is for one of each"),
    (
      "kspace_encode_step_1",
      "has 4 values in slice 0, but the sequence has 10",
    ),
  ],
)
def test_a_wrong_counter_of_frames_is_named(frame, words):
  with pytest.raises(UserError, match=words):
    found(*counted(), frame=frame)


def test_no_counter_with_as_many_values():
  counters, slices = counted()
  counters["repetition"] = counters["repetition"] // 2
  words = (
    r"slice 0 has 40 acquisitions, .* 10 frames, and no counter has 10 values "
    r"in every slice \(repetition has 5, kspace_encode_step_1 has 4\)"
  )
  with pytest.raises(UserError, match=words):
    found(counters, slices)


MATRIX, FOV_MM = 32, 220.0
SPIRAL = make_spiral(
  matrix=MATRIX, n_arms=N_ARMS, samples_per_arm=320, density_power=1.25
)
ACQUISITION = Acquisition(make_sequence(np.full(N_FRAMES, 30.0), 12.0, 2.0))
AXIS = np.arange(MATRIX) - MATRIX // 2


def disc(radius=10):
  return np.hypot(AXIS - 2, AXIS[:, None] + 3) < radius


def signals():
  """Of the voxels of the disc, smooth in space and time, [voxel, frame]."""
  x = np.nonzero(disc(12))[1] / MATRIX
  t = np.arange(N_FRAMES) / N_FRAMES
  edge = np.clip(12 - np.hypot(AXIS - 2, AXIS[:, None] + 3), 0, 4)[disc(12)] / 4
  recovery = 1 - 2 * np.exp(-(3 + 4 * x[:, None]) * t)
  return (edge[:, None] * recovery).astype(np.complex64)


COILS = np.stack(
  [
    np.exp(-((AXIS / 40 - x) ** 2) / 2 + 1j * x) * np.ones((MATRIX, 1))
    for x in (-0.5, 0.5)
  ]
).astype(np.complex64)


def acquisitions(kept=slice(None), *, repeats=1, noise=0.0):
  """K-space of the arms of all frames, one after another, as in a file."""
  encoding = NufftEncoding(disc(12), COILS)
  of_arms = [
    encoding.of_samples(positions).forward(signals())
    for positions in SPIRAL.trajectory
  ]
  samples = np.concatenate(of_arms * repeats)
  rng = np.random.default_rng(0)
  parts = noise * rng.normal(size=(*samples.shape, 2))
  samples = samples + parts @ np.array([1, 1j])
  frame = np.tile(FRAME, repeats)
  arm = np.tile(ARM, repeats)
  average = np.repeat(np.arange(repeats), len(FRAME))
  fields = {
    "repetition": frame[kept],
    "kspace_encode_step_1": arm[kept],
    "average": average[kept],
  }
  trajectory = np.repeat(SPIRAL.trajectory, N_FRAMES, 0)
  return samples[kept], np.tile(trajectory, (repeats, 1, 1))[kept], fields


@pytest.fixture
def series(tmp_path):
  def read(*args, frame=None, **options):
    samples, trajectory, fields = acquisitions(*args, **options)
    path = mrd_files.write(
      tmp_path / f"{len(list(tmp_path.iterdir()))}.mrd",
      samples[None],
      trajectory,
      matrix=MATRIX,
      counters=fields,
    )
    return RawSeries(path, ACQUISITION, frame=frame)

  return read


def error_of(raw):
  """Of the signals, relative, apart from a phase of each voxel."""
  found = raw.signals(disc()[None])
  inner = disc()[disc(12)]
  true = signals()[inner] * np.linalg.norm(COILS[:, disc()], axis=0)[:, None]
  turn = np.sum(found.conj() * true, 1, keepdims=True)
  difference = found * (turn / np.abs(turn)) - true
  return np.linalg.norm(difference) / np.linalg.norm(true)


def test_frames_of_all_arms_are_images(series):
  raw = series()
  assert raw.shape == (MATRIX, MATRIX, 1, N_FRAMES)
  assert error_of(raw) < 0.05


def test_averages_lower_the_noise(series):
  once, often = (series(noise=0.2, repeats=n) for n in (1, 6))
  assert any("counted by average" in s for s in often.assumptions)
  assert error_of(often) < 0.6 * error_of(once)


def test_frames_without_some_arms_are_as_bright(series):
  """One of four is missing in the second half of the frames."""
  raw = series(np.flatnonzero((ARM > 0) | (FRAME < N_FRAMES // 2)))
  assert any("5 of 40 acquisitions are missing" in s for s in raw.assumptions)
  found = np.abs(raw.signals(disc(6)[None])).mean(0)
  whole = np.abs(series().signals(disc(6)[None])).mean(0)
  np.testing.assert_allclose(found, whole, rtol=0.06)
