"""The benchmark stage: times each stage of each method on a simulated scan."""

import jax
import ml_collections

from mrf_jax.command_line.modes import this_command
from mrf_jax.errors import UserError
from mrf_jax.experiment.map_heads import check_heads
from mrf_jax.experiment.settings import (
  check_methods,
  phantom_options,
  simulated_acquisition,
  with_files,
)
from mrf_jax.runtime import processes
from mrf_jax.timing.run import (
  check_benchmark,
  run_benchmark,
  same_benchmark,
  write_files,
)
from mrf_jax.timing.tables import load_benchmark
from mrf_jax.workdir.stage_times import benchmark_file
from mrf_jax.workdir.workdir import Workdir


def benchmark(config: ml_collections.ConfigDict, root) -> None:
  """Times each stage of each method, and writes tables and a figure.

  These are `benchmark.json`, `timing.csv`, `timing.md` and `timing.png` in the
  workdir. A comparison with the same options is not measured again.

  Raises:
    UserError: the configuration is not valid or too large for the memory, or
      there are several processes.
  """
  config = with_files(config)
  check_methods(config)
  if jax.process_count() > 1:
    raise UserError("benchmark: is for a single process")
  acquisition = simulated_acquisition(config)
  check_benchmark(config, acquisition)
  is_known = check_heads(config, root)
  workdir = Workdir(root, config.to_dict(), files_are_known=is_known)
  path = benchmark_file(workdir.root)
  existing = load_benchmark(path) if path.exists() else None
  if existing and same_benchmark(config, existing):
    processes.say(f"{path} exists already; remove it to measure again")
    text = write_files(workdir.root, existing, config.methods)
  else:
    processes.say("Timing every stage on one simulated scan ...")
    text = run_benchmark(
      config,
      workdir.root,
      acquisition,
      phantom=phantom_options(config.data),
      command=this_command(),
    )
  print(text)
  processes.say(
    f"Timing: {workdir.root / 'timing.md'}, timing.csv, timing.png, {path.name}"
  )
