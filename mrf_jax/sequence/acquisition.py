"""A sequence with the sliding window of its reconstruction."""

import numpy as np
from jaxtyping import Float

from mrf_jax.dataset.subject import Subject
from mrf_jax.inference.model import Model
from mrf_jax.sequence.sequence import FRAME_FIELDS, PREPARATION_FIELDS
from mrf_jax.sequence.sequence import Sequence as Train

# Degrees and ms by which trains may differ that are one.
_TRAIN_TOLERANCE = 1e-3


def scan_difference(
  scan: Subject | Model, wanted: Train, window: int, stride: int
) -> tuple[str, str] | None:
  """The first thing that sets a scan apart from others, in words.

  Args:
    scan: the scan, or a model of such scans.
    wanted: the train of the others.
    window: frames of their sliding window.
    stride: frames from one window to the next.

  Returns:
    What the scan has, and what the others have; None where they are alike.
  """
  played = scan.sequence
  if played.n_frames != wanted.n_frames:
    return f"{played.n_frames} frames", str(wanted.n_frames)
  if scan.window != window:
    return f"window is {scan.window}", str(window)
  if scan.stride != stride:
    return f"stride is {scan.stride}", str(stride)
  for name in (*PREPARATION_FIELDS, "balanced"):
    found, value = getattr(played, name), getattr(wanted, name)
    both = found is not None and value is not None
    if both and abs(float(found) - float(value)) <= _TRAIN_TOLERANCE:
      continue
    if both or found is not value:
      return f"{name} of its sequence is {_said(found)}", _said(value)
  for name in FRAME_FIELDS:
    found, value = getattr(played, name), getattr(wanted, name)
    apart = np.flatnonzero(np.abs(found - value) > _TRAIN_TOLERANCE)
    if apart.size:
      frame = int(apart[0])
      return (
        f"{name} of frame {frame} is {found[frame]:g} ({apart.size} frames "
        "differ)",
        f"{value[frame]:g}",
      )
  return None


def _said(value) -> str:
  return "none" if value is None else f"{value:g}"


def sliding_window(
  frames: Float[np.ndarray, "voxel frame"], *, window: int, stride: int = 1
) -> Float[np.ndarray, "voxel window"]:
  """Mean over each window of neighbouring frames ("valid" windows).

  Args:
    frames: real or complex values, [voxel, frame].
    window: frames of one window.
    stride: frames from one window to the next.

  Returns:
    (frames − window) // stride + 1 values a voxel, of the input's type.
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
