"""Trains from Pulseq files, read by `pypulseq`."""

import dataclasses
import os
import pathlib
import warnings
from typing import Any

import numpy as np
import pypulseq

from mrf_jax.errors import UserError
from mrf_jax.sequence import Sequence, make_sequence

ECHOES = ("adc_start", "adc_centre")
# Uses of a pulse in front of a train, and the field of its delay.
_PREPARATIONS = {
  "inversion": "inversion_time_ms",
  "saturation": "saturation_time_ms",
}


@dataclasses.dataclass(frozen=True)
class RfEvent:
  """One RF pulse of a Pulseq file.

  Attributes:
    use: what the file says it is for, `excitation`, `inversion`, …, or
      `undefined`.
    flip_angle_deg: 360° |∫ B1 dt|, degrees; not meant for adiabatic pulses.
    phase_deg: phase offset, degrees.
    centre_ms: time of its centre from the start of the file, ms.
    shape: complex samples, the largest magnitude being one.
  """

  use: str
  flip_angle_deg: float
  phase_deg: float
  centre_ms: float
  shape: np.ndarray


def load_pulseq(
  path: str | os.PathLike, *, echo: str = "adc_start"
) -> Sequence:
  """A gradient-spoiled train from the events of a Pulseq file.

  Excitations are the RF pulses of one shape; an inversion or a saturation may
  stand before them. TR is the time from centre to centre (the last one, which
  no echo depends on, repeats the one before).

  Args:
    path: the `.seq` file.
    echo: where in its readout a frame has its echo: `adc_start`, for spirals
      from the centre of k-space outwards, or `adc_centre`, for lines.

  Returns:
    The checked sequence.

  Raises:
    UserError: the file cannot be read, has no RF, an excitation of another
      shape, a pulse that is neither excitation nor preparation, or a frame
      without ADC; the error names the pulse and its flip angle.
  """
  path = pathlib.Path(path)
  if echo not in ECHOES:
    raise UserError(f"echo: {echo!r} is not one of {', '.join(ECHOES)}")
  pulses, readouts_ms = read_events(path, echo=echo)
  if not pulses:
    raise UserError(f"{path}: it has no RF pulses")
  first = _first_excitation(pulses)
  preparation: dict[str, Any] = {}
  for number, pulse in enumerate(pulses[:first]):
    # Older files do not say what a pulse is for.
    use = "inversion" if pulse.use == "undefined" else pulse.use
    if use not in _PREPARATIONS or first > 1:
      raise UserError(
        f"{path}: RF pulse {number} of {pulse.flip_angle_deg:.1f}° "
        f"({pulse.use}) stands before the train; one inversion or saturation "
        "may"
      )
    delay_ms = pulses[first].centre_ms - pulse.centre_ms
    preparation[_PREPARATIONS[use]] = delay_ms
  train = pulses[first:]
  for number, pulse in enumerate(train, start=first):
    same = pulse.shape.shape == train[0].shape.shape and np.allclose(
      pulse.shape, train[0].shape, atol=1e-3
    )
    if not same or pulse.use not in ("excitation", "undefined"):
      raise UserError(
        f"{path}: RF pulse {number} of {pulse.flip_angle_deg:.1f}° "
        f"({pulse.use}) is of another kind than pulse {first} of "
        f"{train[0].flip_angle_deg:.1f}°; a train has one kind of excitation"
      )
  centres_ms = np.array([pulse.centre_ms for pulse in train])
  if len(train) < 2:
    raise UserError(f"{path}: one excitation alone has no TR")
  tr_ms = np.diff(centres_ms)
  tr_ms = np.append(tr_ms, tr_ms[-1])
  following = np.searchsorted(readouts_ms, centres_ms)
  te_ms = np.append(readouts_ms, np.inf)[following] - centres_ms
  missing = np.flatnonzero(te_ms >= tr_ms)
  if missing.size:
    raise UserError(
      f"{path}: no ADC follows RF pulse {first + missing[0]} of "
      f"{train[missing[0]].flip_angle_deg:.1f}° within its TR"
    )
  return make_sequence(
    [pulse.flip_angle_deg for pulse in train],
    tr_ms,
    te_ms,
    [pulse.phase_deg for pulse in train],
    **preparation,
  )


def read_events(
  path: str | os.PathLike, *, echo: str = "adc_start"
) -> tuple[list[RfEvent], np.ndarray]:
  """All RF pulses and the times of all readouts, in their order.

  Args:
    path: the `.seq` file.
    echo: see `load_pulseq`.

  Returns:
    The pulses, and the echo times from the start of the file, [readout], ms.

  Raises:
    UserError: the file cannot be read.
  """
  _refuse_cut_shape(pathlib.Path(path))
  file = pypulseq.Sequence()
  pulses, readouts_ms, start = [], [], 0.0
  try:
    with warnings.catch_warnings():
      # What it says of limits of a scanner does not matter here.
      warnings.simplefilter("ignore")
      file.read(str(path))
      for number in file.block_events:
        block = file.get_block(number)
        if getattr(block, "rf", None) is not None:
          pulses.append(_pulse(block.rf, start))
        if getattr(block, "adc", None) is not None:
          adc = block.adc
          half = 0.5 * adc.num_samples * adc.dwell
          time = start + adc.delay + (half if echo == "adc_centre" else 0.0)
          readouts_ms.append(1000 * time)
        start += float(block.block_duration)
  # Whatever a damaged text leads its parser to.
  except Exception as error:
    text = " ".join(str(error).split())
    raise UserError(f"{path}: not a readable Pulseq file ({text})") from error
  return pulses, np.array(readouts_ms)


def _refuse_cut_shape(path: pathlib.Path) -> None:
  """Refuses a file that ends inside a shape, which `pypulseq` never leaves."""
  try:
    text = path.read_text()
  except FileNotFoundError as error:
    raise UserError(f"{path}: there is no such file") from error
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path}: not a readable Pulseq file ({error})") from error
  last_section = text[text.rfind("\n[") :]
  if last_section.startswith("\n[SHAPES]") and not text.endswith("\n\n"):
    raise UserError(f"{path}: not a whole Pulseq file, cut short in a shape")


def _pulse(rf: Any, start: float) -> RfEvent:
  """An RF event of `pypulseq` whose block starts at `start`, s."""
  signal, time = np.asarray(rf.signal), np.asarray(rf.t)
  if time.size > 1 and time[0] > 0:
    # Samples in the middle of their raster steps.
    area = signal.sum() * (time[1] - time[0])
  else:
    area = np.trapezoid(signal, time)
  largest = np.abs(signal).max() or 1.0
  return RfEvent(
    use=getattr(rf, "use", None) or "undefined",
    flip_angle_deg=float(360 * np.abs(area)),
    phase_deg=float(np.rad2deg(rf.phase_offset)),
    centre_ms=float(1000 * (start + rf.delay + rf.center)),
    shape=signal / largest,
  )


def _first_excitation(pulses: list[RfEvent]) -> int:
  """Number of the first pulse of the train."""
  for number, pulse in enumerate(pulses):
    if pulse.use == "excitation":
      return number
  # Older files do not say: a first pulse of its own shape prepares.
  if len(pulses) > 2:
    one, two, three = (pulse.shape for pulse in pulses[:3])
    like = two.shape == three.shape and np.allclose(two, three, atol=1e-3)
    own = one.shape != two.shape or not np.allclose(one, two, atol=1e-3)
    return int(like and own)
  return 0
