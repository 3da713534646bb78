"""Reads pulse sequences from Pulseq files with `pypulseq`."""

import collections
import dataclasses
import hashlib
import io
import os
import pathlib
import re
import warnings
from typing import Any

import numpy as np

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.io.untrusted import time_limit
from mrf_jax.sequence.sequence import Sequence, make_sequence

ECHOES = ("adc_start", "adc_centre")
# Uses of a pulse before the first excitation, and the field of its delay.
_PREPARATIONS = {
  "inversion": "inversion_time_ms",
  "saturation": "saturation_time_ms",
}
# Samples of a shape: ten seconds of a gradient in steps of 10 µs, or one second
# of a pulse in steps of 1 µs. Real ones last some ten milliseconds, but a shape
# that repeats itself can claim any length in a few lines.
_LONGEST_SHAPE = 1_000_000
# Samples of all pulses whose shapes differ from the one before.
_MOST_SAMPLES = 20_000_000
# Time limit for reading a block, s; it takes a tenth of it.
_BLOCK_S = 1e-3


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
  """

  use: str
  flip_angle_deg: float
  phase_deg: float
  centre_ms: float
  shape: np.ndarray
  offset: tuple[float, float, float]

  def is_like(self, other: "RfEvent") -> bool:
    """Whether both differ only by scale and phase, or one has no amplitude."""
    if not (self.shape.size and other.shape.size):
      return True
    return (
      self.shape.shape == other.shape.shape
      and np.allclose(self.shape, other.shape, atol=1e-3)
      and np.allclose(self.offset, other.offset, rtol=0, atol=1e-3)
    )

  @property
  def inverts(self) -> bool:
    """Whether it rotates by 180° or has an adiabatic pulse's swept phase."""
    is_swept = self.shape.size and np.abs(self.shape.imag).max() > 0.1
    return bool(is_swept) or abs(self.flip_angle_deg - 180) <= 10


def load_pulseq(
  path: str | os.PathLike,
  *,
  echo: str = "adc_start",
  n_frames: int | None = None,
) -> Sequence:
  """Reads a gradient-spoiled sequence from the events of a Pulseq file.

  Excitations are the RF pulses of one shape and frequency. An inversion or a
  saturation may be before them: in files without uses (before Pulseq 1.5), a
  first pulse without readout that rotates by 180 ± 10°, or whose phase is
  swept, is an inversion. TR is the time from pulse centre to pulse centre; the
  last one, which no echo depends on, repeats the one before.

  Args:
    path: the `.seq` file.
    echo: time of the echo in the readout of a frame: `adc_start`, for spirals
      from the centre of k-space outwards, or `adc_centre`, for lines.
    n_frames: number of the first frames to keep, after which the file is not
      checked; None keeps all.

  Returns:
    The checked sequence.

  Raises:
    UserError: the file cannot be read, has no RF, an excitation of another
      shape, a pulse that is neither excitation nor preparation, or a frame
      without ADC; the error names the pulse and its flip angle.
  """
  path = pathlib.Path(path)
  check_one_of("echo", echo, ECHOES)
  pulses, readouts_ms = read_events(path, echo=echo)
  if not pulses:
    raise UserError(f"{path}: it has no RF pulses")
  first = _first_excitation(pulses, readouts_ms)
  if first == len(pulses):
    raise UserError(f"{path}: it has no excitation")
  preparation = _preparation(path, pulses, first)
  excitations = pulses[first:]
  if len(excitations) < 2:
    raise UserError(f"{path}: one excitation alone has no TR")
  centres_ms = np.array([pulse.centre_ms for pulse in excitations])
  tr_ms = np.diff(centres_ms)
  tr_ms = np.append(tr_ms, tr_ms[-1])
  if n_frames is not None and len(excitations) < n_frames:
    raise UserError(f"{path}: {len(excitations)} frames, {n_frames} are needed")
  excitations, centres_ms = excitations[:n_frames], centres_ms[:n_frames]
  tr_ms = tr_ms[:n_frames]
  _check_excitations(path, excitations, first)
  following = np.searchsorted(readouts_ms, centres_ms)
  te_ms = np.append(readouts_ms, np.inf)[following] - centres_ms
  missing = np.flatnonzero(te_ms >= tr_ms)
  if missing.size:
    raise UserError(
      f"{path}: no ADC follows RF pulse {first + missing[0]} of "
      f"{excitations[missing[0]].flip_angle_deg:.1f}° within its TR"
    )
  return make_sequence(
    [pulse.flip_angle_deg for pulse in excitations],
    tr_ms,
    te_ms,
    [pulse.phase_deg for pulse in excitations],
    **preparation,
  )


