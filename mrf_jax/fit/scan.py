"""How well does a scan fit its sequence: order, phase, magnitude, noise.

The fingerprints of some voxels are matched with a thousand atoms of the scan's
own sequence and window, which are interpolated from a few hundred simulated
ones. What the atoms explain is compared with what they explain of the same
images in other orders, and with what any atoms could explain.
"""

import dataclasses

import numpy as np
from jaxtyping import Complex64

from mrf_jax.fit.readings import Readings, normalised
from mrf_jax.runtime.threads import one_blas_thread
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.interpolant import Interpolant, make_interpolant

# Voxels that are matched, and seed of their choice and of a random order.
_MOST_VOXELS = 1000
_SEED = 0
# Temporal components whose energy counts as signal. Atoms of a sequence lie
# near a space of three.
_RANK = 3
# Fewer voxels than this per component do not tell its energy.
_VOXELS_OF_A_COMPONENT = 20
# Part of the structure beyond chance that the sequence must explain: in 17
# simulated scans of six sequences it was 0.53 (no sliding window) to 0.98. Read
# with another sequence, reversed or shuffled, a scan had up to 0.47 and most
# had less than this.
_LEAST_SKILL = 0.35
# The same for another reading that is named, and for images too many or too few
# at the start.
_SKILL_READ, _SKILL_SHIFTED = 0.5, 0.8
# Structure that is not explained is doubtful above this share of the energy,
# and of the energy without structure: sound scans had at most 0.44 of that,
# apart from the aliasing of a matrix of 24 (2.6).
_LEAST_MISSED, _MISSED_RATIO = 0.02, 0.7
# Other windows are tried if the structure that is missed, or the same beside
# the energy without structure, is above these. Six heads of the demo have 0.010
# and 0.15, and 0.018 and 0.58 after a mean over nine images.
_MISSED_WORTH_WINDOWS, _RATIO_WORTH_WINDOWS = 0.015, 0.25
# What another reading may leave of the structure, if it is more than the ratio
# above. A shift or a window that is right leaves 0.001 to 0.007, those for
# scans of another sequence 0.07 and 0.008, or more.
_LEFT_SHIFTED, _LEFT_IN_WINDOWS = 0.02, 0.0075
# Begins the sentence of `doubts` that is no doubt, but a number.
EXPLAINS = "the sequence explains"
# If a random order of the images explains this share, nothing can be told.
_UNTOLD = 0.95
# Part of the unexplained energy that another reading explains; of sound scans
# at most 0.003. One image too many at the start gives 0.03.
_SURE_GAIN, _DOUBTFUL_GAIN = 0.1, 0.02
# Explained share below which noise and artefacts are named.
_NOISY = 0.5
# Phase of the scan, degrees, and concentration of phases that a network can
# cope with. All sound scans were within 2° and above 0.94, but for the aliasing
# of a matrix of 32 in windows that overlap by little (0.8; 0.5 aligned).
_SURE_PHASE_DEG, _DOUBTFUL_PHASE_DEG = 45.0, 10.0
_LEAST_CONCENTRATION = 0.3
_ALIGN = "--align_phases"
# Variance of the phases, rad², that is doubtful, and the part of the ratio of
# noise to signal that noise adds to it (sound scans: at most 0.1).
_DOUBTFUL_VARIANCE, _VARIANCE_OF_NOISE = 0.1, 0.1


