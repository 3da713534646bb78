"""The order of frames from counters and time stamps."""

import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.importing.frames import frames_of_slices

N_FRAMES, N_ARMS, N_SLICES = 30, 6, 2
SHUFFLED = np.random.default_rng(0).permutation(N_FRAMES)
BY_ARM = np.array(sorted(range(N_FRAMES), key=lambda k: (k % N_ARMS, k)))


def scan(order, *, frame="repetition", stamps=True, **more):
  """Counters of slices whose frames are stored in an order."""
  order = np.asarray(order)
  slices = np.repeat(np.arange(N_SLICES), N_FRAMES)
  every = {
    "kspace_encode_step_1": np.tile(order % N_ARMS, N_SLICES),
    "repetition": np.zeros(len(slices), int),
    "slice": slices,
    "acquisition_time_stamp": np.zeros(len(slices), int),
  }
  if frame is not None:
    every[frame] = np.tile(order, N_SLICES)
  if stamps:
    every["acquisition_time_stamp"] = np.tile(14 * order, N_SLICES) + 7 * slices
  every |= {name: np.tile(values, N_SLICES) for name, values in more.items()}
  return every, slices


def found(counters, slices, frame=None):
  """The frame of each acquisition as found, slice by slice, and a sentence."""
  order, sentence = frames_of_slices(
    counters, slices, path="scan.mrd", frame=frame
  )
  assert all(set(slices[part]) == {k} for k, part in enumerate(order))
  return [part - k * N_FRAMES for k, part in enumerate(order)], sentence


@pytest.mark.parametrize("order", [SHUFFLED, BY_ARM])
@pytest.mark.parametrize("stamps", [True, False])
@pytest.mark.parametrize(
  "frame", ["repetition", "set", "contrast", "phase", "segment", "user_3"]
)
def test_counter_of_frames_is_found(order, stamps, frame):
  places, sentence = found(*scan(order, frame=frame, stamps=stamps))
  for place in places:
    np.testing.assert_array_equal(order[place], np.arange(N_FRAMES))
  assert sentence == f"the frames are in the order of {frame}, not of the file"


def test_time_stamps_alone():
  places, sentence = found(*scan(SHUFFLED, frame=None))
  np.testing.assert_array_equal(SHUFFLED[places[1]], np.arange(N_FRAMES))
  assert "of acquisition_time_stamp, not of the file" in sentence


@pytest.mark.parametrize("turn", [1 << 32, 86_400_000, 34_560_000])
def test_clock_that_turns_in_a_slice(turn):
  counters, slices = scan(range(N_FRAMES), frame=None)
  stamps = counters["acquisition_time_stamp"]
  counters["acquisition_time_stamp"] = (stamps + turn - 200) % turn
  places, sentence = found(counters, slices)
  np.testing.assert_array_equal(places[0], np.arange(N_FRAMES))
  assert sentence is None


@pytest.mark.parametrize("frame", ["repetition", None])
def test_file_in_order_needs_no_word(frame):
  places, sentence = found(*scan(range(N_FRAMES), frame=frame))
  np.testing.assert_array_equal(places[1], np.arange(N_FRAMES))
  assert sentence is None


def test_arms_in_another_order_are_no_frames():
  """Their numbers are all different, too, but not those of time."""
  arms = scan(range(N_FRAMES), frame=None, kspace_encode_step_1=SHUFFLED)
  places, sentence = found(*arms)
  np.testing.assert_array_equal(places[0], np.arange(N_FRAMES))
  assert sentence is None
  mute = scan(
    range(N_FRAMES), frame=None, stamps=False, kspace_encode_step_1=SHUFFLED
  )
  with pytest.raises(UserError, match=r"--frame=kspace.*--frame=file"):
    found(*mute)
  places, _ = found(*mute, frame="file")
  np.testing.assert_array_equal(places[0], np.arange(N_FRAMES))


def test_nothing_tells_frames_apart():
  order, sentence = found(*scan(range(N_FRAMES), frame=None, stamps=False))
  np.testing.assert_array_equal(order[0], np.arange(N_FRAMES))
  assert sentence.startswith("no counter or time stamp")


def test_two_counters_that_disagree():
  scans = scan(range(N_FRAMES), stamps=False, set=SHUFFLED)
  with pytest.raises(UserError, match=r"--frame=repetition or --frame=set or"):
    found(*scans)
  places, sentence = found(*scans, frame="set")
  np.testing.assert_array_equal(SHUFFLED[places[0]], np.arange(N_FRAMES))
  assert sentence == "the frames are in the order of set"
  # Time stamps tell which of them is right.
  places, sentence = found(*scan(SHUFFLED, set=np.arange(N_FRAMES)))
  np.testing.assert_array_equal(SHUFFLED[places[0]], np.arange(N_FRAMES))
  assert sentence.endswith("of repetition, not of the file or of set")


def test_counter_and_time_stamps_that_disagree():
  counters, slices = scan(SHUFFLED)
  stamps = np.arange(len(slices))
  counters["acquisition_time_stamp"] = stamps
  with pytest.raises(UserError, match=r"by repetition and another by acq"):
    found(counters, slices)
  places, _ = found(counters, slices, frame="repetition")
  np.testing.assert_array_equal(SHUFFLED[places[0]], np.arange(N_FRAMES))


def test_count_of_readouts():
  """One that is that of the file says nothing; another is that of time."""
  counters, slices = scan(SHUFFLED, stamps=False)
  counters["scan_counter"] = np.arange(len(slices))
  places, _ = found(counters, slices)
  np.testing.assert_array_equal(SHUFFLED[places[0]], np.arange(N_FRAMES))
  counters, slices = scan(SHUFFLED, frame=None, stamps=False)
  counters["scan_counter"] = np.tile(SHUFFLED, N_SLICES) + N_FRAMES * slices
  places, sentence = found(counters, slices)
  np.testing.assert_array_equal(SHUFFLED[places[1]], np.arange(N_FRAMES))
  assert "scan_counter" in sentence


@pytest.mark.parametrize("name", ["repetition", "acquisition_time_stamp"])
def test_coarse_counters_deny_the_order_of_the_file(name):
  blocks = scan(BY_ARM, frame=None, stamps=False, **{name: BY_ARM // N_ARMS})
  with pytest.raises(UserError, match=rf"--frame={name},.*--frame=file"):
    found(*blocks)
  frame = f"{name},kspace_encode_step_1"
  places, _ = found(*blocks, frame=frame)
  np.testing.assert_array_equal(BY_ARM[places[0]], np.arange(N_FRAMES))


def test_file_sorted_by_arm_without_a_counter_of_frames():
  with pytest.raises(UserError, match="sorted by kspace_encode_step_1"):
    found(*scan(BY_ARM, frame=None, stamps=False))


@pytest.mark.parametrize(
  ("frame", "words"),
  [
    ("kspace_encode_step_1", "several acquisitions of a slice have the same"),
    ("echo", "'echo' is not file or one of its counters, kspace_encode"),
  ],
)
def test_frame_that_tells_nothing(frame, words):
  with pytest.raises(UserError, match=words):
    found(*scan(range(N_FRAMES)), frame=frame)
