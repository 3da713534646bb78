"""Pulse sequences: flip angles, timing and preparation, checked."""

import dataclasses
from typing import Any

import jax
import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.units import SECONDS, sequence_time_problem

# The fields of a sequence that hold one value a frame.
FRAME_FIELDS = ("flip_angles_deg", "tr_ms", "te_ms", "rf_phases_deg")
# The fields that hold one time in ms, or None if it is not played.
PREPARATION_FIELDS = (
  "inversion_time_ms",
  "saturation_time_ms",
  "t2_preparation_ms",
)
# What its pulses are like, which few files say.
PULSE_FIELDS = ("slice_time_bandwidth", "inversion_efficiency")
# No sequence waits for an hour.
_LONGEST_MS = 3.6e6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False)
class Sequence:
  """An MRF pulse sequence: a preparation, then one excitation a frame.

  A sequence is gradient-spoiled (FISP: one cycle of dephasing before the next
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
      None plays none. A sequence has an inversion or a saturation, not both.
    t2_preparation_ms: time that the magnetisation spends in the transverse
      plane of an ideal T2 preparation (90° – 180° – −90°) right before the
      first excitation, ms; None plays none.
    balanced: whether all gradients are rewound in each repetition.
    slice_time_bandwidth: time-bandwidth product of the sinc pulses that select
      the slice, over which flip angles differ, see `sinc_slice_profile`; None
      is an ideal slice, or a slab.
    inversion_efficiency: share of the magnetisation that the inversion turns.
  """

  flip_angles_deg: np.ndarray
  tr_ms: np.ndarray
  te_ms: np.ndarray
  rf_phases_deg: np.ndarray
  inversion_time_ms: float | None = None
  saturation_time_ms: float | None = None
  t2_preparation_ms: float | None = None
  balanced: bool = dataclasses.field(default=False, metadata={"static": True})
  slice_time_bandwidth: float | None = dataclasses.field(
    default=None, metadata={"static": True}
  )
  inversion_efficiency: float = 1.0

  @property
  def n_frames(self) -> int:
    """Number of excitations."""
    return len(self.flip_angles_deg)

  @property
  def has_constant_phase(self) -> bool:
    """Whether all pulses share one phase, so that fingerprints are real."""
    return bool(np.all(self.rf_phases_deg == self.rf_phases_deg[0]))

  @property
  def has_real_echoes(self) -> bool:
    """Whether fingerprints on resonance are real numbers."""
    return self.has_constant_phase and not self.balanced

  def __repr__(self) -> str:
    """The sequence in three lines; all fields where JAX holds others there."""
    values = [getattr(self, name) for name in FRAME_FIELDS]
    if not all(isinstance(v, np.ndarray) and v.size for v in values):
      names = (field.name for field in dataclasses.fields(self))
      fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
      return f"Sequence({fields})"
    spoiling = "balanced (bSSFP)"
    if not self.balanced:
      spoiling = "gradient-spoiled (FISP)"
      if not self.has_constant_phase:
        spoiling = "gradient-spoiled, pulses of different phases"
    flips, tr, te, phases = map(_span, values)
    played = [
      f"{name.removesuffix('_ms').replace('_time', '').replace('t2_', 'T2 ')} "
      f"{getattr(self, name):g} ms"
      for name in PREPARATION_FIELDS
      if getattr(self, name) is not None
    ]
    if self.inversion_time_ms is not None and self.inversion_efficiency != 1:
      played[0] += f" of {self.inversion_efficiency:.1%}"
    seconds = float(np.sum(self.tr_ms)) / 1000
    if self.slice_time_bandwidth is not None:
      spoiling += (
        f", sinc pulses of time-bandwidth product {self.slice_time_bandwidth:g}"
      )
    return (
      f"Sequence: {self.n_frames} frames in {seconds:.3g} s, {spoiling}\n"
      f"  before the first pulse: {', '.join(played) or 'nothing'}\n"
      f"  flip angles {flips}°, TR {tr} ms, TE {te} ms, phases {phases}°"
    )


def make_sequence(
  flip_angles_deg,
  tr_ms,
  te_ms,
  rf_phases_deg=0.0,
  inversion_time_ms: float | None = None,
  saturation_time_ms: float | None = None,
  t2_preparation_ms: float | None = None,
  balanced: bool = False,
  slice_time_bandwidth: float | None = None,
  inversion_efficiency: float = 1.0,
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
    balanced: whether the sequence is balanced (bSSFP).
    slice_time_bandwidth: of the sinc pulses that select the slice, at least 1;
      None is an ideal slice.
    inversion_efficiency: share of the magnetisation that the inversion turns,
      above 0 and up to 1.

  Returns:
    The sequence with float64 arrays.

  Raises:
    UserError: lengths differ, a value is not finite or not possible, or TE is
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
    _check_frames(name, columns[-1], ~np.isfinite(columns[-1]), "not finite")
  _, tr, te, phases = columns
  # Within a turn: float32 would lose digits to many turns.
  np.mod(phases, 360.0, out=phases)
  _check_frames("tr_ms", tr, tr <= 0, "not positive")
  _check_frames("tr_ms", tr, tr > _LONGEST_MS, "longer than an hour")
  problem = sequence_time_problem("tr_ms", float(np.median(tr)))
  if problem == SECONDS:
    raise UserError(
      f"sequence: the median of tr_ms is {np.median(tr):g} ms, which {problem}"
    )
  _check_frames("te_ms", te, te < 0, "negative")
  _check_frames("te_ms", te, te >= tr, "not shorter than its TR")
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
      f"saturation_time_ms is {saturation_time_ms:g}; a sequence has only one "
      "of them"
    )
  product = slice_time_bandwidth
  if product is not None:
    if not 1 <= product < np.inf:
      raise UserError(
        f"sequence: slice_time_bandwidth is {product:g}, not at least 1"
      )
    product = float(product)
  if not 0 < inversion_efficiency <= 1:
    raise UserError(
      f"sequence: inversion_efficiency is {inversion_efficiency:g}, not above "
      "0 and up to 1"
    )
  return Sequence(
    **fields,
    balanced=bool(balanced),
    slice_time_bandwidth=product,
    inversion_efficiency=float(inversion_efficiency),
  )


def _span(values: np.ndarray) -> str:
  """Least and largest value, or the value that all have."""
  low, high = f"{values.min():.4g}", f"{values.max():.4g}"
  return low if low == high else f"{low} to {high}"


def _check_frames(name: str, values, bad, why: str) -> None:
  """Raises `UserError` that names the first bad frame of a column."""
  if bad.any():
    frame = int(np.argmax(bad))
    value = f"{values[frame]:g}{' ms' if name.endswith('_ms') else '°'}"
    raise UserError(f"sequence: {name}[{frame}] is {value}, {why}")
