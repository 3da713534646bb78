"""Identity of a scan: what tells whether two files hold the same scan.

Content hashes of files are a matter of `hashlib`. Libraries for near duplicates
(datasketch, imagehash) compare texts or pictures: a scan with another mask,
gain, phase or orientation would be another one to them.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Complex64, UInt64

from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.runtime.threads import map_threads
from mrf_jax.sequence.acquisition import Acquisition

# Fingerprints that are kept of each scan, and images of each that are compared.
_KEPT = 64
_IMAGES = 8
# Voxels that a thread takes at once.
_VOXELS = 8192
# Steps of an image's share of a fingerprint. Noise is larger by far, and
# float32 errs by less than a thousandth of a step.
_STEPS = 1 << 14
# Scans have no fingerprint in common; of one slice of twelve a scan has 8 %.
_SAME_SHARE = 0.05
# Fewer different fingerprints a voxel are those of a drawing without noise,
# which another drawing may have, too.
_LEAST_DIFFERENT = 0.5
# Field strengths of scanners of one kind differ by less: 2.89 T are sold as 3.
_FIELD_TOLERANCE = 0.1
# Medians of proton density of heads on one scale differ by less: those of the
# simulated heads by 5 %, and masks with much CSF or air by some ten per cent.
_PD_FACTOR = 3.0


@dataclasses.dataclass(frozen=True)
class ScanIdentity:
  """What a scan is known by, whatever its file is called.

  Attributes:
    subject: name of the subject.
    parts: checksum of each part of the scan that results depend on, by the
      part's name; not of names, origin, or what only a simulation knows. That
      of the signals may be left out, see `identify`.
    sketch: checksums of some fingerprints, the smallest of all (Broder 1997),
      in which neither the phase counts, nor a factor, nor the order. Scans with
      another mask, gain, phase or orientation share them. Empty where voxels
      are alike.
    field_strength_t: main magnetic field, tesla.
    pd_median: median of the reference map of proton density; None without.
    phase_deg: mean phase of the second half of the fingerprints.
    phase_coherence: 1 if all voxels have this phase, 0 if they have any.
  """

  subject: str
  parts: dict[str, str]
  sketch: tuple[str, ...]
  field_strength_t: float
  pd_median: float | None
  phase_deg: float
  phase_coherence: float

  def to_json(self) -> dict[str, Any]:
    """The identity as JSON stores it."""
    return {**dataclasses.asdict(self), "sketch": " ".join(self.sketch)}

  @classmethod
  def from_json(cls, values: dict[str, Any]) -> "ScanIdentity":
    """The identity that `to_json` has stored; other keys do not count.

    Raises:
      ValueError: it is none.
    """
    try:
      pd_median = values["pd_median"]
      return cls(
        subject=str(values["subject"]),
        parts={str(k): str(v) for k, v in values["parts"].items()},
        sketch=tuple(values["sketch"].split()),
        field_strength_t=float(values["field_strength_t"]),
        pd_median=None if pd_median is None else float(pd_median),
        phase_deg=float(values["phase_deg"]),
        phase_coherence=float(values["phase_coherence"]),
      )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
      raise ValueError(f"no identity of a scan ({error})") from error

  def differences(self, other: "ScanIdentity") -> list[str]:
    """Names of the parts in which two scans differ."""
    names = dict.fromkeys((*self.parts, *other.parts))
    return [n for n in names if self.parts.get(n) != other.parts.get(n)]

  def is_same_scan(self, other: "ScanIdentity") -> bool:
    """Whether signals, for a part at least, or maps are the same."""
    signals = self.parts.get("signals")
    if signals is not None and signals == other.parts.get("signals"):
      return True
    both_have_maps = None not in (self.pd_median, other.pd_median)
    if both_have_maps and self.parts.get("maps") == other.parts.get("maps"):
      return True
    if not (self.sketch and other.sketch):
      return False
    own, its = set(self.sketch), set(other.sketch)
    # The smallest of both together are a fair sample of both together.
    sample = sorted(own | its)[:_KEPT]
    return len(own & its & {*sample}) >= _SAME_SHARE * len(sample)


def identify(
  subject: Subject, *, beside: Sequence[ScanIdentity] | None = None
) -> ScanIdentity:
  """The identity of a scan that was loaded with its signals.

  Args:
    subject: the scan.
    beside: the only scans that it is compared with. The checksum of the signals
      is then left out if sketches tell: those of the same signals are the same,
      and take a fifth of the time.
  """
  signals = subject.signals
  assert signals is not None
  sketch = _sketch(signals)
  parts = _parts(subject)
  if beside is None or not all(sketch and other.sketch for other in beside):
    parts = {"signals": _checksum([signals]), **parts}
  half = signals[:, signals.shape[1] // 2 :]
  total = _by_voxel(lambda rows: rows.sum(1, dtype=np.complex128), half)
  # Voxels without signal have no phase.
  total = total[np.abs(total) > 0]
  mean = np.mean(total / np.abs(total)) if total.size else 0j
  maps = subject.maps
  return ScanIdentity(
    subject=subject.subject,
    parts=parts,
    sketch=sketch,
    field_strength_t=float(subject.field_strength_t),
    pd_median=None if maps is None else float(np.median(maps.pd)),
    phase_deg=round(float(np.degrees(np.angle(mean))), 2),
    phase_coherence=round(float(np.abs(mean)), 4),
  )


def _parts(subject: Subject) -> dict[str, str]:
  """Checksum of each part of a scan but its signals."""
  parts: dict[str, Sequence] = {
    "mask": [subject.mask],
    "affine": [subject.affine],
    "sequence": _values(subject.acquisition),
    "field strength": [np.float64(subject.field_strength_t)],
    "maps": _maps(subject.maps),
    # Only simulated heads have it: their place in an atlas.
    "head_to_atlas": [subject.head_to_atlas],
  }
  if subject.b1 is not None:
    parts["b1"] = [subject.b1]
  return {name: _checksum(values) for name, values in parts.items()}


def _values(acquisition: Acquisition) -> list:
  sequence = vars(acquisition.sequence)
  values = [sequence[name] for name in sorted(sequence)]
  return [*values, acquisition.window, acquisition.stride]


def _maps(maps: Maps | None) -> list:
  return [] if maps is None else [getattr(maps, name) for name in MAP_NAMES]


def _checksum(values: Sequence) -> str:
  """Half of the SHA-256 of arrays and numbers, with their types and shapes."""
  digest = hashlib.sha256()
  for value in values:
    # None is an array of objects, whose bytes are an address.
    array = np.asarray("none" if value is None else value)
    digest.update(f"{array.dtype.str} {array.shape};".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
  return digest.hexdigest()[:32]


def _sketch(
  signals: Complex64[np.ndarray, "voxel window"],
) -> tuple[str, ...]:
  """The smallest checksums of all different fingerprints."""
  count = min(_IMAGES, signals.shape[1])
  some = np.linspace(0, signals.shape[1] - 1, count).astype(int)

  def checksums(rows: np.ndarray) -> UInt64[np.ndarray, "voxel"]:
    # In float64, in which no gain is too large or too small.
    sizes = np.abs(rows[:, some].astype(np.complex128))
    sums = sizes.sum(1, keepdims=True)
    steps = np.zeros((len(sizes), _IMAGES), "<u2")
    steps[:, :count] = np.rint(_STEPS * sizes / np.where(sums > 0, sums, 1))
    found = np.zeros(len(steps), np.uint64)
    for word in steps.view("<u8").T:
      found = _mixed(found ^ word)
    return found[sums[:, 0] > 0]

  different = np.unique(_by_voxel(checksums, signals))
  if count < 2 or len(different) < max(1, _LEAST_DIFFERENT * len(signals)):
    return ()
  return tuple(f"{checksum:016x}" for checksum in different[:_KEPT])


def _by_voxel(function: Callable, signals: np.ndarray) -> np.ndarray:
  """Results of a function of some voxels' signals, for all of them."""
  starts = range(0, max(1, len(signals)), _VOXELS)
  parts = map_threads(lambda k: function(signals[k : k + _VOXELS]), starts)
  return np.concatenate(parts)