def _preparation(
  path: pathlib.Path, pulses: list[RfEvent], first: int
) -> dict[str, Any]:
  """Field and delay (centre to centre) of a pulse before the excitations."""
  preparation = {}
  for number, pulse in enumerate(pulses[:first]):
    # Older files have no uses.
    use = "inversion" if pulse.use == "undefined" else pulse.use
    if use not in _PREPARATIONS or first > 1:
      raise UserError(
        f"{path}: RF pulse {number} of {pulse.flip_angle_deg:.1f}° "
        f"({pulse.use}) is before the first excitation; only one inversion or "
        "saturation may be there"
      )
    if use == "saturation" and any(pulse.offset):
      raise UserError(
        f"{path}: RF pulse {number} of {pulse.flip_angle_deg:.1f}° saturates "
        f"{pulse.offset[0]:g} Hz off resonance; only a saturation of water is "
        "known"
      )
    delay_ms = pulses[first].centre_ms - pulse.centre_ms
    preparation[_PREPARATIONS[use]] = delay_ms
  return preparation


def _check_excitations(
  path: pathlib.Path, excitations: list[RfEvent], first: int
) -> None:
  """Raises `UserError` if the excitations do not all have one shape."""
  # A pulse without amplitude has no shape to compare with.
  shaped = [k for k, pulse in enumerate(excitations) if pulse.shape.size]
  model = shaped[0] if shaped else 0
  for number, pulse in enumerate(excitations, start=first):
    is_like = pulse.is_like(excitations[model])
    if not is_like or pulse.use not in ("excitation", "undefined"):
      raise UserError(
        f"{path}: RF pulse {number} of {pulse.flip_angle_deg:.1f}° "
        f"({pulse.use}) is of another kind than pulse {first + model} of "
        f"{excitations[model].flip_angle_deg:.1f}°; all excitations need one "
        "kind"
      )


def read_events(
  path: str | os.PathLike, *, echo: str = "adc_start"
) -> tuple[list[RfEvent], np.ndarray]:
  """Reads all RF pulses and the times of all readouts, in their order.

  Returns:
    The pulses, and the echo times from the start of the file, [readout], ms.
  """
  # Imported here, because it imports a plotting library, which takes a second.
  import pypulseq

  _check_text(pathlib.Path(path))
  pulses: list[RfEvent] = []
  readouts_ms, start, n_kept = [], 0.0, 0
  with warnings.catch_warnings():
    # It warns of a scanner's limits, which do not matter here, and leaves files
    # open that it cannot read.
    warnings.simplefilter("ignore")
    try:
      file = pypulseq.Sequence(use_block_cache=False)
      # It never returns from some damaged texts.
      with time_limit(path):
        file.read(str(path), remove_duplicates=False)
      with time_limit(path, seconds=10 + _BLOCK_S * len(file.block_events)):
        for number in file.block_events:
          block = file.get_block(number)
          if getattr(block, "rf", None) is not None:
            pulse = _pulse(block.rf, start)
            if pulses and _equal(pulse.shape, pulses[-1].shape):
              pulse = dataclasses.replace(pulse, shape=pulses[-1].shape)
            else:
              n_kept += pulse.shape.size
            if n_kept > _MOST_SAMPLES:
              raise ValueError(f"pulses of more than {_MOST_SAMPLES:,} samples")
            pulses.append(pulse)
          if getattr(block, "adc", None) is not None:
            adc = block.adc
            half = 0.5 * adc.num_samples * adc.dwell
            time = start + adc.delay + (half if echo == "adc_centre" else 0.0)
            readouts_ms.append(1000 * time)
          start += float(block.block_duration)
      return pulses, np.array(readouts_ms)
    # A damaged text may lead its parser to raise anything.
    except Exception as error:
      text = " ".join(f"{type(error).__name__}: {error}".split())
  raise UserError(f"{path}: not a readable Pulseq file ({text})")


