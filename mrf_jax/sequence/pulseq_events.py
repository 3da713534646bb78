"""RF pulses, readouts and gradient moments of a Pulseq file, in their order.

`pypulseq` decodes events and shapes, each only once however often it is played.
"""

import dataclasses
import pathlib
import tempfile
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from mrf_jax.errors import UserError, one_line
from mrf_jax.io.untrusted import cpu_limit
from mrf_jax.sequence.pulseq_gradients import (
  Gradients,
  checked_samples,
  curve,
  event,
  gradient,
)
from mrf_jax.sequence.pulseq_text import (
  ADC,
  DURATION,
  NUMBER,
  RF,
  PulseqText,
  read_text,
)

# CPU time for reading a file, s: a start, and a rate for its text. A file of
# 62,000 blocks and 9 MB takes 2 s, a fiftieth of it.
_CPU_S = 10.0
_BYTES_PER_CPU_S = 1e5
# Times in a file are rounded to less than this, s.
_ROUNDED_S = 1e-6
# Samples of a pulse's spectrum, and how much finer its steps are than its width
# asks for: the width of a slice is then known to some per cent.
_SPECTRUM_SAMPLES, _SPECTRUM_ZEROS = 512, 32
# Uses of pulses in a file.
_USES = {
  "e": "excitation",
  "r": "refocusing",
  "i": "inversion",
  "s": "saturation",
  "p": "preparation",
  "o": "other",
}


@dataclasses.dataclass(frozen=True)
class RfEvent:
  """One RF pulse of a Pulseq file.

  Attributes:
    use: its use in the file, `excitation`, `inversion`, …, or `undefined`.
    flip_angle_deg: 360° |∫ B1 dt|, degrees; not valid for adiabatic pulses.
    phase_deg: phase at its centre, degrees within a turn.
    centre_ms: time of its centre from the start of the file, ms.
    shape: complex samples, the largest of which is one; empty for a pulse
      without amplitude.
    offset: frequency offset, Hz, and the offsets of frequency and phase, ppm.
    block: its place in the table of blocks.
    width_hz: full width of its spectrum at half of the maximum, Hz; 0 for a
      pulse without amplitude.
  """

  use: str
  flip_angle_deg: float
  phase_deg: float
  centre_ms: float
  shape: np.ndarray
  offset: tuple[float, float, float]
  block: int
  width_hz: float

  def is_like(self, other: "RfEvent") -> bool:
    """Whether both differ only by scale and phase, or one has no amplitude."""
    if not (self.shape.size and other.shape.size):
      return True
    return (
      self.shape is other.shape
      or (
        self.shape.shape == other.shape.shape
        and np.allclose(self.shape, other.shape, atol=1e-3)
      )
    ) and np.allclose(self.offset, other.offset, rtol=0, atol=1e-3)

  @property
  def inverts(self) -> bool:
    """Whether it rotates by 180° or has an adiabatic pulse's swept phase."""
    is_swept = self.shape.size and np.abs(self.shape.imag).max() > 0.1
    return bool(is_swept) or abs(self.flip_angle_deg - 180) <= 10


@dataclasses.dataclass(frozen=True)
class Readouts:
  """All readouts, in their order.

  Attributes:
    starts_ms: time of the first sample from the start of the file, ms.
    centres_ms: time of the middle, ms.
    phases_deg: phase of the receiver, degrees.
    blocks: places in the table of blocks.
  """

  starts_ms: Float64[np.ndarray, "readout"]
  centres_ms: Float64[np.ndarray, "readout"]
  phases_deg: Float64[np.ndarray, "readout"]
  blocks: Int64[np.ndarray, "readout"]


@dataclasses.dataclass(frozen=True)
class Events:
  """Events of a Pulseq file, as far as it was read.

  Attributes:
    text: the file's text.
    pulses: all RF pulses.
    readouts: all readouts.
    gradients: moments of the gradients.
  """

  text: PulseqText
  pulses: list[RfEvent]
  readouts: Readouts
  gradients: Gradients


