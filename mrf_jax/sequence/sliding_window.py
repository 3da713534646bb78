"""Sliding-window mean over neighbouring frames."""

import math

import numpy as np
from jaxtyping import Inexact, Num

from mrf_jax.errors import UserError

# Rows whose sums are in double precision at once; they stay in the cache.
_ROWS = 256


def sliding_window(
  frames: Num[np.ndarray, "*voxel frame"], *, window: int, stride: int = 1
) -> Inexact[np.ndarray, "*voxel window"]:
  """Mean over each window of neighbouring frames ("valid" windows).

  There are (frames − window) // stride + 1 of them.

  Args:
    frames: signals or images of single frames, which are the last axis.
    window: frames that one mean is of.
    stride: frames from one window to the next.

  Returns:
    Means of the type of the frames; whole numbers become float64.

  Raises:
    UserError: the window does not fit the frames, or a frame is NaN or
      infinite.
  """
  frames = np.asarray(frames)
  if not np.issubdtype(frames.dtype, np.inexact):
    frames = frames.astype(np.float64)
  *shape, n_frames = frames.shape
  check_window(n_frames, window, stride)
  n_windows = (n_frames - window) // stride + 1
  flat = frames.reshape(math.prod(shape), n_frames)
  windows = np.empty((len(flat), n_windows), frames.dtype)
  wide = np.result_type(frames.dtype, np.float64)
  for start in range(0, len(flat), _ROWS):
    rows = flat[start : start + _ROWS]
    total = np.zeros((len(rows), n_frames + 1), wide)
    np.cumsum(rows, axis=1, out=total[:, 1:])
    # The sum of all frames, and of all windows behind it, is then no number.
    invalid = ~np.isfinite(total[:, -1])
    if invalid.any():
      row = start + int(np.argmax(invalid))
      place = ", ".join(map(str, np.unravel_index(row, shape)))
      raise UserError(
        f"sliding_window: frames[{place}] has values that are NaN or infinite"
      )
    sums = (total[:, window:] - total[:, :-window])[:, ::stride]
    windows[start : start + _ROWS] = sums / window
  return windows.reshape(*shape, n_windows)


def check_window(n_frames: int, window: int, stride: int) -> None:
  """Raises `UserError` unless the window fits the frames."""
  if not 1 <= window <= n_frames or stride < 1:
    raise UserError(
      f"window {window} and stride {stride} do not fit {n_frames} frames"
    )


def how_to_make_windows(window: int, stride: int) -> str:
  """Says in an error how windows are made of single frames."""
  return (
    f"mrf_jax.sliding_window(frames, window={window}, stride={stride}) makes "
    "windows of single frames"
  )
