"""Several acquisitions of each frame of raw data: arms, averages, repetitions.

A train that is run several times has, of each frame, as many acquisitions: one
for each arm of a trajectory that fills k-space by arms, or one for each
average. What counts the frames is found from the values of the counters: it has
as many of them as the sequence has frames.
"""

import itertools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from mrf_jax.errors import UserError
from mrf_jax.importing.frames import (
  COUNTERS,
  FILE_ORDER,
  PLACES,
  STAMP,
  check_counters,
  unclear,
  unwrapped,
)

# Counters of runs of a train, and of its arms. Acquisitions that others tell
# apart may be slices, echoes or partitions: nothing of which is added up.
_OF_RUNS = ("average", "repetition", "segment", "kspace_encode_step_1")
# A frame with fewer acquisitions than this share of those of the fullest one
# has not lost some: other acquisitions are counted with a frame.
_LEAST_SHARE = 0.5
# Frames that are named.
_NAMED = 3

Values = Mapping[str, Int[np.ndarray, "acquisition"]]
# The acquisitions of each frame of a slice, -1 where one is missing.
Arms = Int[np.ndarray, "frame arm"]


def arms_of_frames(
  counters: Values,
  slices: Int[np.ndarray, "acquisition"],
  n_frames: int,
  *,
  path: str,
  frame: str | None = None,
) -> tuple[list[Arms], list[str]]:
  """Numbers of the acquisitions of each frame, slice by slice.

  Args:
    counters: counters and time stamps by the names of `RawData.counters`.
    slices: slice of each acquisition, from 0.
    n_frames: frames of the sequence.
    path: name of the file, for errors.
    frame: name of the counter that counts the frames, or several, slowest
      first, with commas. None finds it.

  Returns:
    The numbers, and sentences on what was found.

  Raises:
    UserError: no counter has as many values as there are frames, several have
      and disagree, or acquisitions of a frame are told apart by a counter of
      something that is not to be added up.
  """
  own = [np.flatnonzero(slices == k) for k in range(int(slices.max()) + 1)]
  if frame is None:
    name, frames = _found(counters, own, n_frames, path)
  else:
    name, frames = frame, _chosen(counters, own, n_frames, frame, path)
  apart = _told_apart_by(counters, own, frames)
  strange = [x for x in apart if x not in _OF_RUNS]
  if strange and frame is None:
    raise UserError(
      f"{path}: the acquisitions of a frame, counted by {name}, are told apart "
      f"by {strange[0]}, too: slices, echoes and partitions are not added up; "
      "store each in a file of its own (or, if they are arms, "
      f"--frame={name})"
    )
  runs = _runs(counters, own, apart)
  advice = f"--frame={name} averages them" if frame is None else None
  _check_told_apart(own, frames, runs, path, advice)
  if frame is None:
    _check_time(counters, own, frames, name, path)
  arms = [
    _table(numbers, of_frames, n_frames)
    for numbers, of_frames in zip(own, frames, strict=True)
  ]
  most = max(table.shape[1] for table in arms)
  arms = [
    np.pad(x, ((0, 0), (0, most - x.shape[1])), constant_values=-1)
    for x in arms
  ]
  said = [f"the frames are counted by {name}, each has {most} acquisitions"]
  if apart:
    said[0] += f", counted by {' and '.join(apart)}"
  said[0] += (
    "; each run of the train is taken to begin with all magnetisation recovered"
  )
  return arms, said + _missing(arms, name, path)


def _found(
  counters: Values, own: list[np.ndarray], n_frames: int, path: str
) -> tuple[str, list[np.ndarray]]:
  """The counter with as many values as frames, and the frames by it."""
  found = {}
  for name in (*COUNTERS, *PLACES):
    if name in counters:
      frames = _numbered([counters[name]], own)
      if all(_count(x) == n_frames for x in frames):
        found[name] = frames
  if not found:
    # Another number of acquisitions than of frames.
    k = next((k for k, x in enumerate(own) if len(x) != n_frames), 0)
    raise UserError(
      f"{path}: slice {k} has {len(own[k])} acquisitions, but the sequence has "
      f"{n_frames} frames, and no counter has {n_frames} values in every slice"
      + _shown(counters, own[k])
    )
  first, *others = found
  for other in others:
    if not all(map(np.array_equal, found[other], found[first])):
      raise unclear(path, (first, other), (first, other))
  return first, found[first]


def _shown(counters: Values, numbers: np.ndarray) -> str:
  """How many values the counters of a slice have, in brackets."""
  counts = {
    name: len(np.unique(counters[name][numbers]))
    for name in (*COUNTERS, *PLACES)
    if name in counters
  }
  parts = [f"{name} has {n}" for name, n in counts.items() if n > 1]
  return f" ({', '.join(parts)})" if parts else ""


def _chosen(
  counters: Values,
  own: list[np.ndarray],
  n_frames: int,
  frame: str,
  path: str,
) -> list[np.ndarray]:
  """The frames by the counters that the user names."""
  if frame == FILE_ORDER:
    raise UserError(
      f"{path}: slice 0 has {len(own[0])} acquisitions, but the sequence has "
      f"{n_frames} frames: --frame={FILE_ORDER} is for one of each"
    )
  names = check_counters(counters, frame, path)
  frames = _numbered([counters[name] for name in names], own)
  for k, of_slice in enumerate(frames):
    if _count(of_slice) != n_frames:
      raise UserError(
        f"{path}: --frame={frame}: has {_count(of_slice)} values in slice {k}, "
        f"but the sequence has {n_frames} frames"
      )
  return frames


