"""The maps of a scan with all that is known of them, and their files."""

import dataclasses
import functools
import json
import os
import pathlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from mrf_jax.dataset.subject import Subject
from mrf_jax.dataset.summary import describe, medians
from mrf_jax.fit.maps import MOST_DIFFERENCE, MapsFit
from mrf_jax.io import nifti
from mrf_jax.io.atomic import write_text
from mrf_jax.maps import LEAST_MS, MAP_NAMES, Maps, count_at_bounds
from mrf_jax.methods.estimators import Estimate, Estimator
from mrf_jax.runtime.progress import share_of_voxels
from mrf_jax.workdir.environment import environment

if TYPE_CHECKING:
  from mrf_jax.evaluation.scan_errors import ScanErrors

RECORD = "reconstruction.json"
# Files that each run writes.
WRITTEN = ("pd.nii.gz", "t1.nii.gz", "t2.nii.gz", "overview.png", RECORD)
# Maps of the fit: unexplained part of each fingerprint, and 1 for an estimate
# that is doubtful.
_FIT = ("fit.nii.gz", "doubtful.nii.gz")
# Files that some runs write; others remove those of an earlier run.
OPTIONAL = (
  *_FIT,
  "pd_sd.nii.gz",
  "t1_sd.nii.gz",
  "t2_sd.nii.gz",
  "b1.nii.gz",
  "b1_sd.nii.gz",
  "errors.csv",
  "errors.md",
  "calibration.csv",
  "calibration.md",
)


@dataclasses.dataclass(frozen=True)
class Reconstruction:
  """The maps of a scan, and what they were made from."""

  subject: Subject
  assumptions: tuple[str, ...]
  estimator: Estimator
  estimate: Estimate
  errors: "ScanErrors | None"
  fit: MapsFit | None
  seen: str | None

  @property
  def is_doubtful(self) -> Bool[np.ndarray, "voxel"] | None:
    """Voxels that the fit or the method itself doubts; None if neither says."""
    doubts = [self.estimate.is_unsure]
    doubts += [None if self.fit is None else self.fit.is_doubtful]
    known = [which for which in doubts if which is not None]
    return np.any(known, 0) if known else None


def sentences_on_maps(
  estimator: Estimator, maps: Maps, fit: MapsFit | None
) -> list[str]:
  """Sentences on estimates at a bound, at an edge, or in doubt."""
  share = functools.partial(share_of_voxels, n_voxels=len(maps.t1_ms))
  sentences = []
  at_edge = estimator.count_at_edge(maps)
  if at_edge:
    sentences.append(
      f"{share(at_edge)} are at the edge of the dictionary, where T1 or T2 may "
      "be beyond it"
    )
  at_bound = count_at_bounds(maps)
  if at_bound and estimator.edges_ms is None:
    sentences.append(
      f"{share(at_bound)} are at the bound of what is possible: PD 0, T2 "
      f"{LEAST_MS:g} ms, or T2 as long as T1"
    )
  at_bound = estimator.count_at_training_bound(maps)
  if at_bound:
    assert estimator.bounds is not None
    ranges = [
      f"{name} {low:.3g} to {high:.3g}{unit}"
      for (name, unit), (low, high) in zip(
        (("PD", ""), ("T1", " ms"), ("T2", " ms")),
        estimator.bounds.T,
        strict=True,
      )
      if np.isfinite(low)
    ]
    sentences.append(
      f"{share(at_bound)} are at a bound of the maps that the network was "
      f"trained on, where they may be beyond it: {', '.join(ranges)}"
    )
  if fit is None:
    return sentences
  doubtful = int(fit.is_doubtful.sum())
  differ = "differ from a quick match of the signals"
  if estimator.edges_ms is not None:
    differ += ", or scatter from voxel to voxel,"
  if not fit.holds:
    sentences.append(
      f"{estimator.name} does not hold for this scan: its T1 or T2 {differ} in "
      f"{share(doubtful)}, more than in any left-out head ({_FIT[1]} shows "
      "where)"
    )
  elif doubtful:
    sentences.append(
      f"T1 or T2 {differ} much in {share(doubtful)}: {_FIT[1]} shows where"
    )
  return sentences


