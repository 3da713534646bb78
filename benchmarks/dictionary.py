"""How fast is a dictionary by interpolation, beside one that is simulated?

  pip install -r benchmarks/requirements.txt
  python benchmarks/dictionary.py  # some minutes on two idle cores
  python benchmarks/dictionary.py --t1=40 --t2=48 --b1=5 --checks=500  # quick

The train of the demo (720 frames, windows of 48) over T1 100-5400 ms, T2
10-2460 ms and B1 0.7-1.3, in 25 temporal components. Each build has a process
of its own, and they take turns:

  interpolated  the default of `build_dictionary` for so many atoms
  simulated     every atom, in this version
  before        every atom, in commit cd40de9

Those that simulate build a part, some values of B1, and are scaled to the whole
by the number of atoms. Programs are compiled by a build before the one that is
timed, which stands in the table as the first. blochsim simulates atoms of the
same number of frames with the states that the longest T2 needs for an error of
1e-4: it takes one number for all.

The error is that of the worst of `--checks` random atoms that were not used in
any other way, relative to its norm.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

_ROOT = pathlib.Path(__file__).parent.parent
_BEFORE = "cd40de9"
_T1 = flags.DEFINE_integer("t1", 188, "Values of T1.")
_T2 = flags.DEFINE_integer("t2", 240, "Values of T2.")
_B1 = flags.DEFINE_integer("b1", 31, "Values of B1.")
_PART = flags.DEFINE_integer("part", 2, "Values of B1 that are simulated.")
_CHECKS = flags.DEFINE_integer("checks", 10_000, "Atoms that tell the error.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Builds of each; the median.")
_PEER_ATOMS = flags.DEFINE_integer("peer_atoms", 4096, "Atoms of blochsim.")

_FRAMES, _WINDOW, _RANK = 720, 48, 25
_T1_MS, _T2_MS, _B1_RANGE = (100.0, 5400.0), (10.0, 2460.0), (0.7, 1.3)

# Builds twice, and tells times, memory and number of atoms. Old commits do not
# have all that this one has.
_BUILD = """
import json, sys, threading, time
import numpy as np, psutil
import mrf_jax
try:
  from mrf_jax.matching.dictionary import build_dictionary
  from mrf_jax.sequence.schedules import tailored
except ImportError:
  from mrf_jax.sequence import tailored
t1, t2, b1, n_frames, options = json.loads(sys.argv[1])
t1, t2, b1 = (np.asarray(x, np.float32) for x in (t1, t2, b1))
sequence = tailored(n_frames)
seconds = []
for _ in range(2):
  before = psutil.Process().memory_info().rss
  peak, done = [before], threading.Event()
  def watch():
    while not done.wait(0.002):
      peak[0] = max(peak[0], psutil.Process().memory_info().rss)
  thread = threading.Thread(target=watch); thread.start()
  start, cpu = time.perf_counter(), time.process_time()
  table = build_dictionary(sequence, t1, t2, b1=b1, **options)
  seconds.append([time.perf_counter() - start, time.process_time() - cpu])
  done.set(); thread.join()
  atoms = len(table.norms); del table
