"""What a person sees of a training: one line that tells how it goes."""

import numpy as np

from mrf_jax.parallel import bar


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
