"""The order in which the acquisitions of raw data are the frames of a train.

ISMRMRD has no counter of its own for frames: converters count them as
repetition, set, contrast or user counter, and store acquisitions in any order.
What each counter counts is found from its values: it can count frames if none
of its values appears twice in a slice. That of spiral arms, k % 48, cannot.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from mrf_jax.errors import UserError

# Counters that converters count frames with; `slice` in files of one slice.
COUNTERS = (
  *("repetition", "set", "contrast", "phase", "average", "segment", "slice"),
  *(f"user_{number}" for number in range(8)),
)
# Counters of places in k-space: arms in any order are as distinct as frames.
PLACES = ("kspace_encode_step_1", "kspace_encode_step_2")
STAMP, _READOUTS, FILE_ORDER = "acquisition_time_stamp", "scan_counter", "file"
# The longest a scan of a slice can be, as a share of the range of a clock, for
# a jump across the rest of it to be the clock's turn at midnight or at 2³².
_TURN = 0.9
# Time stamps that turn at midnight reach 34,560,000 (units of 2.5 ms) at least.
_SHORTEST_DAY = 3e7

# More gaps than this share of the frames are not frames that were lost.
_FEW_GAPS = 0.1

Order = list[Int[np.ndarray, "frame"]]


def frames_of_slices(
  counters: Mapping[str, Int[np.ndarray, "acquisition"]],
  slices: Int[np.ndarray, "acquisition"],
  *,
  path: str,
  frame: str | None = None,
) -> tuple[Order, str | None]:
  """Numbers of the acquisitions of each slice, in the order of the frames.

  That of the time stamps or of the counters that can count frames, if they
  agree. Where a counter and the time stamps disagree, or two counters without
  time stamps, the file does not say the order.

  Args:
    counters: counters and time stamps by the names of `RawData.counters`.
    slices: slice of each acquisition, from 0.
    path: name of the file, for errors.
    frame: name of the counter that counts the frames, or several, slowest
      first, with commas; `file` for the order of the file. None finds it.

  Returns:
    The numbers, and a sentence if the order is not plainly that of the file.

  Raises:
    UserError: the order is not known, or the counter does not tell frames
      apart.
  """
  file = [np.flatnonzero(slices == k) for k in range(int(slices.max()) + 1)]
  counters = {
    name: unwrapped(values, file) if name == STAMP else values
    for name, values in counters.items()
  }
  if frame is not None:
    return _chosen(counters, file, frame, path)
  orders = {}
  for name in (*COUNTERS, *PLACES, STAMP, _READOUTS):
    order = _order([counters[name]], file) if name in counters else None
    if order is not None:
      orders[name] = order
  found, source = _found(counters, orders, file, path)
  if source is None:
    return found, _unsaid(found)
  missing = _missing(counters[source], found) if source in COUNTERS else ""
  others = [
    other
    for other in orders
    if other not in (_READOUTS, STAMP) and not _same(orders[other], found)
  ]
  if _same(found, file):
    return found, missing or None
  text = f"the frames are in the order of {source}, not of the file"
  text += f" or of {', '.join(others)}" if others else ""
  return found, f"{text}; {missing}" if missing else text


def _missing(values: np.ndarray, order: Order) -> str:
  """A sentence if a counter of frames leaves out numbers; or nothing."""
  for number, readouts in enumerate(order):
    steps = np.diff(values[readouts])
    if not len(steps):
      continue
    gaps = np.flatnonzero(steps > steps.min())
    # Every second number, or one left out for each navigator, is a rule.
    if 0 < len(gaps) <= _FEW_GAPS * len(steps):
      before = int(values[readouts][gaps[0]])
      return (
        f"the counter of the frames of slice {number} jumps from {before} to "
        f"{before + int(steps[gaps[0]])}: was a frame lost?"
      )
  return ""


def _found(
  counters: Mapping[str, np.ndarray],
  orders: Mapping[str, Order],
  file: Order,
  path: str,
) -> tuple[Order, str | None]:
  """The order of the frames, and what says it; None for the file alone."""
  said = [name for name in COUNTERS if name in orders]
  clock = _clock(orders, file)
  if clock is not None:
    agree = [name for name in said if _same(orders[name], orders[clock])]
    if said and not agree:
      raise unclear(path, (said[0], clock))
    return orders[clock], (agree or [clock])[0]
  if said:
    for other in said[1:]:
      if not _same(orders[other], orders[said[0]]):
        raise unclear(path, (said[0], other))
    return orders[said[0]], said[0]
  for name in PLACES:
    if name in orders and not _same(orders[name], file):
      raise unclear(path, (name, FILE_ORDER))
  _check_file_order(counters, file, path)
  return file, next((name for name in PLACES if name in orders), None)


def _check_file_order(
  counters: Mapping[str, np.ndarray], file: Order, path: str
) -> None:
  """Raises `UserError` if the order of the file is not that of time.

  Counters and time stamps that are too coarse to tell frames apart can still
  say so: repetitions and time stamps do not fall, and a train that takes one
  arm after the other is not sorted by arm.
  """
  for name in ("repetition", STAMP):
    if name in counters and not _rises(counters[name], file):
      raise unclear(path, (_with_another(counters, name, file), FILE_ORDER))
  for name in PLACES:
    if name in counters and np.ptp(counters[name]) and len(file[0]) > 2:
      if _rises(counters[name], file):
        raise UserError(
          f"{path}: the acquisitions are sorted by {name}, and no counter or "
          f"time stamp says their order in time; --frame={FILE_ORDER} takes "
          "that of the file, --frame=COUNTER,COUNTER another"
        )


def _rises(values: np.ndarray, file: Order) -> bool:
  """Whether a counter never falls from one acquisition to the next."""
  return all(np.all(np.diff(values[numbers]) >= 0) for numbers in file)


def _with_another(
  counters: Mapping[str, np.ndarray], name: str, file: Order
) -> str:
  """A counter with a second one, if both together tell frames apart."""
  for other in (*COUNTERS, *PLACES):
    if other in counters and other != name:
      if _order([counters[name], counters[other]], file) is not None:
        return f"{name},{other}"
  return name


def _clock(orders: Mapping[str, Order], file: Order) -> str | None:
  """The clock that says the order of the acquisitions in time, if any.

  Writers number readouts as they write them, so that a `scan_counter` in the
  order of the file says nothing.
  """
  if STAMP in orders:
    return STAMP
  if _READOUTS in orders and not _same(orders[_READOUTS], file):
    return _READOUTS
  return None


def _chosen(
  counters: Mapping[str, np.ndarray], file: Order, frame: str, path: str
) -> tuple[Order, str]:
  """The order of the counters that the user names."""
  if frame == FILE_ORDER:
    return file, "the frames are in the order of the file"
  names = check_counters(counters, frame, path)
  order = _order([counters[name] for name in names], file)
  if order is None:
    raise UserError(
      f"{path}: --frame={frame}: several acquisitions of a slice have the same "
      f"{' and '.join(names)}"
    )
  return order, f"the frames are in the order of {frame}"


def check_counters(
  counters: Mapping[str, np.ndarray], frame: str, path: str
) -> list[str]:
  """Names of the counters of --frame, which must be those of the file."""
  names = [name.strip() for name in frame.split(",")]
  for name in names:
    if name not in counters:
      raise UserError(
        f"{path}: --frame: {name!r} is not {FILE_ORDER} or one of its "
        f"counters, {', '.join(counters)}"
      )
  return names


def _order(values: list[np.ndarray], file: Order) -> Order | None:
  """Acquisitions of each slice by their counters; None if two are equal."""
  order = []
  for numbers in file:
    own = np.stack([counter[numbers] for counter in values])
    if np.unique(own, axis=1).shape[1] < len(numbers):
      return None
    order.append(numbers[np.lexsort(own[::-1])])
  return order


def unwrapped(stamps: np.ndarray, file: Order) -> np.ndarray:
  """Time stamps that go on where the clock turned in a slice."""
  unwrapped = stamps.copy()
  for numbers in file:
    own = np.unique(stamps[numbers])
    gaps = np.diff(own)
    span = own[-1] - own[0]
    if span < _SHORTEST_DAY or gaps.max() < _TURN * span:
      continue
    # The stamps after the turn follow the largest one.
    early = stamps[numbers] <= own[np.argmax(gaps)]
    unwrapped[numbers[early]] += span + 1
  return unwrapped


def _same(one: Order, other: Order) -> bool:
  return all(map(np.array_equal, one, other))


def _unsaid(order: Order) -> str | None:
  """A sentence on frames that nothing tells apart, if there are several."""
  if max(map(len, order)) == 1:
    return None
  return (
    "no counter or time stamp tells the frames apart: they are in the order of "
    "the file"
  )


def unclear(
  path: str, names: tuple[str, str], choices: Sequence[str] = ()
) -> UserError:
  """The error of two orders, with the values of --frame that may be right.

  These are both names and the order of the file, if no others are given.
  """
  one, other = names
  choices = choices or (*names, FILE_ORDER)
  return UserError(
    f"{path}: the frames have one order by {one} and another by {other}; "
    + " or ".join(f"--frame={name}" for name in dict.fromkeys(choices))
    + " says which is that of the sequence"
  )
