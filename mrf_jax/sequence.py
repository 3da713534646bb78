"""What the scanner plays: flip angles, timing and preparation of a train."""

import dataclasses
from typing import Any

import jax
import numpy as np

from mrf_jax.errors import UserError

# The columns of a train: the fields that hold one value a frame.
FRAME_FIELDS = ("flip_angles_deg", "tr_ms", "te_ms", "rf_phases_deg")
# Fields that hold one time in ms, or None where that is not played.
PREPARATION_FIELDS = (
  "inversion_time_ms",
  "saturation_time_ms",
  "t2_preparation_ms",
)
# No train waits an hour.
_LONGEST_MS = 3.6e6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sequence:
  """An MRF train, one excitation a frame, behind its preparation.

  A train is gradient-spoiled (FISP: one cycle of dephasing before the next
  pulse, in every voxel) or balanced (bSSFP: none). An RF-spoiled one is
  gradient-spoiled with the phases of `rf_spoiling_phases_deg`.

  Attributes:
    flip_angles_deg: nominal flip angles, [frame], degrees; B1 scales them.
    tr_ms: time from this excitation to the next, [frame], ms.
    te_ms: time from excitation to echo, [frame], ms.
    rf_phases_deg: phase of the excitation pulses, [frame], degrees, within a
      turn.
    inversion_time_ms: from an adiabatic (B1-insensitive) inversion to the
      first excitation, ms; None plays no inversion.
    saturation_time_ms: from an ideal saturation to the first excitation, ms;
      None plays none. A train has an inversion or a saturation, not both.
    t2_preparation_ms: time that the magnetisation lies in the transverse plane
      of an ideal T2 preparation (90° – 180° – −90°) right before the first
      excitation, ms; None plays none.
    balanced: whether all gradients are rewound in each repetition.
  """

  flip_angles_deg: np.ndarray
  tr_ms: np.ndarray
  te_ms: np.ndarray
  rf_phases_deg: np.ndarray
  inversion_time_ms: float | None = None
  saturation_time_ms: float | None = None
  t2_preparation_ms: float | None = None
  balanced: bool = dataclasses.field(default=False, metadata={"static": True})

  @property
  def n_frames(self) -> int:
    """Number of excitations."""
    return len(self.flip_angles_deg)

  def n_windows(self, *, window: int, stride: int) -> int:
    """Number of sliding windows, T.

    Args:
      window: frames that one averages.
      stride: frames from one to the next.
    """
    return (self.n_frames - window) // stride + 1

  @property
  def has_constant_phase(self) -> bool:
    """Whether all pulses share one phase, so that fingerprints are real."""
    return bool(np.all(self.rf_phases_deg == self.rf_phases_deg[0]))

  @property
  def has_real_echoes(self) -> bool:
    """Whether fingerprints on resonance are real numbers."""
    return self.has_constant_phase and not self.balanced


def make_sequence(
  flip_angles_deg,
  tr_ms,
  te_ms,
  rf_phases_deg=0.0,
  inversion_time_ms: float | None = None,
  saturation_time_ms: float | None = None,
  t2_preparation_ms: float | None = None,
  balanced: bool = False,
) -> Sequence:
  """A checked `Sequence`; scalars are repeated for every frame.

  Args:
    flip_angles_deg: nominal flip angles, [frame], degrees.
    tr_ms: repetition times, [frame] or scalar, ms.
    te_ms: echo times, [frame] or scalar, ms.
    rf_phases_deg: pulse phases, [frame] or scalar, degrees.
    inversion_time_ms: delay after the inversion, ms, or None.
    saturation_time_ms: delay after the saturation, ms, or None.
    t2_preparation_ms: duration of the T2 preparation, ms, or None.
    balanced: whether the train is balanced (bSSFP).

  Returns:
    The sequence with float64 arrays.

  Raises:
    UserError: lengths differ, a value is not finite or not possible, TE is
      not inside TR; the error names field, frame and value.
  """
  flips = np.atleast_1d(np.asarray(flip_angles_deg, np.float64))
  if not flips.size:
    raise UserError("sequence: it has no frames")
  columns = []
  for name, values in zip(
    FRAME_FIELDS, (flips, tr_ms, te_ms, rf_phases_deg), strict=True
  ):
    values = np.asarray(values, np.float64)
    if values.ndim > 1 or values.size not in (1, flips.size):
      raise UserError(
        f"sequence: {name} has shape {values.shape}, but there are "
        f"{flips.size} flip angles"
      )
    columns.append(np.broadcast_to(values.reshape(-1), flips.shape).copy())
    _refuse_frame(name, columns[-1], ~np.isfinite(columns[-1]), "not finite")
  _, tr, te, phases = columns
  # Many turns would cost float32 its digits.
  np.mod(phases, 360.0, out=phases)
  _refuse_frame("tr_ms", tr, tr <= 0, "not positive")
  _refuse_frame("tr_ms", tr, tr > _LONGEST_MS, "longer than an hour")
  _refuse_frame("te_ms", te, te < 0, "negative")
  _refuse_frame("te_ms", te, te >= tr, "not shorter than its TR")
  fields: dict[str, Any] = dict(zip(FRAME_FIELDS, columns, strict=True))
  for name, value in zip(
    PREPARATION_FIELDS,
    (inversion_time_ms, saturation_time_ms, t2_preparation_ms),
    strict=True,
  ):
    if value is not None and not 0 <= value <= _LONGEST_MS:
      raise UserError(f"sequence: {name} is {value}, not a time in ms")
    fields[name] = None if value is None else float(value)
  if inversion_time_ms is not None and saturation_time_ms is not None:
    raise UserError(
      f"sequence: inversion_time_ms is {inversion_time_ms:g} and "
      f"saturation_time_ms is {saturation_time_ms:g}; a train has one of them"
    )
  return Sequence(**fields, balanced=bool(balanced))


