"""The scans that a model bundle was trained on, and a scan beside them."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from mrf_jax.dataset.identity import ScanIdentity, identify
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.inference.bundle import load_training

# Phases of a network's scans of which it knows no others: all voxels within
# about 40 degrees of their mean (coherence exp(-sd^2 / 2)).
_COHERENT = 0.8
# Below this, phases are any. Noise alone lowers that of the smallest simulated
# scans, of one phase, to 0.56.
_INCOHERENT = 0.3
_LEAST_TURN_DEG = 45.0
_ALIKE = "was trained on scans whose phases are alike"


@dataclasses.dataclass(frozen=True)
class TrainingScans:
  """The scans that a model bundle was trained on.

  Attributes:
    bundle: its folder.
    scans: those that it names.
    are_all: whether it was trained on no others; bundles did not always name
      them.
  """

  bundle: str
  scans: tuple[ScanIdentity, ...]
  are_all: bool

  def has(self, scan: ScanIdentity) -> bool:
    """Whether it was trained on a scan."""
    return any(scan.is_same_scan(own) for own in self.scans)


def load_training_scans(path: str | os.PathLike) -> TrainingScans:
  """Reads which scans a model bundle was trained on.

  Raises:
    UserError: the bundle is missing or damaged.
  """
  training = load_training(path, default={})
  try:
    scans = [ScanIdentity.from_json(own) for own in training.get("scans", ())]
  except (TypeError, ValueError) as error:
    raise UserError(f"{path}: damaged model bundle ({error})") from error
  are_all = training.get("scans_are_all") is True
  return TrainingScans(str(path), tuple(scans), are_all)


def scans_entry(
  scans: Sequence[ScanIdentity], *, after: TrainingScans | None = None
) -> dict[str, Any]:
  """What a bundle says of its scans, as part of `training` of `save_model`.

  Args:
    scans: those that it was trained on; none if they are not known.
    after: those of the bundle that it was trained on from, if any.
  """
  names = [*(after.scans if after else ()), *scans]
  return {
    "scans": [scan.to_json() for scan in names],
    "scans_are_all": bool(scans) and (after is None or after.are_all),
  }


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A scan beside those that models were trained on.

  Attributes:
    seen: a sentence that names the models that were trained on this very scan;
      None if none was.
    doubts: sentences on what may keep them from a good estimate, or the errors
      from being those of a new scan.
    turned: why its phases are none that a model learned, in words; or None.
    phase_is_learned: whether all models learned from scans of its phase.
    any_phase_is_learned: whether all learned from scans of many phases.
  """

  seen: str | None = None
  doubts: Sequence[str] = ()
  turned: str | None = None
  phase_is_learned: bool = False
  any_phase_is_learned: bool = False


def compare_with_training(
  bundles: Sequence[TrainingScans],
  subject: Subject,
  *,
  knowing_phase: Sequence[TrainingScans],
  align: str,
) -> Comparison:
  """Compares a scan with those that models were trained on.

  Args:
    bundles: the scans of each model.
    subject: the scan, with its signals.
    knowing_phase: those of the models that need the phases of their training.
    align: what turns its phases back, in words.
  """
  if not bundles:
    # A dictionary: the identity would hash all signals for nothing.
    return Comparison()
  known = [scan for bundle in bundles for scan in bundle.scans]
  scan = identify(subject, beside=known)
  seen = [bundle.bundle for bundle in bundles if bundle.has(scan)]
  turns = [_turned(bundle, scan, align) for bundle in knowing_phase]
  doubts = [_incoherent(bundle, scan, align) for bundle in knowing_phase]
  know_scans = all(bundle.scans for bundle in knowing_phase)
  coherences = [_least_coherence(bundle) for bundle in knowing_phase]
  are_coherent = min([*coherences, scan.phase_coherence]) >= _COHERENT
  # Names of simulated heads are numbers, which each study begins anew.
  if not subject.is_simulated:
    doubts += [_namesake(b, scan) for b in bundles if b.bundle not in seen]
  unknown = [b.bundle for b in bundles if not b.are_all]
  if unknown and not seen and subject.maps is not None:
    doubts.append(
      f"{', '.join(unknown)}: does not name all scans that it was trained on; "
      "if this is one of them, errors are smaller than those of a new scan"
    )
  sentence = (
    f"seen in training: {', '.join(seen)} learned from this scan, so that its "
    "errors are smaller than those of a new scan"
  )
  return Comparison(
    seen=sentence if seen else None,
    doubts=[*dict.fromkeys(doubt for doubt in doubts if doubt)],
    turned=next(filter(None, turns), None),
    phase_is_learned=know_scans and are_coherent and not any(turns),
    any_phase_is_learned=know_scans
    and max(coherences, default=0.0) < _INCOHERENT,
  )


def _namesake(bundle: TrainingScans, scan: ScanIdentity) -> str | None:
  """Sentence on another scan of a subject of this name, if there was one."""
  if scan.subject not in {own.subject for own in bundle.scans}:
    return None
  return (
    f"{bundle.bundle} was trained on another scan of a subject of this name, "
    f"{scan.subject}: if it is the same subject, errors are smaller than those "
    "of a new one"
  )


def _incoherent(
  bundle: TrainingScans, scan: ScanIdentity, align: str
) -> str | None:
  """Sentence on phases that differ where the network knows one; or None."""
  least = _least_coherence(bundle)
  if least < _COHERENT or scan.phase_coherence >= _COHERENT:
    return None
  return (
    f"{bundle.bundle} {_ALIKE}, and those of this scan differ from voxel to "
    f"voxel (coherence {scan.phase_coherence:.2f}, there {least:.2f} or more): "
    f"{align}"
  )


def _turned(
  bundle: TrainingScans, scan: ScanIdentity, align: str
) -> str | None:
  """Why the scan has another phase than the network has seen; or None."""
  if min(_least_coherence(bundle), scan.phase_coherence) < _COHERENT:
    return None
  turns = [_turn_deg(scan, own) for own in bundle.scans]
  nearest = min(turns, key=abs, default=0.0)
  if abs(nearest) < _LEAST_TURN_DEG:
    return None
  return (
    f"{bundle.bundle} {_ALIKE}, and those of this scan are turned by "
    f"{abs(nearest):.0f}° against them: both have to be alike ({align})"
  )


def _least_coherence(bundle: TrainingScans) -> float:
  """That of the phases of its scans; 0 if it names none."""
  return min((own.phase_coherence for own in bundle.scans), default=0.0)


def _turn_deg(scan: ScanIdentity, other: ScanIdentity) -> float:
  """Angle from the mean phase of one scan to that of another, -180 to 180."""
  return (scan.phase_deg - other.phase_deg + 180.0) % 360.0 - 180.0