@dataclasses.dataclass(frozen=True)
class ScanFit:
  """What the sequence of a scan explains of it; shares are of the energy.

  Attributes:
    explained: share that the best atoms explain, mean over voxels.
    structured: share of the three strongest temporal components, what a
      sequence that fits could explain; 0 if all signals are zero.
    by_chance: share that the atoms explain of the same images in a random
      order.
    readings: other reading of the images, in words, to the part of the
      unexplained energy that it explains; negative if it explains less.
    shifts: the same of images that are too many or too few at the start.
    windows: the same of images made with other windows.
    phase_deg: mean phase of the signals beside their atoms, degrees.
    concentration: length of the mean of these phases, 0 to 1.
  """

  explained: float
  structured: float
  by_chance: float
  readings: dict[str, float]
  shifts: dict[str, float]
  windows: dict[str, float]
  phase_deg: float
  concentration: float

  @property
  def skill(self) -> float:
    """Explained part of the structure, beyond what chance explains.

    1 if the sequence explains all that any could, 0 if no more than in a random
    order of the images, less if less.
    """
    return self._skill(self.explained)

  def _skill(self, explained: float) -> float:
    most = max(self.structured, self.explained) - self.by_chance
    return (explained - self.by_chance) / max(most, 1e-6)

  def problem(self) -> str | None:
    """What is surely wrong with the images, in words; None if nothing is."""
    if not self.structured:
      return "all signals are zero"
    if self.by_chance > _UNTOLD:
      return None
    words = self._better(_SURE_GAIN)
    if words is not None:
      asked = f": {self._asked(words)}?" if words in self.windows else ""
      return f"the series fits its sequence {words}{asked}"
    if self.skill < _LEAST_SKILL:
      return (
        f"the sequence explains {self.explained:.0%} of the signals' energy, "
        f"{self.by_chance:.0%} of images in a random order, and any sequence "
        f"could explain {self.structured:.0%}: noise alone, another order, or "
        "another sequence"
      )
    return None

  def _better(self, gain: float) -> str | None:
    """The reading that explains most, if it gains so much; or None.

    It also has to explain the structure: of images that do not fit at all,
    some other order explains more by chance.
    """
    noise = _MISSED_RATIO * (1 - self.structured)
    found = {}
    for gains, skill, most_left in (
      (self.readings, _SKILL_READ, 1.0),
      (self.shifts, _SKILL_SHIFTED, max(_LEFT_SHIFTED, noise)),
      (self.windows, _SKILL_SHIFTED, max(_LEFT_IN_WINDOWS, noise)),
    ):
      words = max(gains, key=lambda w: gains[w], default="")
      own = gains.get(words, 0.0)
      explained = self.explained + own * (1 - self.explained)
      if (
        own > gain
        and self._skill(explained) > skill
        and self.structured - explained < most_left
      ):
        found[words] = own
    return max(found, key=lambda w: found[w], default=None)

  def _asked(self, words: str) -> str:
    """What is to be looked at if another reading fits better."""
    if words in self.windows:
      return "are --window and --stride those of the images"
    return "is the order of the images right"

  def phase_problem(self, align: str = _ALIGN) -> str | None:
    """Why a network, which needs phases, cannot use the images; or None.

    `align` is what turns them back, in words.
    """
    if self.concentration < _LEAST_CONCENTRATION:
      return (
        "the phases of the fingerprints differ from voxel to voxel, or noise "
        f"hides them: {align}"
      )
    if abs(self.phase_deg) > _SURE_PHASE_DEG:
      return f"the phase is turned by {abs(self.phase_deg):.0f}°: {align}"
    return None

  def doubts(self) -> list[str]:
    """Sentences on what is doubtful, and one on what the sequence explains."""
    sentences = [
      f"{EXPLAINS} {self.explained:.0%} of the signals' energy"
      + (
        ": noise or undersampling is stronger, estimates scatter"
        if self.explained < _NOISY
        else ""
      )
    ]
    if self.by_chance > _UNTOLD:
      return sentences
    words = self._better(_DOUBTFUL_GAIN)
    missed = self.structured - self.explained
    if words is not None:
      sentences.append(
        f"the series fits its sequence better {words}: {self._asked(words)}?"
      )
    elif missed > max(_LEAST_MISSED, _MISSED_RATIO * (1 - self.structured)):
      sentences.append(
        f"any sequence could explain {self.structured:.0%}: is it this one?"
      )
    return sentences

  def phase_doubts(self, align: str = _ALIGN) -> list[str]:
    """A sentence if the phase is doubtful for a network."""
    if self.phase_problem(align) is not None:
      return []
    sentences = []
    if abs(self.phase_deg) > _DOUBTFUL_PHASE_DEG:
      sentences.append(
        f"the phase is turned by {abs(self.phase_deg):.0f}°, which networks "
        f"were not trained for ({align})"
      )
    # That of a normal distribution wrapped around the circle.
    variance = -2 * np.log(self.concentration)
    by_noise = _VARIANCE_OF_NOISE * (1 / self.explained - 1)
    if variance > _DOUBTFUL_VARIANCE + by_noise:
      sentences.append(
        "the phases of the fingerprints differ over the scan, which networks "
        f"were not trained for ({align})"
      )
    return sentences


def fit_scan(
  acquisition: Acquisition,
  signals: Complex64[np.ndarray, "voxel window"],
  *,
  echoes: Interpolant | None = None,
) -> ScanFit:
  """Matches a scan with its sequence, in several readings of its images.

  Args:
    acquisition: the pulse sequence and its sliding window.
    signals: sliding-window signals, also of a scan that does not fit.
    echoes: interpolant of the sequence, if it is known.
  """
  rows = np.random.default_rng(_SEED).permutation(len(signals))
  # Neighbouring windows share most of their frames.
  step = max(1, round(acquisition.window / 6 / acquisition.stride))
  sample = normalised(signals[rows[:_MOST_VOXELS], ::step])
  if not len(sample):
    return ScanFit(0.0, 0.0, 0.0, {}, {}, {}, 0.0, 0.0)
  if echoes is None:
    echoes = make_interpolant(acquisition.sequence)
  readings = Readings(acquisition, sample, step, echoes)
  with one_blas_thread():
    return _fit(readings)


def _fit(readings: Readings) -> ScanFit:
  """Compares the fingerprints with atoms, in all readings."""
  sample = readings.sample
  explained, phases = readings.matched
  mean_phase = np.mean(np.exp(1j * phases))
  energies = np.linalg.eigvalsh(sample.conj().T @ sample)[::-1]
  # Few voxels span what they have, whatever it is.
  rank = min(_RANK, 1 + len(sample) // _VOXELS_OF_A_COMPONENT)
  structured = float(energies[:rank].sum() / energies.sum())
  missed = structured - explained
  worth = missed > _MISSED_WORTH_WINDOWS or missed > _RATIO_WORTH_WINDOWS * (
    1 - structured
  )
  return ScanFit(
    explained=explained,
    structured=structured,
    by_chance=readings.shuffled(_SEED),
    readings=readings.other_orders(),
    shifts=readings.shifts(),
    windows=readings.windows() if worth else {},
    phase_deg=float(np.rad2deg(np.angle(mean_phase))),
    concentration=float(np.abs(mean_phase)),
  )
