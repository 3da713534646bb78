"""Reads the maps of a finished cross-validation from its workdir."""

import dataclasses
import os
import pathlib

import ml_collections
import numpy as np
from jaxtyping import Bool

from mrf_jax.dataset.normalise import clip_outliers
from mrf_jax.dataset.subject import Subject, load_subject, reference_of
from mrf_jax.evaluation.errors import on_scale_of
from mrf_jax.evaluation.tissues import tissue_masks
from mrf_jax.experiment.settings import find_folds
from mrf_jax.experiment.sources import check_unchanged
from mrf_jax.io import nifti
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.methods.dictionary import has_relative_pd
from mrf_jax.workdir.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class LeftOut:
  """A left-out subject with its reference maps and every method's maps.

  Attributes:
    subject: the subject without its signals.
    reference: reference maps, clipped as for the tables.
    tissues: tissue to the mask of its voxels, [voxel].
    estimates: method to its maps.
  """

  number: int
  subject: Subject
  reference: Maps
  tissues: dict[str, Bool[np.ndarray, "voxel"]]
  estimates: dict[str, Maps]


def load_results(root: str | os.PathLike) -> list[LeftOut]:
  """Loads all left-out subjects and their maps.

  Returns:
    The left-out subject of each fold; empty if a subject or a map is missing.

  Raises:
    UserError: a file is damaged, or a subject is not the one that the maps were
      made from.
  """
  workdir = Workdir.existing(root)
  config = ml_collections.ConfigDict(workdir.config)
  if config.subjects_from is not None:
    workdir = Workdir.existing(root, subjects_from=config.subjects_from)
  numbers = range(config.data.n_subjects)
  if all(workdir.subject(k).exists() for k in numbers):
    # References of now beside maps of then would look like errors of a method.
    check_unchanged(workdir, len(numbers))
  results = []
  for number in find_folds(config):
    files = {
      method: [workdir.map_file(method, number, name) for name in MAP_NAMES]
      for method in config.methods
    }
    needed = [path for paths in files.values() for path in paths]
    if not all(path.exists() for path in (workdir.subject(number), *needed)):
      return []
    results.append(_load_left_out(workdir, config, number, files))
  return results


def _load_left_out(
  workdir: Workdir,
  config: ml_collections.ConfigDict,
  number: int,
  files: dict[str, list[pathlib.Path]],
) -> LeftOut:
  """One left-out subject, from each method's files of PD, T1 and T2."""
  subject = load_subject(workdir.subject(number), with_signals=False)
  reference = clip_outliers(
    reference_of(subject, workdir.subject(number)),
    percentiles=config.preprocessing.clip_percentiles,
  )
  return LeftOut(
    number=number,
    subject=subject,
    reference=reference,
    tissues=tissue_masks(
      reference.t1_ms,
      thresholds_ms=config.evaluation.thresholds_ms.to_dict(),
      lesion=subject.lesion,
    ),
    estimates={
      method: _load_maps(paths, subject, reference if relative else None)
      for method, paths in files.items()
      for relative in [has_relative_pd(config, method)]
    },
  )


def _load_maps(
  paths: list[pathlib.Path], subject: Subject, scale: Maps | None
) -> Maps:
  """Maps from the files of PD, T1 and T2, PD on the scale of other maps."""
  maps = Maps(*(nifti.load_map(path, subject.mask) for path in paths))
  return maps if scale is None else on_scale_of(maps, scale)[0]