def scan_name(subject: Subject) -> str:
  """Name of a subject for headings, which call simulated data simulated."""
  kind = "simulated subject" if subject.is_simulated else "subject"
  return f"{kind} {subject.subject}"


def write_maps(folder: pathlib.Path, result: Reconstruction) -> None:
  """Writes maps and standard deviations, and a picture of them."""
  from mrf_jax.evaluation.overview import overview

  subject, estimate = result.subject, result.estimate
  volumes: dict[str, Any] = {}
  for maps, suffix in ((estimate.maps, ""), (estimate.deviations, "_sd")):
    if maps is not None:
      for name in MAP_NAMES:
        volumes[name.removesuffix("_ms") + suffix] = getattr(maps, name)
  if estimate.b1_deviations is not None:
    # A B1 that was given is in a file already.
    volumes["b1"] = estimate.b1
    if estimate.deviations is not None:
      volumes["b1_sd"] = estimate.b1_deviations
  if result.fit is not None:
    volumes["fit"] = result.fit.residual
  if result.is_doubtful is not None:
    volumes["doubtful"] = result.is_doubtful.astype(np.float32)

  def save(name: str) -> None:
    path = folder / f"{name}.nii.gz"
    nifti.save_map(
      path, np.asarray(volumes[name]), subject.mask, subject.affine
    )

  # Compressed in threads; matplotlib draws in this one only.
  with ThreadPoolExecutor(os.cpu_count()) as pool:
    saving = pool.map(save, volumes)
    overview(
      folder / "overview.png",
      estimate.maps,
      subject.mask,
      subject.affine,
      title=f"{result.estimator.name}, {scan_name(subject)}",
      deviations=estimate.deviations,
      residual=None if result.fit is None else result.fit.residual,
    )
    list(saving)


def write_record(
  folder: pathlib.Path,
  result: Reconstruction,
  flags: dict[str, Any],
  seconds: dict[str, float],
) -> None:
  """Writes all that is needed to repeat the run, and how long it took."""
  estimator = result.estimator
  record = {
    "flags": {name: value for name, value in flags.items() if value},
    "method": estimator.name,
    "estimators": estimator.about,
    **estimator.settings,
    "subject": result.subject.subject,
    "provenance": result.subject.provenance,
    "assumed": result.assumptions,
    "fit": None if result.fit is None else _fit_in_numbers(result.fit),
    "doubtful_share": None
    if result.is_doubtful is None
    else round(float(result.is_doubtful.mean()), 4),
    "seen_in_training": result.seen,
    "about_errors": result.errors.remarks if result.errors else (),
    "seconds": {stage: round(took, 3) for stage, took in seconds.items()},
    "environment": environment({"seed": flags["passes_seed"] or 0}),
  }
  write_text(json.dumps(record, indent=1) + "\n", folder / RECORD)


def _fit_in_numbers(fit: MapsFit) -> dict[str, Any]:
  """What the record says of the fit of the maps."""
  return {
    "median_residual": round(float(np.median(fit.residual)), 4),
    "doubtful_share": round(float(fit.is_doubtful.mean()), 4),
    "holds": fit.holds,
    "bounds": {name: bound for name, bound in MOST_DIFFERENCE.items()},
  }


def print_summary(
  folder: pathlib.Path, result: Reconstruction, seconds: dict[str, float]
) -> None:
  """Prints errors, assumptions, medians and times."""
  if result.errors is not None:
    print(result.errors.marked_table)
  advice = result.estimator.advice
  for sentence in (*result.assumptions, *([advice] if advice else [])):
    print(f"- {sentence}")
  print(describe(result.subject))
  print(medians("Estimates", result.estimate.maps))
  print(f"Method       {result.estimator.name}")
  times = [f"{stage} {took:.1f}" for stage, took in seconds.items()]
  print(f"Seconds      {', '.join(times)}")
  names = "pd, t1, t2"
  if result.estimate.b1_deviations is not None:
    names += ", b1"
  print(f"Maps         {folder} ({names}: NIfTI; overview.png)")