def _numbered(
  values: list[np.ndarray], own: list[np.ndarray]
) -> list[np.ndarray]:
  """Number of each acquisition of each slice, from 0, by some counters."""
  frames = []
  for numbers in own:
    rows = np.stack([counter[numbers] for counter in values])
    inverse = np.unique(rows, axis=1, return_inverse=True)[1]
    frames.append(inverse.ravel())
  return frames


def _count(frames: np.ndarray) -> int:
  return int(frames.max(initial=-1)) + 1


def _told_apart_by(
  counters: Values, own: list[np.ndarray], frames: list[np.ndarray]
) -> list[str]:
  """Counters that have several values in a frame."""
  names = []
  for name in (*COUNTERS, *PLACES):
    if name not in counters:
      continue
    for numbers, of_frames in zip(own, frames, strict=True):
      pairs = np.stack([of_frames, counters[name][numbers]])
      if np.unique(pairs, axis=1).shape[1] > _count(of_frames):
        names.append(name)
        break
  return names


def _runs(
  counters: Values, own: list[np.ndarray], apart: list[str]
) -> list[np.ndarray]:
  """Number of the run of the train that each acquisition belongs to."""
  if not apart:
    return [np.zeros(len(numbers), int) for numbers in own]
  return _numbered([counters[name] for name in apart], own)


def _check_told_apart(
  own: list[np.ndarray],
  frames: list[np.ndarray],
  runs: list[np.ndarray],
  path: str,
  advice: str | None,
) -> None:
  """Raises `UserError` if frames have acquisitions that are alike.

  With an advice of None only if some have more of them than others.
  """
  counts = np.concatenate([np.bincount(x) for x in frames])
  if advice is None and np.ptp(counts) == 0:
    return
  for k, numbers in enumerate(own):
    pairs, found = np.unique(
      np.stack([frames[k], runs[k]]), axis=1, return_counts=True
    )
    if np.any(found > 1):
      frame = int(pairs[0, np.argmax(found > 1)])
      raise UserError(
        f"{path}: slice {k} has {len(numbers)} acquisitions, but the sequence "
        f"has {_count(frames[k])} frames: no counter tells the {found.max()} "
        f"acquisitions of frame {frame} apart; "
        + (
          "other frames have fewer: are some of them no frames?"
          if np.ptp(counts)
          else f"was the file written twice? {advice}"
        )
      )


def _check_time(
  counters: Values,
  own: list[np.ndarray],
  frames: list[np.ndarray],
  name: str,
  path: str,
) -> None:
  """Raises `UserError` if the frames do not follow in time.

  Whether trains are run one after another, or all acquisitions of a frame
  follow each other, the number of the frame falls from run to run alone.
  """
  if STAMP not in counters:
    return
  stamps = unwrapped(counters[STAMP], own)
  for numbers, of_frames in zip(own, frames, strict=True):
    times = stamps[numbers]
    # Frames of one time say nothing of their order.
    in_time = of_frames[np.lexsort((of_frames, times))]
    falls = np.count_nonzero(np.diff(in_time) < 0)
    if np.ptp(times) and falls > np.bincount(of_frames).max():
      raise unclear(path, (name, STAMP), (name,))


def _table(numbers: np.ndarray, frames: np.ndarray, n_frames: int) -> Arms:
  """Acquisitions of each frame in the order of the file, [frame, arm]."""
  counts = np.bincount(frames, minlength=n_frames)
  table = np.full((n_frames, counts.max()), -1)
  order = np.argsort(frames, kind="stable")
  starts = np.cumsum(counts) - counts
  places = np.arange(len(numbers)) - np.repeat(starts, counts)
  table[frames[order], places] = numbers[order]
  return table


def _missing(arms: list[Arms], name: str, path: str) -> list[str]:
  """A sentence on acquisitions that are missing, if any.

  Raises:
    UserError: a frame has few of them.
  """
  counts = np.stack([np.count_nonzero(x >= 0, axis=1) for x in arms])
  most = int(counts.max())
  number, frame = np.unravel_index(np.argmin(counts), counts.shape)
  if counts[number, frame] < _LEAST_SHARE * most:
    raise UserError(
      f"{path}: frame {frame} of slice {number}, counted by {name}, has "
      f"{counts[number, frame]} acquisitions, another one {most}: are others "
      "counted with it that are no frames?"
    )
  n_missing = int((most - counts).sum())
  if not n_missing:
    return []
  some = [
    f"{t} of slice {k}"
    for k, t in itertools.islice(np.argwhere(counts < most), _NAMED)
  ]
  n_frames = np.count_nonzero(counts < most)
  rest = f" and {n_frames - _NAMED:,} more" if n_frames > _NAMED else ""
  return [
    f"{n_missing:,} of {most * counts.size:,} acquisitions are missing, of "
    f"frame {', '.join(some)}{rest}: these frames are made of fewer"
  ]