peak = peak[0] - before
print(json.dumps({"seconds": seconds, "atoms": atoms, "peak": peak}))
"""


def axes(n_b1: int) -> list[list[float]]:
  """Values of T1, T2 and so many of B1."""
  return [
    np.geomspace(*_T1_MS, _T1.value).tolist(),
    np.geomspace(*_T2_MS, _T2.value).tolist(),
    np.linspace(*_B1_RANGE, n_b1).tolist(),
  ]


def build(folder: pathlib.Path, n_b1: int, options: dict) -> dict:
  """Builds twice with the code of a folder, in a process of its own."""
  options = {"window": _WINDOW, "rank": _RANK, **options}
  arguments = [*axes(n_b1), _FRAMES, options]
  done = subprocess.run(
    [sys.executable, "-c", _BUILD, json.dumps(arguments)],
    cwd=folder,
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def blochsim_rate() -> float | None:
  """Atoms a second of blochsim; None if it is not installed."""
  from peers import PEERS

  from mrf_jax.sequence.schedules import tailored
  from mrf_jax.sequence.sequence import make_sequence
  from mrf_jax.signal.fingerprints import state_counts

  peer = PEERS[0]
  if not peer.is_installed:
    return None
  train = tailored(_FRAMES)
  # It has one TR for all frames.
  sequence = make_sequence(
    flip_angles_deg=train.flip_angles_deg,
    tr_ms=10.0,
    te_ms=0.0,
    inversion_time_ms=20.0,
  )
  (n_states,) = state_counts(train, np.array([_T2_MS[1]]), None, 1e-4)
  simulate = peer.build(sequence, int(n_states))
  t1, t2, _ = axes(1)
  grid = np.stack(np.meshgrid(t1, t2, indexing="ij"), -1).reshape(-1, 2)
  grid = grid[grid[:, 1] <= grid[:, 0]]
  rows = np.linspace(0, len(grid) - 1, _PEER_ATOMS.value).astype(int)
  columns = [np.ascontiguousarray(c, np.float32) for c in grid[rows].T]
  simulate(*columns)
  start = time.perf_counter()
  simulate(*columns)
  return len(rows) / (time.perf_counter() - start)


def print_error() -> None:
  """Prints the error of many random atoms, and what the components lose."""
  from mrf_jax.matching.atom_interpolant import make_atom_interpolant
  from mrf_jax.sequence.acquisition import Acquisition
  from mrf_jax.sequence.schedules import tailored

  acquisition = Acquisition(tailored(_FRAMES), window=_WINDOW)
  found = make_atom_interpolant(
    acquisition,
    *axes(_B1.value),
    rank=_RANK,
    n_checks=_CHECKS.value,
    seed=1,
  )
  print(
    f"- worst of {_CHECKS.value:,} random atoms: interpolation errs by "
    f"{found.error:.1e} of its norm, {_RANK} components leave out "
    f"{found.left_out:.1e}"
  )
  sizes = [" × ".join(map(str, p.values.shape[:-1])) for p in found.panels]
  nodes = sum(int(np.prod(p.values.shape[:-1])) for p in found.panels)
  print(
    f"- nodes in T1, T2 and B1: {', '.join(sizes)}, {nodes:,} in all, from "
    f"fewer: {found.n_simulated:,} fingerprints were simulated, with those "
    "that count the nodes and tell the error"
  )


def main(argv):
  """Prints errors, then a table of builds in turns, then the ratios."""
  del argv
  from common import check_out, print_ratio

  sys.path.insert(0, str(_ROOT))
  with tempfile.TemporaryDirectory() as folder:
    before = pathlib.Path(folder, "before")
    check_out(_BEFORE, before)
    runs = {
      "interpolated": (_ROOT, _B1.value, {"interpolate": True}),
      "simulated": (_ROOT, _PART.value, {"interpolate": False}),
      f"before, {_BEFORE}": (before, _PART.value, {}),
    }
    results = {name: [] for name in runs}
    for _ in range(_REPEATS.value):
      for name, run in runs.items():
        results[name].append(build(*run))
  whole = results["interpolated"][0]["atoms"]
  from mrf_jax.timing.machine import device_name

  print(
    f"{device_name()}; {whole:,} atoms (T1 × T2 × B1, T2 ≤ T1) × {_FRAMES} "
    f"frames, windows of {_WINDOW}, rank {_RANK}\n"
  )
  print_error()
  print("\n| build | atoms | first, s | s | CPU s | peak MiB |")
  print("|---|--:|--:|--:|--:|--:|")
  medians = {}
  for name, of_name in results.items():
    scale = whole / of_name[0]["atoms"]
    first, later = np.median([r["seconds"] for r in of_name], 0) * scale
    peak = np.median([r["peak"] for r in of_name]) / 2**20
    scaled = "" if scale == 1 else f" (scaled by {scale:.1f})"
    medians[name] = float(later[0])
    print(
      f"| {name} | {of_name[0]['atoms']:,}{scaled} | {first[0]:.1f} | "
      f"{later[0]:.2f} | {later[1]:.2f} | {peak:.0f} |"
    )
  print()
  ours = medians.pop("interpolated")
  rate = blochsim_rate()
  peers = {**medians, "blochsim": None if rate is None else whole / rate}
  for name, seconds in peers.items():
    print_ratio(
      f"dictionary of {whole:,} atoms, interpolated, beside {name}",
      ours,
      seconds,
      "s",
    )


if __name__ == "__main__":
  app.run(main)