def read_events(
  path: pathlib.Path, *, n_excitations: int | None = None
) -> Events:
  """Reads RF pulses, readouts and gradients in their order.

  Args:
    path: the file.
    n_excitations: blocks after the pulse behind so many excitations are not
      looked at; None reads all.

  Raises:
    UserError: the file cannot be read.
  """
  # Imported here, because it imports a plotting library, which takes a second.
  import pypulseq

  text = read_text(pathlib.Path(path))
  seconds = _CPU_S + path.stat().st_size / _BYTES_PER_CPU_S
  with warnings.catch_warnings():
    # It warns of a scanner's limits, which do not matter here, and leaves files
    # open that it cannot read.
    warnings.simplefilter("ignore")
    try:
      with cpu_limit(seconds):
        file = pypulseq.Sequence(use_block_cache=False)
        return _events(file, text, n_excitations)
    # A damaged text may lead its parser to raise anything.
    except Exception as error:
      message = one_line(error)
      if not isinstance(error, ValueError | TimeoutError):
        message = f"{type(error).__name__}: {message}"
  raise UserError(f"{path}: not a readable Pulseq file ({message})")


def _events(file: Any, text: PulseqText, n_excitations: int | None) -> Events:
  """The events of a text, decoded by an empty `pypulseq` sequence."""
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder) / "events.seq"
    # `pypulseq` reads it in the encoding of the system.
    copy.write_bytes(text.events().encode("ascii", errors="replace"))
    file.read(str(copy), remove_duplicates=False)
  blocks = text.blocks
  if text.delays_s is None:
    durations_s = blocks[:, DURATION] * float(file.block_duration_raster)
  else:
    durations_s = _durations_s(file, blocks, text.delays_s)
  ends_s = np.cumsum(durations_s)
  starts_s = ends_s - durations_s
  pulses, readouts = _pulses_and_readouts(
    file, blocks, (starts_s, ends_s), n_excitations
  )
  if n_excitations is not None and pulses:
    last = max(pulses[-1].block, *readouts.blocks[-1:], 0) + 1
    blocks, starts_s = blocks[:last], starts_s[:last]
  return Events(text, pulses, readouts, Gradients(file, text, blocks, starts_s))


def _durations_s(
  file: Any, blocks: Int64[np.ndarray, "block 8"], delays_s: dict[int, float]
) -> Float64[np.ndarray, "block"]:
  """Durations of blocks before Pulseq 1.4: as long as delay and events, s."""

  def of_rf(number):
    rf = file.rf_from_lib_data(event(file.rf_library, number, "RF"))
    return rf.delay + rf.shape_dur

  def of_gradient(number):
    _, delay, key = gradient(file, number)
    return delay + curve(file, *key)[0][-1]

  def of_adc(number):
    n_samples, dwell, delay, *_ = event(file.adc_library, number, "ADC")
    return delay + n_samples * dwell

  durations_s = np.zeros(len(blocks))
  lengths = (lambda n: delays_s[n], of_rf, *3 * (of_gradient,), of_adc)
  for column, length in enumerate(lengths, start=DURATION):
    numbers, places = np.unique(blocks[:, column], return_inverse=True)
    each = np.array([length(n) if n else 0.0 for n in numbers.tolist()])
    durations_s = np.maximum(durations_s, each[places])
  return durations_s


def _pulses_and_readouts(
  file: Any, blocks, times_s, n_excitations: int | None
) -> tuple[list[RfEvent], Readouts]:
  """RF pulses and readouts until the pulse behind so many excitations.

  Args:
    file: the `pypulseq` sequence.
    blocks: the table of blocks.
    times_s: start and end of each block, s.
    n_excitations: see `read_events`.
  """
  pulses: list[RfEvent] = []
  rows: list[tuple[float, float, float, int]] = []
  shapes: dict[tuple, _Shape] = {}
  n_samples = 0
  for place in np.flatnonzero(blocks[:, RF] | blocks[:, ADC]).tolist():
    start, end = float(times_s[0][place]), float(times_s[1][place])
    rf, adc = int(blocks[place, RF]), int(blocks[place, ADC])
    if rf:
      n_shapes = len(shapes)
      pulses.append(_pulse(file, rf, start, place, shapes))
      if len(shapes) > n_shapes:
        n_samples = checked_samples(n_samples + pulses[-1].shape.size)
    if adc:
      values = event(file.adc_library, adc, "ADC")
      n_samples, dwell, delay, phase_rad = *values[:3], values[6]
      time = start + delay
      centre = time + 0.5 * int(n_samples) * dwell
      if 2 * centre - time > end + _ROUNDED_S:
        raise ValueError(
          f"the readout of block {blocks[place, NUMBER]} ends "
          f"{1e3 * (2 * centre - time - start):g} ms after the block's start, "
          f"which lasts {1e3 * (end - start):g} ms: is BlockDurationRaster "
          "wrong?"
        )
      rows.append((1000 * time, 1000 * centre, np.rad2deg(phase_rad), place))
    if rf and n_excitations is not None and len(pulses) > n_excitations:
      times = np.array([row[0] for row in rows])
      if len(pulses) - first_excitation(pulses, times) > n_excitations:
        break
  columns = [np.array(column) for column in zip(*rows, strict=True)]
  starts, centres, phases, places = columns or np.empty((4, 0))
  if not np.isfinite([starts, centres, phases]).all():
    raise ValueError("a time or phase of a readout is not finite")
  return pulses, Readouts(starts, centres, phases, places.astype(np.int64))


