"""Gradients of a Pulseq file: their moments, decoded by `pypulseq`."""

import types
from typing import Any

import numpy as np
from jaxtyping import Float64

from mrf_jax.sequence.pulseq_text import EXTENSION, GX, GZ, PulseqText

# Samples of all pulses and gradients of different shapes.
_MOST_SAMPLES = 20_000_000


class Gradients:
  """Moments ∫ G dt of the gradients from the start of a file.

  Pulseq's gradients are in Hz/m, so that moments are cycles/m: that of a
  readout is its place in k-space.

  Attributes:
    blocks: the table of blocks.
    starts_s: start of each block, s.
    exist: whether a block has a gradient.
  """

  def __init__(self, file: Any, text: PulseqText, blocks, starts_s):
    """Decodes the gradients of some blocks of a `pypulseq` sequence."""
    self.blocks, self.starts_s = blocks, starts_s
    self._turns = _rotations(text, blocks)
    numbers = np.unique(blocks[:, GX : GZ + 1])
    # Of each gradient: its times from the start of the block, and its moment
    # until then. Gradients of one shape share them but for delay and amplitude.
    self._curves: dict[int, tuple[float, float, np.ndarray, np.ndarray]] = {}
    known: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
    n_samples = 0
    for number in numbers[numbers > 0].tolist():
      amplitude, delay, key = gradient(file, number)
      if key not in known:
        known[key] = curve(file, *key)
        n_samples = checked_samples(n_samples + known[key][0].size)
      self._curves[number] = (amplitude, delay, *known[key])
    self.exist = bool(self._curves)
    totals = {0: 0.0} | {
      number: amplitude * moments[-1]
      for number, (amplitude, _, _, moments) in self._curves.items()
    }
    of_block = np.array(
      [[totals[n] for n in row] for row in blocks[:, GX : GZ + 1].tolist()]
    ).reshape(-1, 3)
    if not np.isfinite(of_block).all():
      raise ValueError("a gradient is not finite")
    for block, turn in self._turns.items():
      of_block[block] = turn @ of_block[block]
    self._at_starts = np.cumsum(of_block, 0) - of_block

  def moments(
    self, block: int, times_s: Float64[np.ndarray, "time"]
  ) -> Float64[np.ndarray, "time 3"]:
    """Moments along x, y and z at times from a block's start, cycles/m."""
    within = np.zeros((len(times_s), 3))
    for axis, number in enumerate(self.blocks[block, GX : GZ + 1].tolist()):
      if number:
        amplitude, delay, times, moments = self._curves[number]
        within[:, axis] = amplitude * np.interp(times_s - delay, times, moments)
    if block in self._turns:
      within = within @ self._turns[block].T
    return self._at_starts[block] + within


def event(library: Any, number: int, kind: str) -> tuple:
  """Values of an event; `ValueError` if it does not exist."""
  if number not in library.data:
    raise ValueError(f"there is no {kind} event {number}")
  return library.data[number]


def checked_samples(n_samples: int) -> int:
  """The number; `ValueError` if so many would take too much memory."""
  if n_samples > _MOST_SAMPLES:
    raise ValueError(f"shapes of more than {_MOST_SAMPLES:,} samples")
  return n_samples


def gradient(file: Any, number: int) -> tuple[float, float, tuple]:
  """Amplitude, Hz/m, delay, s, and what makes the shape of a gradient."""
  values = event(file.grad_library, number, "gradient")
  if file.grad_library.type[number] == "t":
    amplitude, *times_s, delay = values
    return float(amplitude), float(delay), ("trapezoid", *times_s)
  amplitude, _, _, shape, time_shape, delay = values
  return float(amplitude), float(delay), ("shape", int(shape), int(time_shape))


def curve(file: Any, kind: str, *values) -> tuple[np.ndarray, np.ndarray]:
  """Times, s, and the moment of a gradient of amplitude one until then.

  Samples without times lie in the middle of steps of the gradient raster; at
  time shape −1 every other one lies between two steps (Pulseq 1.5).
  """
  if kind == "trapezoid":
    rise, flat, fall = values
    times = np.cumsum([0.0, rise, flat, fall])
    return times, np.cumsum([0.0, rise / 2, flat, fall / 2])
  shape, time_shape = values
  samples = _samples(file, shape)
  if time_shape > 0:
    times = _samples(file, time_shape) * float(file.grad_raster_time)
    if times.size != samples.size:
      raise ValueError(
        f"a gradient of {samples.size} samples at {times.size} times"
      )
    steps = np.diff(times) * (samples[1:] + samples[:-1]) / 2
    return times, np.concatenate([[0.0], np.cumsum(steps)])
  if time_shape < 0:
    samples = samples[::2]
  raster_s = float(file.grad_raster_time)
  moments = np.concatenate([[0.0], np.cumsum(samples)]) * raster_s
  return np.arange(moments.size) * raster_s, moments


def _samples(file: Any, number: int) -> np.ndarray:
  """Samples of a shape."""
  # Imported here, because `pypulseq` imports a plotting library.
  from pypulseq.decompress_shape import decompress_shape

  n_samples, *_ = data = event(file.shape_library, number, "shape")
  return decompress_shape(
    types.SimpleNamespace(num_samples=n_samples, data=np.asarray(data)[1:])
  )


def _rotations(text: PulseqText, blocks) -> dict[int, np.ndarray]:
  """Rotation matrix of each block that turns its gradients, by its place."""
  found = {}
  rows = text.rows.get("ROTATIONS", {})
  for place in np.flatnonzero(blocks[:, EXTENSION]).tolist():
    for name, row in text.extensions(blocks[place]):
      if name == "ROTATIONS":
        if row not in rows:
          raise ValueError(f"there is no rotation {row}")
        found[place] = _rotation([float(word) for word in rows[row]])
  return found


def _rotation(values: list[float]) -> np.ndarray:
  """Matrix of a unit quaternion (Pulseq 1.5.1), or of nine numbers, by rows."""
  if len(values) == 9:
    return np.array(values).reshape(3, 3)
  if len(values) != 4 or not 0.9 < np.linalg.norm(values) < 1.1:
    raise ValueError(f"{values} is no rotation")
  w, x, y, z = np.array(values) / np.linalg.norm(values)
  return np.array(
    [
      [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
      [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
      [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
  )
