"""Whether a cluster has started this process as one of several."""

import os

# Under these, a cluster says how many processes it has started.
_COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def in_cluster() -> bool:
  """By its environment, before JAX is awake."""
  if os.environ.get("JAX_COORDINATOR_ADDRESS"):
    return True
  if "," in os.environ.get("TPU_WORKER_HOSTNAMES", ""):
    return True
  return any(int(os.environ.get(n) or 1) > 1 for n in _COUNTS)