def first_excitation(pulses: list[RfEvent], readouts_ms: np.ndarray) -> int:
  """Number of the first excitation; the number of pulses if there is none."""
  for number, pulse in enumerate(pulses):
    if pulse.use == "excitation":
      return number
  # Older files have no uses: a first pulse without a readout may invert.
  pulse = pulses[0]
  end_ms = pulses[1].centre_ms if len(pulses) > 1 else np.inf
  after = readouts_ms[readouts_ms > pulse.centre_ms]
  has_readout = after.size > 0 and after[0] < end_ms
  if pulse.use == "undefined":
    return int(pulse.inverts and not has_readout)
  uses = [pulse.use for pulse in pulses]
  return uses.index("undefined") if "undefined" in uses else len(pulses)


@dataclasses.dataclass(frozen=True)
class _Shape:
  """Shape of RF pulses: samples, the largest of which is one, and their sums.

  Attributes:
    samples: complex samples, or none.
    area_s: ∫ B1 dt of a pulse of amplitude one, complex, s.
    width_hz: full width of the spectrum at half of the maximum, Hz.
  """

  samples: np.ndarray
  area_s: complex
  width_hz: float


def _shape(rf: Any) -> _Shape:
  """The shape of an RF event of amplitude one."""
  signal, time = np.asarray(rf.signal), np.asarray(rf.t)
  if time.size > 1 and time[0] > 0:
    # Samples in the middle of their raster steps.
    area = signal.sum() * (time[1] - time[0])
  else:
    area = np.trapezoid(signal, time)
  largest = signal[np.argmax(np.abs(signal))]
  samples = signal / largest if largest else signal[:0]
  return _Shape(samples, complex(area), _width_hz(signal, time))


def _width_hz(signal: np.ndarray, time: np.ndarray) -> float:
  """Full width of a pulse's spectrum at half of the maximum, Hz."""
  if time.size < 2 or not np.any(signal):
    return 0.0
  # Evenly spaced; the zeros behind it make the steps of the spectrum finer.
  even = np.linspace(time[0], time[-1], _SPECTRUM_SAMPLES)
  values = np.interp(even, time, signal.real) + 1j * np.interp(
    even, time, signal.imag
  )
  spectrum = np.abs(np.fft.fft(values, _SPECTRUM_ZEROS * _SPECTRUM_SAMPLES))
  step_hz = 1 / (_SPECTRUM_ZEROS * _SPECTRUM_SAMPLES * (even[1] - even[0]))
  return float(np.count_nonzero(spectrum >= spectrum.max() / 2) * step_hz)


def _pulse(
  file: Any, number: int, start: float, place: int, shapes: dict[tuple, _Shape]
) -> RfEvent:
  """The RF event of a number in the block at `place`, which starts at `start`.

  Pulses of equal shapes differ by amplitude and phase, and share the samples.
  """
  values = event(file.rf_library, number, "RF")
  amplitude, ids = float(values[0]), tuple(values[1:4])
  centre, delay, freq_ppm, phase_ppm, freq_hz, phase_rad = values[4:10]
  if ids not in shapes:
    shapes[ids] = _shape(file.rf_from_lib_data((1.0, *values[1:])))
  shape = shapes[ids]
  use = _USES.get(file.rf_library.type.get(number, ""), "undefined")
  # Complex, so that a negative flip angle is a phase of 180°.
  area = amplitude * shape.area_s
  # The frequency of a shifted slice turns the phase until the centre.
  phase_deg = np.rad2deg(np.angle(area) + phase_rad) + 360 * freq_hz * centre
  return RfEvent(
    use=use,
    flip_angle_deg=float(360 * np.abs(area)),
    # A file has six digits, which is 3e-4°: π is 179.9998°.
    phase_deg=float(np.mod(np.round(phase_deg, 3), 360)),
    centre_ms=float(1000 * (start + delay + centre)),
    shape=shape.samples if amplitude else shape.samples[:0],
    offset=(freq_hz, freq_ppm, phase_ppm),
    block=place,
    width_hz=shape.width_hz,
  )
