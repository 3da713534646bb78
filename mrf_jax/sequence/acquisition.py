"""An acquisition: a pulse sequence with its sliding-window reconstruction."""

import dataclasses

import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.sequence.sequence import (
  FRAME_FIELDS,
  PREPARATION_FIELDS,
  Sequence,
)
from mrf_jax.sequence.sliding_window import check_window, how_to_make_windows

# Degrees and ms by which two sequences may differ and still be the same.
_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Acquisition:
  """A pulse sequence and the sliding window that makes images of its frames.

  Checks itself when it is made.

  Attributes:
    sequence: the pulse sequence.
    window: frames that one image averages.
    stride: frames from one image to the next.

  Raises:
    UserError: the window does not fit the sequence.
  """

  sequence: Sequence
  window: int = 1
  stride: int = 1

  def __post_init__(self):
    """Checks the window."""
    check_window(self.sequence.n_frames, self.window, self.stride)

  def __repr__(self) -> str:
    """The windows in one line, then the sequence in three."""
    return f"Acquisition: {self.images_in_words()}\n{self.sequence!r}"

  def images_in_words(self) -> str:
    """Number of images and their windows, such as `85 images of 48 frames`."""
    if self.window == 1 and self.stride == 1:
      return f"{self.n_windows} images of single frames"
    return (
      f"{self.n_windows} images, windows of {self.window} frames with stride "
      f"{self.stride}"
    )

  @property
  def n_windows(self) -> int:
    """Number of sliding-window images, T."""
    return (self.sequence.n_frames - self.window) // self.stride + 1

  def check_images(self, n_images: int, what: str) -> None:
    """Raises `UserError` unless there is one image for each window.

    The message begins with `what`, the images in words.
    """
    if n_images == self.n_windows:
      return
    message = (
      f"{what}, but {self.sequence.n_frames} frames in windows of "
      f"{self.window} with stride {self.stride} make {self.n_windows}"
    )
    if n_images == self.sequence.n_frames:
      message += f"; {how_to_make_windows(self.window, self.stride)}"
    raise UserError(message)

  def difference(self, other: "Acquisition") -> tuple[str, str] | None:
    """The first difference from another acquisition, in words.

    Returns:
      What this one has, and what the other has; None where they are alike.
    """
    mine, its = self.sequence, other.sequence
    if mine.n_frames != its.n_frames:
      return f"{mine.n_frames} frames", str(its.n_frames)
    for name in ("window", "stride"):
      own, value = getattr(self, name), getattr(other, name)
      if own != value:
        return f"{name} is {own}", str(value)
    for name in (*PREPARATION_FIELDS, "inversion_efficiency", "balanced"):
      own, value = getattr(mine, name), getattr(its, name)
      both = own is not None and value is not None
      if both and abs(float(own) - float(value)) <= _TOLERANCE:
        continue
      if both or own is not value:
        return f"{name} of its sequence is {_text(own)}", _text(value)
    # Few files say it, and where one does not, it may be the same.
    products = (mine.slice_time_bandwidth, its.slice_time_bandwidth)
    if None not in products and products[0] != products[1]:
      return f"slice_time_bandwidth of its sequence is {products[0]:g}", (
        f"{products[1]:g}"
      )
    for name in FRAME_FIELDS:
      own, value = getattr(mine, name), getattr(its, name)
      apart = np.flatnonzero(np.abs(own - value) > _TOLERANCE)
      if apart.size:
        frame = int(apart[0])
        return (
          f"{name} of frame {frame} is {own[frame]:g} ({apart.size} frames "
          "differ)",
          f"{value[frame]:g}",
        )
    return None


class Acquired:
  """Base of what has an `acquisition`: its parts as properties."""

  acquisition: Acquisition

  @property
  def sequence(self) -> Sequence:
    """The pulse sequence."""
    return self.acquisition.sequence

  @property
  def window(self) -> int:
    """Frames that one sliding-window image averages."""
    return self.acquisition.window

  @property
  def stride(self) -> int:
    """Frames from one window to the next."""
    return self.acquisition.stride

  @property
  def n_windows(self) -> int:
    """Number of sliding-window images, T."""
    return self.acquisition.n_windows


def _text(value: float | None) -> str:
  return "none" if value is None else f"{value:g}"
