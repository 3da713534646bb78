"""The simulate stage: makes the simulated subjects of a workdir."""

import pathlib

import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.experiment.map_heads import check_heads
from mrf_jax.experiment.settings import check_values, with_files
from mrf_jax.experiment.subjects import simulate_missing
from mrf_jax.experiment.workdirs import open_workdir
from mrf_jax.runtime import processes


def simulate(config: ml_collections.ConfigDict, root) -> None:
  """Simulates the subjects that are missing in the workdir.

  Raises:
    UserError: the configuration is not valid or names subject files, maps that
      it names are not valid, or the workdir is of another one.
  """
  config = with_files(config)
  check_values(config)
  if config.data.files:
    raise UserError("data.files: subjects from files are not simulated")
  is_known = check_heads(config, root)
  workdir = open_workdir(config, root, heads_are_known=is_known)
  simulate_missing(config, workdir)
  processes.say(f"Subject files: {pathlib.Path(root) / 'data'}")
