"""The sweep stage: cross-validation of changed configurations."""

from collections.abc import Sequence

import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.experiment.settings import check_methods, with_files
from mrf_jax.experiment.subjects import simulate_missing
from mrf_jax.experiment.variants import ways
from mrf_jax.experiment.workdirs import open_workdir
from mrf_jax.runtime import processes
from mrf_jax.stages.crossval import crossval
from mrf_jax.workdir.configuration import OF_SUBJECTS, config_differences


def sweep(
  config: ml_collections.ConfigDict, root, *, questions: Sequence[str] = ()
) -> None:
  """Cross-validation of the changed configurations that questions name.

  Each has a workdir of its own, `questions/QUESTION/WAY`, and takes its
  subjects from this one where the change leaves them as they are, or from
  another way that it names, `subjects_from='questions/QUESTION/WAY'`.

  Args:
    config: the experiment's configuration.
    root: its workdir, whose subjects, and networks, are used.
    questions: which ones; none is all.
  """
  config = with_files(config)
  # Those that take subjects from another way last.
  found = sorted(
    ways(config, questions),
    key=lambda way: way.config.subjects_from is not None,
  )
  if not found:
    raise UserError("questions: the configuration has none")
  for way in found:
    check_methods(way.config)
  workdir = open_workdir(config, root)
  simulate_missing(config, workdir)
  for number, way in enumerate(found, 1):
    processes.say(
      f"{number}/{len(found)} {way.question}, {way.name}: {way.changes}"
    )
    if way.config.models_from is not None:
      way.config.models_from = str(workdir.root)
    if way.config.subjects_from is not None:
      # Those of another way.
      way.config.subjects_from = str(workdir.root / way.config.subjects_from)
    elif not config_differences(
      config.to_dict(), way.config.to_dict(), parts=OF_SUBJECTS
    ):
      way.config.subjects_from = str(workdir.root)
    crossval(way.config, workdir.way(way.question, way.name))
