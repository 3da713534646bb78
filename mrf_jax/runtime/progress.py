"""Progress bars and notices on the terminal."""

import sys
from collections.abc import Iterable

import numpy as np
from tqdm import tqdm


def progress(items: Iterable, *, total: int, text: str) -> Iterable:
  """Passes items through; shows a bar once the work takes a while."""
  return bar(items, total=total, text=text)


def bar(
  items: Iterable | None = None, *, total: int, text: str, **options
) -> tqdm:
  """A bar that is shown once the work takes a while, and leaves no trace.

  Args:
    items: passed through; None is for a bar that is updated by hand.
    total: of what is counted.
    text: what is being done.
    **options: of `tqdm`.
  """
  return tqdm(
    items,
    total=total,
    desc=text,
    delay=1.0,
    leave=False,
    dynamic_ncols=True,
    file=sys.stderr,
    **options,
  )


def notice(text: str) -> None:
  """A line for the user that stays, above whatever progress is shown."""
  tqdm.write(text, file=sys.stderr)


class LiveLine:
  """Epoch, losses, estimates per second and the time left, in one line."""

  def __init__(
    self, text: str, *, total: int, done: int, per_epoch: int, estimates: int
  ):
    """Begins a line; it appears when the work takes a while.

    Args:
      text: what is trained.
      total: steps in all.
      done: steps done before.
      per_epoch: steps of an epoch.
      estimates: estimates of one step, all folds together.
    """
    self._bar = bar(
      total=total,
      initial=done,
      text=text,
      bar_format="{desc} {percentage:3.0f}%|{bar:12}| {remaining} left"
      "{postfix}",
    )
    self._per_epoch = per_epoch
    self._n_epochs = total // per_epoch
    self._estimates = estimates

  def __enter__(self) -> "LiveLine":
    return self

  def __exit__(self, *error) -> None:
    self._bar.close()

  def update(self, steps: int, seconds: float, losses: np.ndarray) -> None:
    """After some more steps.

    Args:
      steps: since the last time.
      seconds: that they took.
      losses: mean loss of each fold in this epoch so far.
    """
    rate = steps * self._estimates / seconds
    epoch = -(-(self._bar.n + steps) // self._per_epoch)
    self._bar.set_postfix_str(
      f"epoch {epoch}/{self._n_epochs}, {rate:,.0f} patches/s, loss "
      + " ".join(f"{loss:.4f}" for loss in losses),
      refresh=False,
    )
    self._bar.update(steps)
