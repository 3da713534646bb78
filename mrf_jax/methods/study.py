"""Input and output of a reconstruction method: study and estimates."""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import ml_collections
import numpy as np
from jaxtyping import Complex64

from mrf_jax.dataset.identity import ScanIdentity
from mrf_jax.dataset.normalise import clip_outliers
from mrf_jax.dataset.subject import Subject, check_alike, reference_of
from mrf_jax.maps import Maps
from mrf_jax.runtime.progress import progress
from mrf_jax.workdir.stage_times import StageTime
from mrf_jax.workdir.workdir import Workdir

_Estimate = TypeVar("_Estimate")


@dataclasses.dataclass(frozen=True)
class Study:
  """Data that a method may use, without true maps of simulated subjects.

  Attributes:
    config: the experiment's configuration.
    workdir: the workdir, where trained models are written.
    subjects: all subjects, without their signals.
    load: reads a subject with its signals, by its number.
    references: clipped reference maps of each subject.
    folds: numbers of the left-out subjects, one in each fold.
    models: the workdir whose trained networks are used: `workdir`, or another
      one, and then nothing is trained.
    scans: identities of all subjects' scans; empty where they are not known.
    remarks: sentences for the tables on what the results are made from.
    generated: further training subjects of networks, without their signals,
      see `with_generated`.
    generated_references: their clipped reference maps.
  """

  config: ml_collections.ConfigDict
  workdir: Workdir
  subjects: Sequence[Subject]
  load: Callable[[int], Subject]
  references: Sequence[Maps]
  folds: Sequence[int]
  models: Workdir
  scans: Sequence[ScanIdentity] = ()
  remarks: Sequence[str] = ()
  generated: Sequence[Subject] = ()
  generated_references: Sequence[Maps] = ()

  def with_generated(self) -> "Study":
    """The study whose last subjects are the generated ones, never left out.

    `load` takes their numbers, which follow those of the others.
    """
    return dataclasses.replace(
      self,
      subjects=[*self.subjects, *self.generated],
      references=[*self.references, *self.generated_references],
      generated=(),
      generated_references=(),
    )

  def signals(self, number: int) -> Complex64[np.ndarray, "voxel window"]:
    """Reads the signals of a subject from its file."""
    signals = self.load(number).signals
    assert signals is not None
    return signals

  def n_training_voxels(self, fold: int) -> int:
    """Voxels of the subjects on which the fold of a left-out subject trains."""
    return sum(s.n_voxels for k, s in enumerate(self.subjects) if k != fold)


@dataclasses.dataclass(frozen=True)
class Estimates:
  """Result of a method.

  Attributes:
    maps: maps of each left-out subject, from the fold that left it out.
    times: times of the method's stages.
    deviations: standard deviations of the maps, if the method estimates them;
      or None.
  """

  maps: Sequence[Maps]
  times: Sequence[StageTime]
  deviations: Sequence[Maps] | None = None


@dataclasses.dataclass(frozen=True)
class Method:
  """A reconstruction method.

  Attributes:
    estimate: maps of the left-out subjects of a study.
    check: checks the method's options before anything is computed, called as
      check(config, n_windows=T); raises UserError.
    learns: whether it needs other subjects with reference maps.
    train: training that several processes share before the first of them calls
      `estimate`; None where there is none.
    predicts_deviations: whether it estimates the standard deviations of its
      maps with a configuration.
  """

  estimate: Callable[[Study], Estimates]
  check: Callable[..., None]
  learns: bool = False
  train: Callable[[Study], None] | None = None
  predicts_deviations: Callable[[ml_collections.ConfigDict], bool] = (
    lambda config: False
  )


def clipped_references(
  subjects: Sequence[Subject],
  paths: Sequence[str | os.PathLike],
  percentiles: tuple[float, float],
) -> list[Maps]:
  """Reference maps of scans of one acquisition, each map without its outliers.

  Raises:
    UserError: the scans are of different acquisitions, or one has no maps.
  """
  check_alike(subjects, paths)
  return [
    clip_outliers(reference_of(subject, path), percentiles=percentiles)
    for subject, path in zip(subjects, paths, strict=True)
  ]


def reconstruct_all(
  method: str,
  study: Study,
  estimate: Callable[[int, Subject], _Estimate],
  *,
  atoms: int | None = None,
) -> tuple[list[_Estimate], StageTime]:
  """Estimates the maps of each left-out subject, and measures their time.

  The first subject is estimated twice, so that compilation is not timed.
  """
  maps, seconds, voxels = [], 0.0, 0
  folds = study.folds
  for k in progress(folds, total=len(folds), text=f"{method} maps"):
    subject = study.load(k)
    if k == folds[0]:
      estimate(k, subject)
    start = time.perf_counter()
    maps.append(estimate(k, subject))
    seconds += time.perf_counter() - start
    voxels += subject.n_voxels
  return maps, StageTime(method, "reconstruct", seconds, voxels, atoms)
