"""Progress on the terminal, or as plain lines where there is none.

tqdm draws the bars. In a file its carriage returns make one line of hundreds of
pieces, so that a log gets few lines of its own instead.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

# A plain line comes after such a share of the work, but not within the shorter
# time after another, and after the longer time in any case, s.
_SHARE = 0.1
_SHORTEST_S, _LONGEST_S = 10.0, 600.0
# The time left is known after so long, or if it is less than the other, s.
_KNOWN_S, _SOON_S = 1.0, 5.0


class Pace:
  """Seconds that are left of some work, from the speed so far.

  The first part does not count, because programs are compiled in it.
  """

  def __init__(self, total: int, *, done: int = 0):
    """Starts to measure work of `total` parts, of which some are done."""
    self.total = total
    self.done = done
    self._start: tuple[int, float] | None = None
    self._last = time.monotonic()

  def update(self, count: int) -> None:
    """Notes that so many parts more are done."""
    self.done += count
    self._last = time.monotonic()
    if self._start is None:
      self._start = self.done, self._last

  def skip(self) -> None:
    """Leaves the time since the last part out: something was done but once."""
    now = time.monotonic()
    if self._start is not None:
      self._start = self._start[0], self._start[1] + now - self._last
    self._last = now

  @property
  def seconds_each(self) -> float | None:
    """Seconds of one part; None as long as they are not known."""
    if self._start is None:
      return None
    done, start = self._start
    parts, seconds = self.done - done, self._last - start
    if not parts:
      return None
    each = seconds / parts
    is_soon = each * (self.total - self.done) < _SOON_S
    return each if seconds >= _KNOWN_S or is_soon else None

  @property
  def seconds_left(self) -> float | None:
    """Seconds until all is done; None as long as they are not known."""
    each = self.seconds_each
    if each is None:
      return None
    # Between two parts the clock goes on.
    waited = time.monotonic() - self._last
    return max(0.0, each * (self.total - self.done) - waited)


def counted(count: int, noun: str) -> str:
  """A number of things, such as "1 fold" and "6 folds"."""
  return f"{count:,} {noun}{'' if count == 1 else 's'}"


def share_of_voxels(count: int, n_voxels: int) -> str:
  """Such as "5 of 100 voxels (5.0%)"."""
  return f"{count:,} of {n_voxels:,} voxels ({count / n_voxels:.1%})"


def in_words(seconds: float) -> str:
  """A duration such as `40 s`, `12 min` or `3.5 h`."""
  if seconds < 99.5:
    return f"{seconds:.0f} s"
  minutes = seconds / 60
  return f"{minutes:.0f} min" if minutes < 99.5 else f"{minutes / 60:.1f} h"


def progress(items: Iterable, *, total: int, text: str) -> Iterator:
  """Iterates over items, and shows progress if it takes over a second."""
  with bar(total=total, text=text) as shown:
    for item in items:
      yield item
      shown.update()


def bar(*, total: int, text: str, done: int = 0) -> "_Bar | _Lines":
  """Progress that is updated by hand: `update(n)`, `set_postfix_str(text)`.

  On a terminal it appears after a second and disappears at the end.
  """
  shape = _Bar if _is_terminal() else _Lines
  return shape(total=total, text=text, done=done)


def _is_terminal() -> bool:
  """Whether lines can be written over."""
  return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class _Bar(tqdm):
  """A bar of tqdm that shows the time left once it is known."""

  def __init__(self, *, total: int, text: str, done: int):
    self.pace = Pace(total, done=done)
    super().__init__(
      total=total,
      initial=done,
      desc=text,
      delay=1.0,
      leave=False,
      dynamic_ncols=True,
      file=sys.stderr,
      bar_format="{desc} {percentage:3.0f}%|{bar:12}| {n_fmt}/{total_fmt}{left}"
      "{postfix}",
    )

  def update(self, n: float | None = 1) -> bool | None:
    """Shows that so much more is done."""
    self.pace.update(int(n or 0))
    return super().update(n)

  @property
  def format_dict(self) -> Any:
    """Values of the line; those of tqdm, and the time left."""
    return {**super().format_dict, "left": _left(self.pace.seconds_left)}


class _Lines:
  """A line now and then, which stays."""

  def __init__(self, *, total: int, text: str, done: int):
    self.pace = Pace(total, done=done)
    self._text, self._postfix = text, ""
    self._printed = done, time.monotonic()

  def __enter__(self) -> "_Lines":
    return self

  def __exit__(self, *error) -> None:
    pass

  def set_postfix_str(self, text: str, *, refresh: bool = False) -> None:
    """Sets the end of the next line."""
    del refresh
    self._postfix = text

  def update(self, count: int = 1) -> None:
    """Notes that so much more is done, and prints a line if it is time."""
    pace = self.pace
    pace.update(count)
    done, when = self._printed
    waited = time.monotonic() - when
    is_much = pace.done - done >= _SHARE * pace.total or waited >= _LONGEST_S
    if pace.done >= pace.total or waited < _SHORTEST_S or not is_much:
      return
    self._printed = pace.done, time.monotonic()
    notice(
      f"{self._text} {pace.done / pace.total:.0%}, {pace.done:,}/"
      f"{pace.total:,}{_left(pace.seconds_left)}"
      + (f", {self._postfix}" if self._postfix else "")
    )


def _left(seconds: float | None) -> str:
  return "" if seconds is None else f", {in_words(seconds)} left"


def notice(text: str) -> None:
  """Prints a line that stays, above the progress bars."""
  tqdm.write(text, file=sys.stderr)


class TrainingProgress:
  """Progress of training: epoch, losses, estimates per second, time left."""

  def __init__(
    self,
    text: str,
    *,
    total: int,
    done: int,
    per_epoch: int,
    estimates: int,
    note: str = "",
  ):
    """Starts the line, which appears after a second.

    Args:
      text: what is trained.
      total: number of steps in all.
      done: steps of an earlier run that is resumed.
      per_epoch: steps in an epoch.
      estimates: voxels estimated in one step, all folds together.
      note: words on the losses, shown behind them.
    """
    self._note = f" ({note})" if note else ""
    self._bar = bar(total=total, done=done, text=text)
    self._per_epoch = per_epoch
    self._n_epochs = total // per_epoch
    self._estimates = estimates
    self._is_first = True

  @property
  def pace(self) -> Pace:
    """Speed of the steps so far."""
    return self._bar.pace

  def __enter__(self) -> "TrainingProgress":
    self._bar.__enter__()
    return self

  def __exit__(self, *error) -> None:
    self._bar.__exit__(*error)

  def update(self, steps: int, seconds: float, losses: np.ndarray) -> None:
    """Shows `steps` more, and the mean loss of each fold in this epoch."""
    done = self._bar.pace.done + steps
    epoch = -(-done // self._per_epoch)  # rounded up
    parts = [f"epoch {epoch}/{self._n_epochs}"]
    if not self._is_first:
      # The first steps compile the program.
      parts.append(f"{steps * self._estimates / seconds:,.0f} patches/s")
    self._is_first = False
    shown = " ".join(f"{loss:.4f}" for loss in losses)
    parts.append(f"loss {shown}{self._note}")
    self._bar.set_postfix_str(", ".join(parts), refresh=False)
    self._bar.update(steps)
