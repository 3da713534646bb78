"""Workdirs of an experiment: its own, and those whose results it uses."""

import pathlib

from mrf_jax.dataset.identity import check_different, check_together
from mrf_jax.experiment import sources
from mrf_jax.experiment.borrowed import check_models
from mrf_jax.networks import NETWORKS
from mrf_jax.runtime import processes
from mrf_jax.training.metrics import join_logs
from mrf_jax.workdir.configuration import FREE_KEYS, OF_FILES, OF_SUBJECTS
from mrf_jax.workdir.manifest import check_borrowed
from mrf_jax.workdir.workdir import Workdir

# Sections of a configuration on which trained networks depend. Those of the
# scans are not among them: a network may be tested on other scans.
_OF_MODELS = ("seed", "sequence", "preprocessing", "precision", "training")


def open_workdir(
  config,
  root,
  *,
  lender: Workdir | None = None,
  heads_are_known: bool = False,
) -> Workdir:
  """Opens the workdir that all processes share; process 0 makes it.

  Args:
    config: the configuration.
    root: the folder.
    lender: another workdir whose models are used, if there is one.
    heads_are_known: the heads there are of the maps that the configuration
      names, wherever these lie now; see `check_heads`.

  Raises:
    UserError: it cannot be written, another run writes to it, it or the workdir
      of its subjects is of another configuration or has damaged files, its
      results are of other scans than those of now, or scans do not belong
      together.
  """
  subjects = None
  if config.subjects_from is not None:
    subjects = Workdir.existing(config.subjects_from)
    check_borrowed(subjects.root, "data")
    _check_subjects(config, subjects)
  if not processes.is_first():
    processes.barrier("workdir")
    return Workdir(root, config.to_dict(), join=True, subjects=subjects)
  given = _given_files(config, subjects)
  folders = [pathlib.Path(root), *([subjects.root] if subjects else [])]
  scans = sources.identify_files(given, folders)
  known = False
  if given:
    identities = sources.identities(scans)
    check_different(identities, given)
    check_together(identities, given)
    if lender is not None:
      check_models(config, lender, identities, given)
    known = sources.are_known(root, given, scans)
    if not known:
      sources.notice_unknown(root, given)
  workdir = Workdir(
    root,
    config.to_dict(),
    subjects=subjects,
    files_are_known=known or heads_are_known,
  )
  if given:
    sources.record(workdir, scans=scans)
  # Before the barrier, while no other process writes to the logs.
  join_logs(workdir.root / "metrics")
  processes.barrier("workdir")
  return workdir


def _check_subjects(config, subjects: Workdir) -> None:
  """Raises `UserError` unless a workdir has the subjects of a configuration."""
  free: tuple[str, ...] = FREE_KEYS
  files = [pathlib.Path(path) for path in config.data.files or ()]
  stored = sources.read_scans(subjects.root)
  if files and stored and all(path.exists() for path in files):
    now = sources.identities(sources.identify_files(files, [subjects.root]))
    if len(now) == len(stored) and not any(
      before.differences(scan)
      for before, scan in zip(sources.identities(stored), now, strict=True)
    ):
      free = (*free, *OF_FILES)
  subjects.check_config(config.to_dict(), parts=OF_SUBJECTS, free=free)


def _given_files(config, subjects: Workdir | None) -> list[pathlib.Path]:
  """Subject files from outside of a workdir; none if one is missing.

  `simulate_missing` names those that are.
  """
  if subjects is not None:
    files = [subjects.subject(k) for k in range(config.data.n_subjects)]
  else:
    files = [pathlib.Path(path) for path in config.data.files or ()]
  return files if all(path.exists() for path in files) else []


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