def _refuse_frame(name: str, values, bad, why: str) -> None:
  """Raises `UserError` that names the first bad frame of a column."""
  if bad.any():
    frame = int(np.argmax(bad))
    raise UserError(
      f"sequence: {name}[{frame}] is {values[frame]:g} ms, {why}"
      if name.endswith("_ms")
      else f"sequence: {name}[{frame}] is {values[frame]:g}°, {why}"
    )


def rf_spoiling_phases_deg(
  n_frames: int, *, increment_deg: float = 117.0
) -> np.ndarray:
  """Quadratic pulse phases of RF spoiling.

  Pulse p = 1, 2, … has the phase increment · p (p − 1) / 2.

  Args:
    n_frames: number of pulses.
    increment_deg: step of the phase difference, degrees (Zur 1991: 117).

  Returns:
    Phases within a turn, [frame], degrees.
  """
  p = np.arange(1, n_frames + 1)
  return np.mod(increment_deg * p * (p - 1) / 2, 360.0)


def jiang_type(n_frames: int = 720) -> Sequence:
  """A gradient-spoiled schedule of five lobes, in the manner of Jiang 2015.

  Copies of that schedule differ; this one is ours: half sines to its peaks of
  35, 43, 70, 45 and 27°, and TRs that vary slowly within its 11.7 to 14.3 ms.

  Args:
    n_frames: excitations, at least 10; every lobe has a fifth of them.

  Returns:
    The sequence, TE 1.9 ms, inversion time 20 ms.
  """
  if n_frames < 10:
    raise UserError(f"sequence: jiang_type needs 10 frames, got {n_frames}")
  place = (np.arange(n_frames) + 0.5) / n_frames * 5
  lobe = np.minimum(place.astype(int), 4)
  peaks_deg = np.array([35.0, 43.0, 70.0, 45.0, 27.0])[lobe]
  floor_deg = 5.0
  flips = floor_deg + (peaks_deg - floor_deg) * np.sin(np.pi * (place - lobe))
  tr_ms = 13.0 + 1.3 * np.sin(2 * np.pi * place * 0.7)
  return make_sequence(flips, tr_ms, te_ms=1.9, inversion_time_ms=20.0)


def tailored(n_frames: int = 720) -> Sequence:
  """A tailored gradient-spoiled schedule of four blocks behind an inversion.

  The published schedule of tailored MRF (Shaik 2018) is not public; this one
  is our own design in its spirit: each block is made for one contrast, and
  flip angles change slowly enough for a 48-frame window.

    block      share  flip angles           what it weighs
    T1         5/18   two lobes to 35, 45°  recovery from the inversion
    T2         6/18   lobe to 75°           stimulated echoes of long trains
    PD         2/18   constant 6°           magnetisation close to equilibrium
    mixed      5/18   lobe to 75°           T1 and T2 once more, CSF above all

  Against the first 720 frames of the public Jiang-type train its Cramér–Rao
  bounds of T1 and T2 are lower in all three tissues of the brain.

  Args:
    n_frames: excitations, at least 18; the blocks keep their shares.

  Returns:
    The sequence, TR 14–17 ms, TE 2 ms, inversion time 20 ms.
  """
  if n_frames < 18:
    raise UserError(f"sequence: tailored needs 18 frames, got {n_frames}")
  edges = np.round(np.array([0, 2, 5, 11, 13, 18]) / 18 * n_frames).astype(int)
  peaks_deg = (35.0, 45.0, 75.0, 6.0, 75.0)
  trs_ms = (14.0, 14.0, 14.0, 17.0, 14.0)
  flips = np.empty(n_frames)
  tr_ms = np.empty(n_frames)
  floor_deg = 6.0
  for start, stop, peak, tr in zip(
    edges[:-1], edges[1:], peaks_deg, trs_ms, strict=True
  ):
    phase = (np.arange(stop - start) + 0.5) / (stop - start)
    flips[start:stop] = floor_deg + (peak - floor_deg) * np.sin(np.pi * phase)
    tr_ms[start:stop] = tr
  return make_sequence(flips, tr_ms, te_ms=2.0, inversion_time_ms=20.0)


# Schedules of our own by name, each a function of the number of frames.
TRAINS = {"tailored": tailored, "jiang_type": jiang_type}
