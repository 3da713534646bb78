"""Detection of a cluster that has started several processes of this program."""

import os

# Variables in which Slurm and Open MPI write the number of processes.
_COUNT_VARIABLES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def in_cluster() -> bool:
  """True if the environment names other processes; does not start JAX."""
  if os.environ.get("JAX_COORDINATOR_ADDRESS"):
    return True
  if "," in os.environ.get("TPU_WORKER_HOSTNAMES", ""):
    return True
  return any(int(os.environ.get(n) or 1) > 1 for n in _COUNT_VARIABLES)
