"""The simulate stage: subjects that the workdir does not hold yet."""

import pathlib

import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.experiment.settings import check_values
from mrf_jax.experiment.subjects import simulate_missing
from mrf_jax.experiment.workdirs import open_workdir
from mrf_jax.runtime import processes


def simulate(config: ml_collections.ConfigDict, root) -> None:
  """Makes the simulated subjects that the workdir does not hold yet.

  Args:
    config: the experiment's configuration.
    root: the workdir.
  """
  check_values(config)
  if config.data.files:
    raise UserError("data.files: these subjects are not simulated")
  simulate_missing(config, open_workdir(config, root))
  processes.say(f"Subject files: {pathlib.Path(root) / 'data'}")
