"""Other readings of the images of a scan, and what its sequence explains then.

The images may be reversed, magnitudes, of other windows, or too many or too few
at the start. A reading is named if the sequence explains more of the images so.
Flip angles or a field that are not nominal look like a shift by a part of a
frame: a reading also has to explain more than these do.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Complex64, Inexact

from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.interpolant import (
  Interpolant,
  grid_of_times,
  make_interpolant,
)

# Atoms along T1 and T2, and of the comparison with other physics.
_SIDE, _FINE_SIDE = 32, 64
# Voxels of that comparison.
_FINE_VOXELS = 300
# Part of the unexplained energy that makes it worth the time.
_WORTH = 0.02
# Flip angles beside nominal ones, as B1 in heads at 3 T, and offsets that turn
# the phase of balanced sequences by less than 180° a TR of 15 ms, Hz.
_FLIP_FACTORS = (0.7, 0.85, 1.15, 1.3)
_OFFSETS_HZ = (-20.0, -10.0, 10.0, 20.0)
# Images too many or too few at the start that are always tried, and the most
# that are tried while more explain more.
_FIRST_SHIFTS, _MOST_SHIFTS = 3, 12
# Widths of windows about the same centres, beside that of the scan.
_WIDTHS = (0.5, 2.0, 3.0)

Frames = Inexact[np.ndarray, "atom frame"]


class _Reading(NamedTuple):
  """Images, and the atoms that they are to be like.

  Attributes:
    images: of voxels, [voxel, window], parts of normalised ones.
    atoms_of: function from the echoes of atoms to their images.
  """

  images: Complex[np.ndarray, "voxel window"]
  atoms_of: Callable[[Frames], Inexact[np.ndarray, "atom window"]]


# A reading, and the same images as the acquisition says.
_Pair = tuple[_Reading, _Reading]


@dataclasses.dataclass(frozen=True)
class Readings:
  """Some fingerprints of a scan and how its sequence explains them.

  Attributes:
    acquisition: the pulse sequence and its sliding window.
    sample: normalised fingerprints, [voxel, window], of every `step`-th image.
    step: images from one to the next.
    echoes: interpolant of the sequence.
  """

  acquisition: Acquisition
  sample: Complex[np.ndarray, "voxel window"]
  step: int
  echoes: Interpolant

  @functools.cached_property
  def matched(self) -> tuple[float, np.ndarray]:
    """`match` of the images as the acquisition says."""
    return match(self.sample, self._atoms)

  def shuffled(self, seed: int) -> float:
    """Share of energy that the atoms explain of a random order."""
    order = np.random.default_rng(seed).permutation(self.sample.shape[1])
    return match(self.sample[:, order], self._atoms)[0]

  def other_orders(self) -> dict[str, float]:
    """Reading in words to the part of the unexplained energy it explains."""
    sample, sequence = self.sample, self.acquisition.sequence
    readings = {"reversed in time": _Reading(sample[:, ::-1], self._images)}
    if not np.any(sample.imag) and np.all(sample.real >= 0):
      readings["as magnitudes: its phase is missing"] = _Reading(
        sample, lambda frames: np.abs(self._images(frames))
      )
    if np.iscomplexobj(self._atoms):
      readings["as its complex conjugate"] = _Reading(
        sample.conj(), self._images
      )
    if not sequence.has_constant_phase:
      turns = np.exp(1j * np.deg2rad(sequence.rf_phases_deg))
      readings["with the phases of its pulses: --demodulate"] = _Reading(
        sample, lambda frames: self._images(frames * turns)
      )
    return self._confirmed({w: (r, self._own) for w, r in readings.items()})

  def shifts(self) -> dict[str, float]:
    """The same of images that are too many or too few at the start."""
    pairs: dict[str, _Pair] = {}
    best = 0.0
    for k in range(1, _MOST_SHIFTS + 1):
      if self.sample.shape[1] < 4 * k:
        break
      further = dict(self._shifted(k))
      pairs |= further
      gain = max(self._gain(*pair) for pair in further.values())
      if k >= _FIRST_SHIFTS and gain <= max(best, _WORTH):
        break
      best = max(best, gain)
    return self._confirmed(pairs)

  def windows(self) -> dict[str, float]:
    """The same of other windows that make as many images of the frames."""
    return self._confirmed(
      {
        words: (_Reading(self.sample, atoms_of), self._own)
        for words, atoms_of in self._other_windows()
      }
    )

  def _shifted(self, k: int) -> Iterator[tuple[str, _Pair]]:
    """Readings shifted by so many images of the sample."""

    def late(frames: Frames):
      return self._images(frames)[:, k:]

    def early(frames: Frames):
      return self._images(frames)[:, :-k]

    n_images = k * self.step
    images = "image" if n_images == 1 else f"{n_images} images"
    first, last = self.sample[:, :-k], self.sample[:, k:]
    yield (
      f"without its first {images}",
      (_Reading(last, early), _Reading(last, late)),
    )
    yield (
      f"with another {images} before the first",
      (_Reading(first, late), _Reading(first, early)),
    )

  def _other_windows(self) -> Iterator[tuple[str, Callable]]:
    """Words and atoms of other windows."""
    own, n_images = self.acquisition, self.acquisition.n_windows
    n_frames = own.sequence.n_frames
    for stride in range(1, (n_frames - 1) // max(1, n_images - 1) + 1):
      # All widths of this range make as many images.
      widest = n_frames - (n_images - 1) * stride
      width = max(1, widest - (stride - 1) // 2)
      if stride != own.stride:
        yield (
          f"in windows of {width} frames or so, {stride} apart",
          functools.partial(self._images, width=width, stride=stride),
        )
    for factor in _WIDTHS:
      width = round(factor * own.window)
      if width and width != own.window:
        yield (
          f"in windows of {width} frames or so about the same centres",
          functools.partial(self._centred, width=width),
        )

  def _images(
    self, frames: Frames, *, width: int | None = None, stride: int | None = None
  ) -> Inexact[np.ndarray, "atom window"]:
    """Images of atoms; those of the scan's own reading are made once."""
    if frames is self._frames and width is None and stride is None:
      return self._atoms
    return self._made(frames, width=width, stride=stride)

  def _made(
    self, frames: Frames, *, width: int | None = None, stride: int | None = None
  ) -> Inexact[np.ndarray, "atom window"]:
    """Images of atoms, of norm one before some are taken."""
    return _unit(
      sliding_window(
        frames,
        window=width or self.acquisition.window,
        stride=stride or self.acquisition.stride,
      )
    )[:, :: self.step]

  def _centred(
    self, frames: Frames, *, width: int
  ) -> Inexact[np.ndarray, "atom window"]:
    """Images of wider or narrower windows about the centres of the scan's."""
    extra = width - self.acquisition.window
    before, after = abs(extra) // 2, abs(extra) - abs(extra) // 2
    if extra > 0:
      frames = np.pad(frames, ((0, 0), (before, after)), mode="edge")
    else:
      frames = frames[:, before : frames.shape[1] - after]
    return self._images(frames, width=width)

  def _gain(self, reading: _Reading, own: _Reading) -> float:
    """Part of what is left unexplained that another reading explains."""

    def share(r: _Reading) -> float:
      return match(r.images, r.atoms_of(self._frames))[0]

    own_share = self.matched[0] if own is self._own else share(own)
    return _part(share(reading), own_share)

  def _confirmed(self, pairs: dict[str, _Pair]) -> dict[str, float]:
    """Gains, none larger than the best one is beside other physics."""
    gains = {words: self._gain(*pair) for words, pair in pairs.items()}
    best = max(gains, key=lambda words: gains[words], default=None)
    if best is None or gains[best] < _WORTH:
      return gains
    share, own_share = (
      max(
        match(r.images[:_FINE_VOXELS], r.atoms_of(frames))[0]
        for frames in self._frames_of_physics
      )
      for r in pairs[best]
    )
    most = _part(share, own_share)
    # The best one stands first among equals.
    gains = {best: gains[best], **gains}
    return {words: min(gain, most) for words, gain in gains.items()}

  @functools.cached_property
  def _own(self) -> _Reading:
    """The images as the acquisition says."""
    return _Reading(self.sample, self._images)

  @functools.cached_property
  def _frames(self) -> Frames:
    """Echoes of the atoms."""
    return self.echoes(*grid_of_times(_SIDE))

  @functools.cached_property
  def _atoms(self) -> Inexact[np.ndarray, "atom window"]:
    """Images of the atoms, as the acquisition says."""
    return self._made(self._frames)

  @functools.cached_property
  def _frames_of_physics(self) -> list[Frames]:
    """Echoes of finer atoms at other flip angles and offsets."""
    sequence = self.acquisition.sequence
    interpolants = [
      self.echoes,
      *(make_interpolant(sequence, b1=factor) for factor in _FLIP_FACTORS),
    ]
    if sequence.balanced:
      interpolants += [
        make_interpolant(sequence, off_resonance_hz=offset)
        for offset in _OFFSETS_HZ
      ]
    times = grid_of_times(_FINE_SIDE)
    return [interpolant(*times) for interpolant in interpolants]


