"""A study of subjects in memory, as methods get it."""

import dataclasses

from mrf_jax.methods.study import Study


def study_of(subjects, config, *, folds):
  """A study without a workdir, whose subjects are loaded from memory."""
  return Study(
    config=config,
    workdir=None,
    subjects=[dataclasses.replace(s, signals=None) for s in subjects],
    load=lambda k: subjects[k],
    references=[s.maps for s in subjects],
    folds=folds,
    models=None,
  )
