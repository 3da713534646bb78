"""How much work is a simulated subject, beside what it was?

  python benchmarks/scan.py  # some ten minutes on two idle cores
  python benchmarks/scan.py --slices=2 --repeats=1  # quick

CPU time of the whole command, user and system, of all its threads:

  launch.py --mode=simulate --config=configs/paper.py --config.data.n_subjects=1

with 16 slices of 256 × 256, 720 frames and 16 coils, in this version and in
commit cd40de9, in turns. Both draw the same noise. Two slices are simulated
without noise, too; their images differ by the error that is told, the norm of
the difference over that of all images.
"""

import dataclasses
import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np
from absl import app, flags

_ROOT = pathlib.Path(__file__).parent.parent
_BEFORE = "cd40de9"
_SLICES = flags.DEFINE_integer("slices", 16, "Slices of the subject.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of each; the median.")
# Voxels whose images are compared at once.
_BLOCK = 8192


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


def simulate(
  folder: pathlib.Path, workdir: pathlib.Path, *options: str
) -> Cost:
  """Simulates one subject with the code of a folder."""
  command = [
    *(sys.executable, "launch.py", "--mode=simulate"),
    *("--config=configs/paper.py", "--config.data.n_subjects=1"),
    *(f"--workdir={workdir}", *options),
  ]
  start = time.perf_counter()
  with tempfile.TemporaryFile() as output:
    process = subprocess.Popen(
      command, cwd=folder, stdout=output, stderr=output
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
      output.seek(0)
      sys.exit(f"error: {' '.join(command)}\n{output.read().decode()}")
  return Cost(seconds, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024)


def difference(workdir: pathlib.Path, other: pathlib.Path) -> float:
  """Norm of the difference of all images, relative to that of the others."""
  rest = whole = 0.0
  with (
    h5py.File(workdir / "data/subject-00.h5") as ours,
    h5py.File(other / "data/subject-00.h5") as theirs,
  ):
    for start in range(0, len(ours["signals"]), _BLOCK):
      rows = slice(start, start + _BLOCK)
      mine, expected = ours["signals"][rows], theirs["signals"][rows]
      rest += np.linalg.norm((mine - expected).astype(complex)) ** 2
      whole += np.linalg.norm(expected.astype(complex)) ** 2
  return float(np.sqrt(rest / whole))


def main(argv):
  """Prints the difference, a table of runs in turns, and the ratio."""
  del argv
  from common import print_ratio

  sys.path.insert(0, str(_ROOT))
  from mrf_jax.timing.machine import device_name

  costs: dict[str, list[Cost]] = {}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    before = folder / "before"
    git = functools.partial(subprocess.run, cwd=_ROOT, check=True)
    git(["git", "clone", "-q", "--no-checkout", str(_ROOT), str(before)])
    git(["git", "-C", str(before), "checkout", "-q", _BEFORE])
    trees = {"this version": _ROOT, f"before, {_BEFORE}": before}
    quiet = [folder / f"quiet-{k}" for k in range(len(trees))]
    for tree, workdir in zip(trees.values(), quiet, strict=True):
      simulate(
        tree,
        workdir,
        "--config.data.grid.n_slices=2",
        "--config.scan.noise_level=0.0",
      )
    error = difference(*quiet)
    slices = f"--config.data.grid.n_slices={_SLICES.value}"
    for repeat in range(_REPEATS.value):
      for k, (title, tree) in enumerate(trees.items()):
        workdir = folder / f"run-{k}-{repeat}"
        costs.setdefault(title, []).append(simulate(tree, workdir, slices))
        (workdir / "data/subject-00.h5").unlink()
  print(
    f"{device_name()}; `--mode=simulate` of one subject of {_SLICES.value} × "
    "256 × 256 voxels, 720 frames, 16 coils, from start to file\n"
  )
  print(f"- two slices without noise: images differ by {error:.1e}\n")
  print("| version | CPU s | user | system | wall s | peak MiB |")
  print("|---|--:|--:|--:|--:|--:|")
  medians = []
  for title, runs in costs.items():
    row = np.median(
      [(c.cpu_seconds, c.user, c.system, c.seconds, c.peak_mib) for c in runs],
      axis=0,
    )
    medians.append(float(row[0]))
    print(f"| {title} | " + " | ".join(f"{v:.1f}" for v in row) + " |")
  print()
  ours, theirs = medians
  print_ratio(
    f"simulation of one subject, {_SLICES.value} x 256 x 256, from start to "
    f"file, beside before, {_BEFORE}",
    ours,
    theirs,
    "CPU s",
  )


if __name__ == "__main__":
  app.run(main)