def normalised(
  signals: Complex64[np.ndarray, "voxel window"],
) -> Complex64[np.ndarray, "kept window"]:
  """Fingerprints of norm one; those of zeros are left out."""
  largest = np.abs(signals).max(1, initial=0)
  signals = signals[largest > 0] / largest[largest > 0, None]
  return _unit(signals)


def match(
  sample: Complex[np.ndarray, "voxel window"],
  atoms: Inexact[np.ndarray, "atom window"],
) -> tuple[float, np.ndarray]:
  """Mean share of energy that the best atoms explain, and phases beside them.

  Rows of either may be parts of normalised ones.
  """
  atoms = _unit(atoms).astype(np.result_type(atoms.dtype, np.float32))
  if np.iscomplexobj(atoms):
    products = sample @ atoms.conj().T
    shares = products.real**2 + products.imag**2
  else:
    shares = (sample.real @ atoms.T) ** 2
    shares += (sample.imag @ atoms.T) ** 2
  best = shares.argmax(1)
  energies = np.sum(np.abs(sample) ** 2, 1)
  share = np.mean(shares.max(1) / np.maximum(energies, 1e-12))
  phases = np.angle(np.einsum("vw,vw->v", sample, atoms[best].conj()))
  return float(share), phases


def _unit(images: Inexact[np.ndarray, "row window"]) -> np.ndarray:
  """Rows of norm one."""
  return images / np.linalg.norm(images, axis=1, keepdims=True)


def _part(share: float, own: float) -> float:
  """Part of the energy without explanation that another share explains."""
  return (share - own) / max(1 - own, 1e-6)
