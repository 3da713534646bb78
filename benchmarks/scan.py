"""How much work is a simulated subject, and the errors of a real scan in it?

  python benchmarks/scan.py  # some ten minutes on two idle cores
  python benchmarks/scan.py --slices=2 --repeats=1  # quick

CPU time of the whole command, user and system, of all its threads:

  launch.py --mode=simulate --config=configs/paper.py --config.data.n_subjects=1

with 16 slices of 256 × 256, 720 frames and 16 coils, in turns with the same
scan by an ideal scanner, without any of the causes of `configs/ablation.py`.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

_ROOT = pathlib.Path(__file__).parent.parent
_SLICES = flags.DEFINE_integer("slices", 16, "Slices of the subject.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of each; the median.")
_IDEAL = """
from configs import ablation, paper
from mrf_jax.experiment.variants import changed

def get_config():
  return changed(paper.get_config(), " ".join(ablation.OFF.values()))
"""


@dataclasses.dataclass(frozen=True)
class Cost:
  """What one command took.

  Attributes:
    seconds: wall time.
    user: CPU seconds of all threads outside the kernel.
    system: CPU seconds in the kernel.
    peak_mib: largest resident memory.
  """

  seconds: float
  user: float
  system: float
  peak_mib: float

  @property
  def cpu_seconds(self) -> float:
    """CPU seconds of all threads."""
    return self.user + self.system


def simulate(config: pathlib.Path | str, workdir: pathlib.Path) -> Cost:
  """Simulates one subject of a configuration."""
  command = [
    *(sys.executable, "launch.py", "--mode=simulate"),
    *(f"--config={config}", "--config.data.n_subjects=1"),
    *(f"--config.data.grid.n_slices={_SLICES.value}", f"--workdir={workdir}"),
  ]
  start = time.perf_counter()
  with tempfile.TemporaryFile() as output:
    process = subprocess.Popen(command, cwd=_ROOT, stdout=output, stderr=output)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
      output.seek(0)
      sys.exit(f"error: {' '.join(command)}\n{output.read().decode()}")
  return Cost(seconds, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024)


def main(argv):
  """Prints a table of runs in turns."""
  del argv
  sys.path.insert(0, str(_ROOT))
  from mrf_jax.timing.machine import device_name

  costs: dict[str, list[Cost]] = {}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    ideal = folder / "ideal.py"
    ideal.write_text(_IDEAL)
    configs = {"errors of a real scan": "configs/paper.py", "ideal": ideal}
    for repeat in range(_REPEATS.value):
      for k, (title, config) in enumerate(configs.items()):
        workdir = folder / f"run-{k}-{repeat}"
        costs.setdefault(title, []).append(simulate(config, workdir))
        (workdir / "data/subject-00.h5").unlink()
  print(
    f"{device_name()}; `--mode=simulate` of one subject of {_SLICES.value} × "
    "256 × 256 voxels, 720 frames, 16 coils, from start to file\n"
  )
  print("| scanner | CPU s | user | system | wall s | peak MiB |")
  print("|---|--:|--:|--:|--:|--:|")
  medians: list[tuple[float, float]] = []
  for title, runs in costs.items():
    row = np.median(
      [(c.cpu_seconds, c.user, c.system, c.seconds, c.peak_mib) for c in runs],
      axis=0,
    )
    medians.append((float(row[3]), float(row[0])))
    print(f"| {title} | " + " | ".join(f"{v:.1f}" for v in row) + " |")
  print()
  wall, cpu = np.divide(*medians)
  print(f"- the errors take {wall:.2f} times the time, {cpu:.2f} of the CPU")


if __name__ == "__main__":
  app.run(main)