def _mixed(words: UInt64[np.ndarray, "voxel"]) -> UInt64[np.ndarray, "voxel"]:
  """Words whose bits all depend on all bits of each (SplitMix64, Steele 2014).

  hashlib makes one checksum a call, a second for half a million voxels.
  """
  words = words + np.uint64(0x9E3779B97F4A7C15)
  words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return words ^ (words >> np.uint64(31))


def check_different(
  scans: Sequence[ScanIdentity], paths: Sequence[str | os.PathLike]
) -> None:
  """Raises `UserError` if two files are of the same scan or subject.

  What is learned from one would be tested on itself in the other.
  """
  for k, scan in enumerate(scans):
    for j, other in enumerate(scans[:k]):
      if scan.is_same_scan(other):
        raise UserError(
          f"{paths[k]}: is the same scan as {paths[j]}; name each scan once"
        )
      if scan.subject == other.subject:
        raise UserError(
          f"{paths[k]}: is of subject {scan.subject!r}, as {paths[j]} is; a "
          "subject may be there once only (--subject of --mode=import names "
          "subjects)"
        )


def check_together(
  scans: Sequence[ScanIdentity], paths: Sequence[str | os.PathLike]
) -> None:
  """Raises `UserError` unless one network can learn from all of the scans.

  They need one field strength, on which T1 and T2 depend, and one scale of
  proton density.
  """
  for k, scan in enumerate(scans):
    own_t, first_t = scan.field_strength_t, scans[0].field_strength_t
    if not is_same_field(own_t, first_t):
      raise UserError(
        f"{paths[k]}: is a scan at {own_t:g} T, but {paths[0]} at "
        f"{first_t:g} T; T1 and T2 depend on the field strength "
        "(--field_strength_t of --mode=import), so use scans of one"
      )
  medians = {
    path: scan.pd_median
    for path, scan in zip(paths, scans, strict=True)
    if scan.pd_median is not None
  }
  if not medians:
    return
  ordered = sorted(medians.items(), key=lambda item: abs(item[1]))
  low, high = ordered[0], ordered[-1]
  if not is_same_pd_scale(low[1], high[1]):
    raise UserError(
      f"{high[0]}: its reference PD has the median {high[1]:.3g}, that of "
      f"{low[0]} {low[1]:.3g}; bring --pd of --mode=import to one scale"
    )


def is_same_field(one_t: float, other_t: float) -> bool:
  """Whether two field strengths, tesla, are of one kind of scanner."""
  return abs(one_t - other_t) <= _FIELD_TOLERANCE * min(one_t, other_t)


def is_same_pd_scale(one: float, other: float) -> bool:
  """Whether two medians of proton density can be on one scale."""
  low, high = sorted((one, other), key=abs)
  return low * high > 0 and high / low <= _PD_FACTOR
