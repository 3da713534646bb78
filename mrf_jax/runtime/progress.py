"""Progress bars and messages on the terminal."""

import sys
from collections.abc import Iterable

import numpy as np
from tqdm import tqdm


def progress(items: Iterable, *, total: int, text: str) -> Iterable:
  """Iterates over items, with a progress bar if it takes over a second."""
  return bar(items, total=total, text=text)


def bar(
  items: Iterable | None = None, *, total: int, text: str, **options
) -> tqdm:
  """A progress bar that appears after a second and disappears at the end.

  Without items it is updated by hand. Options are further ones of `tqdm`.
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
  """Prints a line that stays, above the progress bars."""
  tqdm.write(text, file=sys.stderr)


class LiveLine:
  """Progress of training: epoch, losses, estimates per second, time left."""

  def __init__(
    self, text: str, *, total: int, done: int, per_epoch: int, estimates: int
  ):
    """Starts the line, which appears after a second.

    Args:
      text: what is trained.
      total: number of steps in all.
      done: steps of an earlier run that is resumed.
      per_epoch: steps in an epoch.
      estimates: voxels estimated in one step, all folds together.
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
    """Shows `steps` more, and the mean loss of each fold in this epoch."""
    rate = steps * self._estimates / seconds
    epoch = -(-(self._bar.n + steps) // self._per_epoch)  # rounded up
    self._bar.set_postfix_str(
      f"epoch {epoch}/{self._n_epochs}, {rate:,.0f} patches/s, loss "
      + " ".join(f"{loss:.4f}" for loss in losses),
      refresh=False,
    )
    self._bar.update(steps)
