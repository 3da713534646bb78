"""Workdirs of an experiment, its own and those it borrows from."""

from mrf_jax.methods import TRAINING
from mrf_jax.runtime import processes
from mrf_jax.training.metrics import join_logs
from mrf_jax.workdir.configuration import OF_SUBJECTS
from mrf_jax.workdir.manifest import check_borrowed
from mrf_jax.workdir.workdir import Workdir

# Parts of a configuration that trained networks depend on, beside the scans:
# scans of another kind may be given to them.
_OF_MODELS = ("seed", "sequence", "preprocessing", "precision", "training")


def open_workdir(config, root) -> Workdir:
  """The workdir of all processes; the first one makes it."""
  subjects = None
  if config.subjects_from is not None:
    subjects = Workdir.existing(config.subjects_from)
    check_borrowed(subjects.root, "data")
    subjects.check_config(config.to_dict(), parts=OF_SUBJECTS)
  if not processes.is_first():
    processes.barrier("workdir")
    return Workdir(root, config.to_dict(), join=True, subjects=subjects)
  workdir = Workdir(root, config.to_dict(), subjects=subjects)
  # Here, since nobody else writes there yet.
  join_logs(workdir.root / "metrics")
  processes.barrier("workdir")
  return workdir


def borrowed_models(config) -> Workdir | None:
  """Another workdir whose trained networks are used, or None."""
  if config.models_from is None:
    return None
  models = Workdir.existing(config.models_from)
  check_borrowed(models.root, "models")
  models.check_config(
    config.to_dict(), parts=(*_OF_MODELS, *set(config.methods) & {*TRAINING})
  )
  return models
