"""Pulse sequence schedules of our own: `tailored` and `jiang_type`.

Another one is a function of the number of frames, with a line in `SEQUENCES`.
"""

import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.sequence.sequence import Sequence, make_sequence


def rf_spoiling_phases_deg(
  n_frames: int, *, increment_deg: float = 117.0
) -> np.ndarray:
  """Quadratic pulse phases of RF spoiling (Zur 1991).

  Pulse p = 1, 2, … has the phase increment · p (p − 1) / 2.

  Args:
    n_frames: number of pulses.
    increment_deg: step of the phase difference, degrees.

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

  Raises:
    UserError: there are fewer frames.
  """
  if n_frames < 10:
    raise UserError(f"sequence: jiang_type needs 10 frames, got {n_frames}")
  time = (np.arange(n_frames) + 0.5) / n_frames * 5  # in lobes
  lobe = np.minimum(time.astype(int), 4)
  peaks_deg = np.array([35.0, 43.0, 70.0, 45.0, 27.0])[lobe]
  floor_deg = 5.0
  flips = floor_deg + (peaks_deg - floor_deg) * np.sin(np.pi * (time - lobe))
  tr_ms = 13.0 + 1.3 * np.sin(2 * np.pi * time * 0.7)
  return make_sequence(flips, tr_ms, te_ms=1.9, inversion_time_ms=20.0)


def tailored(n_frames: int = 720) -> Sequence:
  """A tailored gradient-spoiled schedule of four blocks after an inversion.

  The schedule of tailored MRF (Shaik 2018) is not public; this one is our own
  design in its manner: each block is for one contrast, and flip angles change
  slowly enough for a 48-frame window.

  =====  =====  ====================  ==================================
  block  share  flip angles           contrast
  =====  =====  ====================  ==================================
  T1     5/18   two lobes to 35, 45°  recovery from the inversion
  T2     6/18   lobe to 75°           stimulated echoes of many pulses
  PD     2/18   constant 6°           magnetisation close to equilibrium
  mixed  5/18   lobe to 75°           T1 and T2 again, mostly of CSF
  =====  =====  ====================  ==================================

  Its Cramér–Rao bounds of T1 and T2 are lower in all three tissues of the brain
  than those of the first 720 frames of the public Jiang-type schedule.

  Args:
    n_frames: excitations, at least 18; the blocks keep their shares.

  Returns:
    The sequence, TR 14–17 ms, TE 2 ms, inversion time 20 ms.

  Raises:
    UserError: there are fewer frames.
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


# Our schedules by name, each a function of the number of frames.
SEQUENCES = {"tailored": tailored, "jiang_type": jiang_type}
