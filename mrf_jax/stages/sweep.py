"""The sweep stage: cross-validation of changed configurations."""

from collections.abc import Sequence

import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.experiment.settings import check_methods, with_files
from mrf_jax.experiment.subjects import simulate_missing
from mrf_jax.experiment.variants import variants
from mrf_jax.experiment.workdirs import open_workdir
from mrf_jax.runtime import processes
from mrf_jax.stages.crossval import crossval
from mrf_jax.workdir.configuration import OF_SUBJECTS, config_differences


def sweep(
  config: ml_collections.ConfigDict, root, *, questions: Sequence[str] = ()
) -> None:
  """Cross-validation of the changed configurations that questions name.

  Each has a workdir of its own, `questions/QUESTION/VARIANT`, and takes its
  subjects from this one where the change leaves them as they are, or from
  another variant that it names, `subjects_from='questions/QUESTION/VARIANT'`.

  Args:
    config: the experiment's configuration.
    root: its workdir, whose subjects, and networks, are used.
    questions: which ones; none is all.
  """
  config = with_files(config)
  # Those that take subjects from another variant come last.
  chosen = sorted(
    variants(config, questions),
    key=lambda variant: variant.config.subjects_from is not None,
  )
  if not chosen:
    raise UserError("questions: the configuration has none")
  for variant in chosen:
    check_methods(variant.config)
  workdir = open_workdir(config, root)
  simulate_missing(config, workdir)
  for number, variant in enumerate(chosen, 1):
    changed = variant.config
    processes.say(
      f"{number}/{len(chosen)} {variant.question}, {variant.name}: "
      f"{variant.changes}"
    )
    if changed.models_from is not None:
      changed.models_from = str(workdir.root)
    if changed.subjects_from is not None:
      # Those of another variant.
      changed.subjects_from = str(workdir.root / changed.subjects_from)
    elif not config_differences(
      config.to_dict(), changed.to_dict(), parts=OF_SUBJECTS
    ):
      changed.subjects_from = str(workdir.root)
    crossval(changed, workdir.variant(variant.question, variant.name))
