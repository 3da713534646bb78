"""How well does a scan fit its sequence: order, phase, magnitude, noise.

The fingerprints of some voxels are matched with a thousand atoms of the scan's
own sequence and window, which are interpolated from a few hundred simulated
ones. What the atoms explain is compared with what they explain of the same
images in other orders, and with what any atoms could explain.
"""

import dataclasses

import numpy as np
from jaxtyping import Complex, Complex64, Inexact

from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.interpolant import (
  Interpolant,
  grid_of_times,
  make_interpolant,
)

# Voxels that are matched, atoms along T1 and T2, and seed of both.
_MOST_VOXELS = 1000
_SIDE = 32
_SEED = 0
# Images that may be too many or too few at the start.
_SHIFTS = (1, 2, 3)
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
    phase_deg: mean phase of the signals beside their atoms, degrees.
    concentration: length of the mean of these phases, 0 to 1.
  """

  explained: float
  structured: float
  by_chance: float
  readings: dict[str, float]
  shifts: dict[str, float]
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
      return f"the series fits its sequence {words}"
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
    for gains, skill in (
      (self.readings, _SKILL_READ),
      (self.shifts, _SKILL_SHIFTED),
    ):
      words = max(gains, key=lambda w: gains[w], default="")
      own = gains.get(words, 0.0)
      explained = self.explained + own * (1 - self.explained)
      if own > gain and self._skill(explained) > skill:
        return words
    return None

  def phase_problem(self) -> str | None:
    """Why a network, which needs phases, cannot use the images; or None."""
    if self.concentration < _LEAST_CONCENTRATION:
      return (
        "the phases of the fingerprints differ from voxel to voxel, or noise "
        "hides them: --align_phases"
      )
    if abs(self.phase_deg) > _SURE_PHASE_DEG:
      return (
        f"the phase is turned by {abs(self.phase_deg):.0f}°: --align_phases"
      )
    return None

  def doubts(self) -> list[str]:
    """Sentences on what is doubtful, and one on what the sequence explains."""
    sentences = [
      f"the sequence explains {self.explained:.0%} of the signals' energy"
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
        f"the series fits its sequence better {words}: is the order of the "
        "images right?"
      )
    elif missed > max(_LEAST_MISSED, _MISSED_RATIO * (1 - self.structured)):
      sentences.append(
        f"any sequence could explain {self.structured:.0%}: is it this one?"
      )
    return sentences

  def phase_doubts(self) -> list[str]:
    """A sentence if the phase is doubtful for a network."""
    if self.phase_problem() is not None:
      return []
    sentences = []
    if abs(self.phase_deg) > _DOUBTFUL_PHASE_DEG:
      sentences.append(
        f"the phase is turned by {abs(self.phase_deg):.0f}°, which networks "
        "were not trained for (--align_phases)"
      )
    # That of a normal distribution wrapped around the circle.
    variance = -2 * np.log(self.concentration)
    by_noise = _VARIANCE_OF_NOISE * (1 / self.explained - 1)
    if variance > _DOUBTFUL_VARIANCE + by_noise:
      sentences.append(
        "the phases of the fingerprints differ over the scan, which networks "
        "were not trained for (--align_phases)"
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
    return ScanFit(0.0, 0.0, 0.0, {}, {}, 0.0, 0.0)
  if echoes is None:
    echoes = make_interpolant(acquisition.sequence)
  frames = echoes(*grid_of_times(_SIDE))
  atoms = _windows(frames, acquisition)[:, ::step]
  explained, phases = _match(sample, atoms)
  mean_phase = np.mean(np.exp(1j * phases))
  energies = np.linalg.svd(sample, compute_uv=False) ** 2
  # Few voxels span what they have, whatever it is.
  rank = min(_RANK, 1 + len(sample) // _VOXELS_OF_A_COMPONENT)
  shuffled = np.random.default_rng(_SEED).permutation(sample.shape[1])
  readings = {"reversed in time": (sample[:, ::-1], atoms)}
  if not np.any(sample.imag) and np.all(sample.real >= 0):
    readings["as magnitudes: its phase is missing"] = sample, np.abs(atoms)
  if np.iscomplexobj(atoms):
    readings["as its complex conjugate"] = sample.conj(), atoms
  if not acquisition.sequence.has_constant_phase:
    turns = np.exp(1j * np.deg2rad(acquisition.sequence.rf_phases_deg))
    carried = _windows(frames * turns, acquisition)[:, ::step]
    readings["with the phases of its pulses: --demodulate"] = sample, carried
  return ScanFit(
    explained=explained,
    structured=float(energies[:rank].sum() / energies.sum()),
    by_chance=_match(sample[:, shuffled], atoms)[0],
    readings={
      words: _gain(_match(*reading)[0], explained)
      for words, reading in readings.items()
    },
    shifts=_shifts(sample, atoms, step),
    phase_deg=float(np.rad2deg(np.angle(mean_phase))),
    concentration=float(np.abs(mean_phase)),
  )


def _shifts(
  sample: Complex[np.ndarray, "voxel window"],
  atoms: Inexact[np.ndarray, "atom window"],
  step: int,
) -> dict[str, float]:
  """Gains of images that are too many or too few at the start."""
  gains = {}
  for k in _SHIFTS:
    if sample.shape[1] < 4 * k:
      break
    n_images = k * step
    images = "image" if n_images == 1 else f"{n_images} images"
    late, early = (sample[:, k:], atoms[:, k:]), (sample[:, :-k], atoms[:, :-k])
    for words, shifted, own in (
      (f"without its first {images}", (late[0], early[1]), late),
      (f"with another {images} before the first", (early[0], late[1]), early),
    ):
      share = _match(*own)[0]
      gains[words] = _gain(_match(*shifted)[0], share)
  return gains


def _gain(share: float, own: float) -> float:
  """Part of the energy without explanation that another share explains."""
  return (share - own) / max(1 - own, 1e-6)


def normalised(
  signals: Complex64[np.ndarray, "voxel window"],
) -> Complex64[np.ndarray, "kept window"]:
  """Fingerprints of norm one; those of zeros are left out."""
  largest = np.abs(signals).max(1, initial=0)
  signals = signals[largest > 0] / largest[largest > 0, None]
  return signals / np.linalg.norm(signals, axis=1, keepdims=True)


def _windows(
  frames: Inexact[np.ndarray, "atom frame"], acquisition: Acquisition
) -> Inexact[np.ndarray, "atom window"]:
  """Sliding-window atoms of norm one."""
  atoms = sliding_window(
    frames, window=acquisition.window, stride=acquisition.stride
  )
  return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def _match(
  sample: Complex[np.ndarray, "voxel window"],
  atoms: Inexact[np.ndarray, "atom window"],
) -> tuple[float, np.ndarray]:
  """Mean share of energy that the best atoms explain, and phases beside them.

  Rows of either may be parts of normalised ones.
  """
  columns = atoms.conj().T.astype(np.result_type(atoms.dtype, np.float32))
  if np.iscomplexobj(columns):
    products = sample @ columns
  else:
    products = sample.real @ columns + 1j * (sample.imag @ columns)
  shares = np.abs(products) ** 2 / np.sum(np.abs(atoms) ** 2, 1)
  best = shares.argmax(1)
  energies = np.sum(np.abs(sample) ** 2, 1)
  rows = np.arange(len(sample))
  share = np.mean(shares[rows, best] / np.maximum(energies, 1e-12))
  return float(share), np.angle(products[rows, best])
