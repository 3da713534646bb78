"""Reads pulse trains from Pulseq files with `pypulseq`."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float64

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.sequence.pulseq_events import (
  Events,
  RfEvent,
  first_excitation,
  read_events,
)
from mrf_jax.sequence.pulseq_moments import (
  echo_position,
  encoding,
  spoiling,
)
from mrf_jax.sequence.pulseq_text import ECHOES, EXTENSION, NUMBER, RF
from mrf_jax.sequence.sequence import Sequence, make_sequence

# Uses of a pulse before the first excitation, and the field of its delay.
_PREPARATIONS = {
  "inversion": "inversion_time_ms",
  "saturation": "saturation_time_ms",
}
# Extensions that change neither pulses nor times: labels of readouts, turned
# gradients, and pulses on digital outputs.
_HARMLESS = ("LABELSET", "LABELINC", "ROTATIONS", "TRIGGERS")
# Type of a row of TRIGGERS that waits for a signal.
_WAITS = "2"
# Newest version of Pulseq 1 whose sections are known.
_NEWEST_MINOR = 5
# Phases that differ by less are equal; a file has six digits, which is 3e-4°.
_PHASE_DEG = 1.0


@dataclasses.dataclass(frozen=True)
class PulseqTrain:
  """What a Pulseq file says of its pulse train.

  Attributes:
    sequence: the checked sequence.
    received_phases_deg: phase by which the signal of each frame is turned
      against that of the first because the receiver did not follow the pulses,
      [frame], degrees; echoes of `simulate_fingerprints` are turned by none.
    remarks: sentences on what is doubtful or assumed.
  """

  sequence: Sequence
  received_phases_deg: Float64[np.ndarray, "frame"]
  remarks: tuple[str, ...]

  @property
  def receiver_follows(self) -> bool:
    """Whether the receiver has the phase of each pulse, up to a constant."""
    return not np.any(self.received_phases_deg)


def is_pulseq(path: str | os.PathLike) -> bool:
  """Whether a file is a Pulseq file, by its suffix."""
  return pathlib.Path(path).suffix.lower() == ".seq"


def read_train(
  path: str | os.PathLike,
  *,
  echo: str = "adc_start",
  n_frames: int | None = None,
) -> PulseqTrain:
  """Reads a pulse train from the events of a Pulseq file.

  Excitations are the RF pulses of one shape and frequency. An inversion or a
  saturation may be before them: in files without uses (before Pulseq 1.5), a
  first pulse without readout that rotates by 180 ± 10°, or whose phase is
  swept, is an inversion. TR is the time from pulse centre to pulse centre; the
  last one, which no echo depends on, repeats the one before. The train is
  balanced if its gradients leave no moment from pulse to pulse.

  Args:
    path: the `.seq` file.
    echo: time of the echo in the readout of a frame: `adc_start`, for spirals
      from the centre of k-space outwards, or `adc_centre`, for lines.
    n_frames: number of the first frames to keep, after which the blocks are not
      read; None keeps all.

  Returns:
    The sequence, the phases of its receiver, and remarks.

  Raises:
    UserError: the file cannot be read, has no RF, an excitation of another
      shape, a pulse that is neither excitation nor preparation, a frame without
      ADC, or an extension that changes pulses or times; the error names it.
  """
  path = pathlib.Path(path)
  check_one_of("echo", echo, ECHOES)
  events = read_events(path, n_excitations=n_frames)
  pulses, readouts = events.pulses, events.readouts
  if not pulses:
    raise UserError(f"{path}: it has no RF pulses")
  first = first_excitation(pulses, readouts.starts_ms)
  if first == len(pulses):
    raise UserError(f"{path}: it has no excitation")
  preparation = _preparation(path, pulses, first)
  # The pulse after the last frame ends its TR.
  train = pulses[first:][: None if n_frames is None else n_frames + 1]
  if len(train) < 2:
    raise UserError(f"{path}: one excitation alone has no TR")
  centres_ms = np.array([pulse.centre_ms for pulse in train])
  tr_ms = np.diff(centres_ms)
  tr_ms = np.append(tr_ms, tr_ms[-1])[:n_frames]
  if n_frames is not None and len(train) < n_frames:
    raise UserError(f"{path}: {len(train)} frames, {n_frames} are needed")
  excitations, centres_ms = train[:n_frames], centres_ms[:n_frames]
  _check_excitations(path, excitations, first)
  behind = train[len(excitations) :]
  end = behind[0].block if behind else None
  remarks = _check_extensions(events, pulses[0].block, end)
  times_ms = readouts.starts_ms if not ECHOES[echo] else readouts.centres_ms
  following = np.searchsorted(times_ms, centres_ms)
  te_ms = np.append(times_ms, np.inf)[following] - centres_ms
  _check_readouts(path, excitations, first, te_ms < tr_ms)
  try:
    sequence = make_sequence(
      [pulse.flip_angle_deg for pulse in excitations],
      tr_ms,
      te_ms,
      [pulse.phase_deg for pulse in excitations],
      **preparation,
    )
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  after = np.searchsorted(times_ms, centres_ms + sequence.tr_ms) - following
  # Behind the last frame, others may follow, such as one of noise.
  remarks += _doubts(events, int(after[:-1].max(initial=0)))
  balanced = False
  found = encoding(events, excitations)
  if found is not None:
    balanced, remark = spoiling(found)
    remarks += [*remark, *echo_position(found, share=ECHOES[echo])]
  phases, remark_on_phases = _received_phases(
    path, sequence.rf_phases_deg, readouts.phases_deg[following]
  )
  return PulseqTrain(
    dataclasses.replace(sequence, balanced=balanced),
    phases,
    (*remarks, *remark_on_phases),
  )


def _doubts(events: Events, n_readouts: int) -> list[str]:
  """Sentences on a version that is new, on gradients and on readouts."""
  path, (major, minor, _) = events.text.path, events.text.version
  doubts = []
  if minor > _NEWEST_MINOR:
    doubts.append(
      f"{path} is of Pulseq {major}.{minor}; 1.{_NEWEST_MINOR} is the newest "
      "version that is known"
    )
  if not events.gradients.exist:
    doubts.append(
      f"{path} has no gradients, which neither balance nor spoil; taken to be "
      "gradient-spoiled"
    )
  if n_readouts > 1:
    doubts.append(
      f"{path} has up to {n_readouts} readouts after a pulse; the echo is "
      "taken to be in the first"
    )
  return doubts


def _received_phases(
  path: pathlib.Path, rf_phases_deg, adc_phases_deg
) -> tuple[np.ndarray, list[str]]:
  """Phases that the receiver leaves in the frames, and a sentence on them."""
  phases = rf_phases_deg - adc_phases_deg
  # Between −180 and 180°; the same for all is the phase of the coil.
  turned = np.mod(phases - phases[0] + 180, 360) - 180
  apart = np.flatnonzero(np.abs(turned) > _PHASE_DEG)
  if not apart.size:
    return np.zeros(len(turned)), []
  frame = int(apart[0])
  return np.mod(turned, 360), [
    f"the receiver of {path} does not follow its pulses: in frame {frame} the "
    f"pulse has phase {rf_phases_deg[frame]:g}° and the ADC "
    f"{np.mod(adc_phases_deg[frame], 360):g}°, in frame 0 "
    f"{rf_phases_deg[0]:g}° and {np.mod(adc_phases_deg[0], 360):g}°; simulated "
    "echoes have the phase of their own pulse removed, which data of this "
    "receiver need, too"
  ]


def _preparation(
  path: pathlib.Path, pulses: list[RfEvent], first: int
) -> dict[str, Any]:
  """Field and delay (centre to centre) of a pulse before the excitations."""
  preparation = {}
  for number, pulse in enumerate(pulses[:first]):
    # Older files have no uses, and some writers call all preparations so.
    is_inversion = pulse.use == "preparation" and pulse.inverts
    if pulse.use == "undefined" or is_inversion:
      use = "inversion"
    else:
      use = pulse.use
    if use not in _PREPARATIONS or first > 1:
      others = f", as {first - 1} others are" if first > 1 else ""
      raise UserError(
        f"{path}: RF pulse {number} of {pulse.flip_angle_deg:.1f}° "
        f"({pulse.use}) is before the first excitation{others}; only one "
        "inversion or saturation may be there"
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
  for number, pulse in enumerate(excitations):
    is_like = pulse.is_like(excitations[model])
    if not is_like or pulse.use not in ("excitation", "undefined"):
      raise UserError(
        f"{path}: RF pulse {first + number} of {pulse.flip_angle_deg:.1f}° "
        f"({pulse.use}) is of another kind than pulse {first + model} of "
        f"{excitations[model].flip_angle_deg:.1f}°; all excitations need one "
        f"kind{_hint(number)}"
      )


def _check_readouts(
  path: pathlib.Path, excitations: list[RfEvent], first: int, is_read
) -> None:
  """Raises `UserError` if an excitation is not followed by a readout."""
  missing = np.flatnonzero(~is_read)
  if not missing.size:
    return
  frame = int(missing[0])
  text = (
    f"{path}: no ADC follows RF pulse {first + frame} of "
    f"{excitations[frame].flip_angle_deg:.1f}° within its TR"
  )
  if frame == 0 and is_read.any():
    n_dummies = int(np.argmax(is_read))
    text += (
      f": {n_dummies} of them without readout come before the train; they "
      "change the magnetisation of all its frames, and a sequence has a "
      "readout for each excitation; give them one, and keep their frames"
    )
  raise UserError(text + _hint(frame))


def _hint(n_frames: int) -> str:
  """How to keep the frames before one that is not valid."""
  if n_frames < 2:
    return ""
  return f" (--n_frames={n_frames} keeps those before it)"


def _check_extensions(events: Events, first: int, end: int | None) -> list[str]:
  """Sentences on extensions of the train's blocks that may change its times.

  Raises:
    UserError: an extension changes pulses or times, or may do so.
  """
  text = events.text
  blocks = text.blocks[first:end]
  delays: dict[str, None] = {}
  for block in blocks[blocks[:, EXTENSION] > 0]:
    where = f"{text.path}: block {block[NUMBER]}"
    for name, row in text.extensions(block):
      words = text.rows.get(name, {}).get(row, [])
      if name == "DELAYS":
        # Number, offset, factor and name.
        delays[" ".join(words[3:]) or str(row)] = None
      elif name == "TRIGGERS" and words[:1] == [_WAITS]:
        raise UserError(
          f"{where} waits for a trigger, so that the times of the train are "
          "not in the file"
        )
      elif name == "RF_SHIMS" and not block[RF]:
        continue
      elif name not in _HARMLESS:
        changes = "changes its pulse" if name == "RF_SHIMS" else "is not known"
        raise UserError(
          f"{where} has the extension {name}, which {changes}; only "
          f"{', '.join((*_HARMLESS, 'DELAYS'))} leave the pulse train as it is"
        )
  if not delays:
    return []
  return [
    f"{text.path} has delays that are set at the scanner, {', '.join(delays)}; "
    "they are taken to be as long as in the file"
  ]
