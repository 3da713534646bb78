"""Sliding-window mean over neighbouring frames."""

import numpy as np
from jaxtyping import Inexact


def sliding_window(
  frames: Inexact[np.ndarray, "voxel frame"], *, window: int, stride: int = 1
) -> Inexact[np.ndarray, "voxel window"]:
  """Mean over each window of neighbouring frames ("valid" windows).

  There are (frames − window) // stride + 1 of them; values keep their type.
  """
  n_windows = (frames.shape[1] - window) // stride + 1
  windows = np.empty((len(frames), n_windows), frames.dtype)
  wide = np.result_type(frames.dtype, np.float64)
  for start in range(0, len(frames), 4096):
    rows = frames[start : start + 4096]
    total = np.zeros((len(rows), frames.shape[1] + 1), wide)
    np.cumsum(rows, axis=1, out=total[:, 1:])
    sums = (total[:, window:] - total[:, :-window])[:, ::stride]
    windows[start : start + 4096] = sums / window
  return windows
