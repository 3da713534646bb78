"""Workdirs of an experiment: its own, and those whose results it uses."""

from mrf_jax.networks import NETWORKS
from mrf_jax.runtime import processes
from mrf_jax.training.metrics import join_logs
from mrf_jax.workdir.configuration import OF_SUBJECTS
from mrf_jax.workdir.manifest import check_borrowed
from mrf_jax.workdir.workdir import Workdir

# Sections of a configuration on which trained networks depend. Those of the
# scans are not among them: a network may be tested on other scans.
_OF_MODELS = ("seed", "sequence", "preprocessing", "precision", "training")


def open_workdir(config, root) -> Workdir:
  """Opens the workdir that all processes share; process 0 makes it.

  Raises:
    UserError: it cannot be written, another run writes to it, it or the workdir
      of its subjects is of another configuration or has damaged files.
  """
  subjects = None
  if config.subjects_from is not None:
    subjects = Workdir.existing(config.subjects_from)
    check_borrowed(subjects.root, "data")
    subjects.check_config(config.to_dict(), parts=OF_SUBJECTS)
  if not processes.is_first():
    processes.barrier("workdir")
    return Workdir(root, config.to_dict(), join=True, subjects=subjects)
  workdir = Workdir(root, config.to_dict(), subjects=subjects)
  # Before the barrier, while no other process writes to the logs.
  join_logs(workdir.root / "metrics")
  processes.barrier("workdir")
  return workdir


def borrowed_models(config) -> Workdir | None:
  """Opens another workdir whose trained networks are used, if there is one.

  Raises:
    UserError: it is of another configuration or has damaged files.
  """
  if config.models_from is None:
    return None
  models = Workdir.existing(config.models_from)
  check_borrowed(models.root, "models")
  networks = set(config.methods) & {*NETWORKS}
  models.check_config(config.to_dict(), parts=(*_OF_MODELS, *networks))
  return models
