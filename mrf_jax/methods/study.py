"""What a method may look at, and what it gives back."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import ml_collections
import numpy as np
from jaxtyping import Complex64

from mrf_jax.dataset.subject import Subject
from mrf_jax.maps import Maps
from mrf_jax.runtime.progress import progress
from mrf_jax.workdir.stage_times import StageTime
from mrf_jax.workdir.workdir import Workdir

_Found = TypeVar("_Found")


@dataclasses.dataclass(frozen=True)
class Study:
  """What a method may look at.

  Attributes:
    config: the experiment's configuration.
    workdir: where models go.
    subjects: subjects without their signals and without their truth.
    load: reads a subject with its signals.
    references: clipped reference maps of each subject.
    folds: the subjects that are left out, one a fold; estimates are of these.
    models: the workdir whose trained networks are used, which is another one's
      where nothing is to be trained here.
  """

  config: ml_collections.ConfigDict
  workdir: Workdir
  subjects: Sequence[Subject]
  load: Callable[[int], Subject]
  references: Sequence[Maps]
  folds: Sequence[int]
  models: Workdir

  def signals(self, number: int) -> Complex64[np.ndarray, "voxel window"]:
    """Signals of a subject, read from its file."""
    signals = self.load(number).signals
    assert signals is not None
    return signals


@dataclasses.dataclass(frozen=True)
class Estimates:
  """What a method gives back.

  Attributes:
    maps: of every left-out subject, each from the fold that left it out.
    times: what the method's stages took.
    deviations: standard deviations of the maps, where the method predicts
      them; or None.
  """

  maps: Sequence[Maps]
  times: Sequence[StageTime]
  deviations: Sequence[Maps] | None = None


def reconstruct_all(
  method: str, study: Study, estimate: Callable[[int, Subject], _Found]
) -> tuple[list[_Found], StageTime]:
  """Every left-out subject's maps, and the seconds of all of them together.

  The first subject is estimated twice, so that compilation is not counted.

  Args:
    method: name of the method.
    study: the subjects.
    estimate: maps from a subject's number and the subject with its signals.

  Returns:
    What `estimate` gives of each, and the seconds.
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
  return maps, StageTime(method, "reconstruct", seconds, voxels=voxels)
