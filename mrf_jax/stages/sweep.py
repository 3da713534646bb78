"""The sweep stage: cross-validation of each variant of a configuration."""

import time
from collections.abc import Sequence

import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.experiment.map_heads import check_heads
from mrf_jax.experiment.settings import check_methods, with_files
from mrf_jax.experiment.subjects import simulate_missing
from mrf_jax.experiment.variants import variants
from mrf_jax.experiment.workdirs import open_workdir
from mrf_jax.runtime import processes
from mrf_jax.runtime.progress import in_words
from mrf_jax.stages.crossval import crossval
from mrf_jax.workdir.configuration import OF_SUBJECTS, config_differences


def sweep(
  config: ml_collections.ConfigDict, root, *, questions: Sequence[str] = ()
) -> None:
  """Runs the cross-validation of the variants of some questions, or of all.

  Each variant has a workdir of its own, `questions/QUESTION/VARIANT` within
  this one. It uses the subjects of this workdir if it does not change them, or
  those of another variant, `subjects_from='questions/QUESTION/VARIANT'`. What
  an earlier run has finished of a variant is not done again.

  It prints how long each variant took, and in the end all of them.

  Raises:
    UserError: the configuration or a variant is not valid, or a workdir is of
      another configuration.
  """
  config = with_files(config)
  # After the variants whose subjects they use.
  chosen = sorted(
    variants(config, questions),
    key=lambda variant: variant.config.subjects_from is not None,
  )
  if not chosen:
    raise UserError("questions: the configuration has no questions")
  for variant in chosen:
    check_methods(variant.config)
  is_known = check_heads(config, root)
  workdir = open_workdir(config, root, heads_are_known=is_known)
  simulate_missing(config, workdir)
  took = []
  for number, variant in enumerate(chosen, 1):
    start = time.perf_counter()
    changed = variant.config
    processes.say(
      f"{number}/{len(chosen)} {variant.question}, {variant.name}: "
      f"{variant.changes}"
    )
    if changed.models_from is not None:
      changed.models_from = str(workdir.root)
    if changed.subjects_from is not None:
      changed.subjects_from = str(workdir.root / changed.subjects_from)
    elif not config_differences(
      config.to_dict(), changed.to_dict(), parts=OF_SUBJECTS
    ):
      changed.subjects_from = str(workdir.root)
    crossval(changed, workdir.variant(variant.question, variant.name))
    took.append(time.perf_counter() - start)
    processes.say(
      f"{number}/{len(chosen)} {variant.question}, {variant.name}: took "
      f"{in_words(took[-1])}, all until now {in_words(sum(took))}"
    )
  processes.say("Time of each variant, without what earlier runs have done:")
  for variant, seconds in zip(chosen, took, strict=True):
    processes.say(f"{in_words(seconds):>8}  {variant.question}, {variant.name}")
  processes.say(f"{in_words(sum(took)):>8}  all")