def _check_text(path: pathlib.Path) -> None:
  """Checks for damage that `pypulseq` accepts, or never returns from."""
  try:
    data = path.read_bytes()
    text = data.decode()
  except FileNotFoundError as error:
    raise UserError(f"{path}: there is no such file") from error
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path}: not a readable Pulseq file ({error})") from error
  sections = re.findall(r"^\[\w+\]", text, re.MULTILINE)
  for section, count in collections.Counter(sections).items():
    if count > 1:
      raise UserError(f"{path}: not a Pulseq file, it has {section} twice")
  _check_shapes(text, path)
  version = re.search(r"^major\s+(\d{1,9})", text, re.MULTILINE)
  if version and int(version[1]) != 1:
    raise UserError(
      f"{path}: of Pulseq version {version[1]}; only version 1 is known"
    )
  _check_signature(data, path)


def _check_signature(data: bytes, path: pathlib.Path) -> None:
  """Raises `UserError` if a text is cut short or was changed after signing."""
  # The signature is that of the text with its writer's line ends.
  unix = data.replace(b"\r\n", b"\n")
  signed, mark, signature = unix.rpartition(b"\n[SIGNATURE]")
  kind = re.search(rb"^Type\s+(\w+)", signature, re.MULTILINE)
  # An md5 signature shows whether the file is complete; others are unknown.
  has_md5 = bool(mark and kind and kind[1].lower() == b"md5")
  if not has_md5 and not unix.endswith(b"\n"):
    raise UserError(f"{path}: not a whole Pulseq file, cut short in a line")
  if not mark:
    last_section = unix[unix.rfind(b"\n[") :]
    if last_section.startswith(b"\n[SHAPES]") and not unix.endswith(b"\n\n"):
      raise UserError(f"{path}: not a whole Pulseq file, cut short in a shape")
    return
  if kind and not has_md5:
    return
  digest = re.search(rb"^Hash\s+(\w+)", signature, re.MULTILINE)
  texts = (signed, data.rpartition(b"\n[SIGNATURE]")[0].rstrip(b"\r"))
  known = [hashlib.md5(t, usedforsecurity=False).hexdigest() for t in texts]
  if not (has_md5 and digest and digest[1].decode().lower() in known):
    raise UserError(
      f"{path}: its signature does not fit, it was damaged or changed after it "
      "was written; if on purpose, delete its section [SIGNATURE]"
    )


def _check_shapes(text: str, path: pathlib.Path) -> None:
  """Raises `UserError` if a shape claims more samples than any needs."""
  inside = False
  # Lines as `pypulseq` splits them; it does not look at what they begin with.
  for line in io.StringIO(text, newline=None):
    words = line.strip().split(" ")
    if words[0].startswith("["):
      inside = words == ["[SHAPES]"]
    elif inside and len(words) > 1 and not words[0].startswith("#"):
      size = words[1]
      is_count = size.isdecimal() and len(size) <= 9
      if not is_count or int(size) > _LONGEST_SHAPE:
        raise UserError(
          f"{path}: not a readable Pulseq file, it has a shape of "
          f"{size[:20]} samples; at most {_LONGEST_SHAPE:,} are known"
        )


def _equal(shape: np.ndarray, other: np.ndarray) -> bool:
  """Whether two pulses' shapes are equal, to the digits of a file."""
  return shape.shape == other.shape and bool(
    np.allclose(shape, other, rtol=0, atol=1e-9)
  )


def _pulse(rf: Any, start: float) -> RfEvent:
  """The pulse of an RF event of `pypulseq` whose block starts at `start`, s."""
  signal, time = np.asarray(rf.signal), np.asarray(rf.t)
  if time.size > 1 and time[0] > 0:
    # Samples in the middle of their raster steps.
    area = signal.sum() * (time[1] - time[0])
  else:
    area = np.trapezoid(signal, time)
  # Complex, so that a negative flip angle is a phase of 180°.
  largest = signal[np.argmax(np.abs(signal))]
  # The frequency of a shifted slice turns the phase until the centre.
  phase_deg = np.rad2deg(np.angle(area) + rf.phase_offset) + (
    360 * rf.freq_offset * rf.center
  )
  return RfEvent(
    use=getattr(rf, "use", None) or "undefined",
    flip_angle_deg=float(360 * np.abs(area)),
    # A file has six digits, which is 3e-4°: π is 179.9998°.
    phase_deg=float(np.mod(np.round(phase_deg, 3), 360)),
    centre_ms=float(1000 * (start + rf.delay + rf.center)),
    shape=signal / largest if largest else signal[:0],
    offset=(rf.freq_offset, rf.freq_ppm, rf.phase_ppm),
  )


def _first_excitation(pulses: list[RfEvent], readouts_ms: np.ndarray) -> int:
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
