"""What the gradient moments of a Pulseq file say of its pulse train."""

import dataclasses

import numpy as np
from jaxtyping import Float64

from mrf_jax.sequence.pulseq_events import Events, RfEvent

# Cycles across a voxel from pulse to pulse. A balanced train leaves none but
# for rounding; a spoiled one leaves one (Jiang 2015: 4π or more over a slice is
# usual), and loses some of it to the ramps.
_BALANCED, _SPOILED = 0.05, 0.9
# Moments that differ by more cycles from one repetition to the next do not
# refocus each other.
_EQUAL = 0.25
# Half of the time over which the gradient at the centre of a pulse is measured,
# s: shorter than any plateau.
_HALF_S = 20e-6
# Parts of a readout at which its place in k-space is computed.
_PARTS = 32
# Voxel size, m, where a file has neither slice selection nor encoding: small,
# so that spoiling is not assumed without reason.
_VOXEL_M = 1e-3
# Least k_max, cycles/m, that is encoding: that of a voxel of 50 cm.
_LEAST = 1.0
# Share of a readout's extent in k-space that its echo may lie off the centre.
_FAR = 0.5


@dataclasses.dataclass(frozen=True)
class Encoding:
  """Slices and readouts of a train.

  Attributes:
    path: name of the file.
    at_centres: moments at the centres of the pulses, [frame, 3], cycles/m.
    places: of the first readout of each frame in k-space, in equal parts from
      its start, without the axis of slice selection, [frame, part, 3],
      cycles/m.
    scale_m: matrix that turns a moment, by rows, into cycles over a voxel.
  """

  path: str
  at_centres: Float64[np.ndarray, "frame 3"]
  places: Float64[np.ndarray, "frame part 3"]
  scale_m: Float64[np.ndarray, "3 3"]


def encoding(events: Events, train: list[RfEvent]) -> Encoding | None:
  """Slices and readouts of a train, or None for a file without gradients.

  Along the gradient of slice selection a voxel is as thick as the slice, the
  width of the pulse's spectrum over the gradient; across it, 1/(2 k_max).
  """
  if not events.gradients.exist:
    return None
  at_centres = np.stack([_at_centre(events, pulse)[0] for pulse in train])
  model = next((pulse for pulse in train if pulse.shape.size), train[0])
  _, gradient = _at_centre(events, model)
  strength = float(np.linalg.norm(gradient))
  along, across = np.zeros((3, 3)), np.eye(3)
  if strength > 0 and model.width_hz > 0:
    normal = gradient / strength
    along = np.outer(normal, normal)
    across -= along
    along *= model.width_hz / strength
  times_ms = np.array([pulse.centre_ms for pulse in train])
  first = np.searchsorted(events.readouts.starts_ms, times_ms)
  places = np.stack([_k_space(events, number) for number in first])
  places = (places - at_centres[:, None]) @ across
  largest = float(np.linalg.norm(places, axis=-1).max())
  size_m = 1 / (2 * largest) if largest > _LEAST else _VOXEL_M
  return Encoding(
    str(events.text.path), at_centres, places, along + size_m * across
  )


def spoiling(train: Encoding) -> tuple[bool, list[str]]:
  """Whether a train is balanced, and a sentence if it is hardly spoiled either.

  M is the moment of the gradients from the centre of one pulse to that of the
  next. Over a voxel of size d its dephasing is |M| d cycles.
  """
  moments = np.diff(train.at_centres, axis=0)
  if not len(moments):
    return False, []
  cycles = np.linalg.norm(moments @ train.scale_m, axis=1)
  if cycles.max() <= _BALANCED:
    return True, []
  if cycles.min() < _SPOILED:
    frame = int(np.argmin(cycles))
    return False, [
      f"the gradients of {train.path} turn the spins of a voxel by "
      f"{cycles.min():.2g} (frame {frame}) to {cycles.max():.2g} cycles from "
      "pulse to pulse, which is neither balanced (none) nor spoiled (one or "
      "more); taken to be gradient-spoiled"
    ]
  apart = np.linalg.norm((moments - moments[0]) @ train.scale_m, axis=1)
  if apart.max() > _EQUAL:
    return False, [
      f"the gradients of {train.path} spoil by other moments in frame "
      f"{int(np.argmax(apart))} than in frame 0 ({apart.max():.2g} cycles of a "
      "voxel apart); simulated echoes assume one moment for all"
    ]
  return False, []


def echo_position(train: Encoding, *, share: float) -> list[str]:
  """A sentence if the echo is assumed far from the centre of k-space.

  Args:
    train: its readouts.
    share: of a readout before the assumed echo, 0 (start) to 1 (end).
  """
  distances = np.linalg.norm(train.places, axis=-1)
  nearest = distances.min(axis=1)
  # On a line these are the distances from its point nearest to the centre.
  extents = np.sqrt(distances.max(axis=1) ** 2 - nearest**2)
  assumed = distances[:, round(share * (_PARTS - 1))]
  apart = np.sqrt(np.maximum(assumed**2 - nearest**2, 0))
  # Most frames, because some may encode nothing.
  extent = float(np.median(extents))
  if extent < _LEAST or np.median(apart) <= _FAR * extent:
    return []
  part = np.median(np.argmin(distances, axis=1)) / (_PARTS - 1)
  return [
    f"the readouts of {train.path} pass the centre of k-space after "
    f"{100 * part:.0f} % of their time, but the echo is taken to be after "
    f"{100 * share:.0f} % (--echo: adc_start or adc_centre)"
  ]


def _at_centre(
  events: Events, pulse: RfEvent
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
  """Moment, cycles/m, and gradient, Hz/m, at the centre of a pulse."""
  start_s = events.gradients.starts_s[pulse.block]
  centre_s = pulse.centre_ms / 1000 - start_s
  around = centre_s + np.array([-_HALF_S, 0.0, _HALF_S])
  before, at, after = events.gradients.moments(pulse.block, around)
  return at, (after - before) / (2 * _HALF_S)


def _k_space(events: Events, number: int) -> Float64[np.ndarray, "part 3"]:
  """Moments during a readout, in equal parts from its start, cycles/m."""
  readouts, gradients = events.readouts, events.gradients
  block = int(readouts.blocks[number])
  start_s = readouts.starts_ms[number] / 1000 - gradients.starts_s[block]
  half_s = (readouts.centres_ms[number] - readouts.starts_ms[number]) / 1000
  times_s = start_s + 2 * half_s * np.linspace(0, 1, _PARTS)
  return gradients.moments(block, times_s)
