"""How fast is our EPG simulator compared with others, and do all agree?

  pip install -r benchmarks/requirements.txt
  python benchmarks/simulate.py  # a minute on two cores
  python benchmarks/simulate.py --atoms=1024 --grid=24 --seconds=0.5  # quick

One gradient-spoiled sequence that all of them can simulate (500 frames after an
inversion, TI 20 ms, TR 10 ms, echo directly after the pulse), in two tables:

  equal states    the same number of states for every atom;
  equal accuracy  the atoms of a dictionary, with errors of at most 1e-4. A peer
                  takes one number of states for all atoms and gets the smallest
                  sufficient one; ours chooses by atom. The reference is a
                  float64 NumPy loop with 256 states, which is exact below 512
                  frames: higher orders cannot return to order 0 in time.

Peers use all cores and their fastest batch, and are compiled before timing
starts. A slow peer gets fewer atoms (see the column), from which its rate is.
Simulators run in turns, so that other work on the machine slows all of them
alike; the column of cores shows how many each used.

A state is one configuration order (F+, F-, Z) of an atom. A frame costs 17 FLOP
for each state: rotation 5 + 5 + 4, decay 3. The peak is a float32 matrix
product.
"""

import bisect
import dataclasses
import os
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from common import print_ratio

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from peers import OURS, PEERS, Simulator, reference_echoes

from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.timing.machine import device_name

_ATOMS = flags.DEFINE_integer("atoms", 16384, "Atoms of the first table.")
_STATES = flags.DEFINE_integer("states", 32, "States of the first table.")
_GRID = flags.DEFINE_integer("grid", 96, "Values of T1 and of T2.")
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Most seconds of a run.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Runs; the median counts.")

_FRAMES = 500
_FLOP = 17  # of each state and frame
_N_STATES = (16, 24, 32, 48, 64, 96, 128, 192, 256)  # tried for a peer
_TOLERANCE = 1e-4  # of the largest signal


@dataclasses.dataclass(frozen=True)
class Row:
  """A line of a table.

  Attributes:
    simulator: the simulator.
    n_states: states of each atom, or None if they differ by atom.
    n_atoms: atoms of a run.
    difference: largest difference from the reference, relative to the largest
      signal.
    seconds: wall time of the runs, [repeat].
    cpu_seconds: CPU time of all threads in the runs, [repeat].
  """

  simulator: Simulator
  n_states: int | None
  n_atoms: int
  difference: float
  seconds: np.ndarray
  cpu_seconds: np.ndarray

  @property
  def atoms_per_s(self) -> float:
    """Median rate."""
    return self.n_atoms / float(np.median(self.seconds))

  @property
  def gflops(self) -> float | None:
    """Useful GFLOP/s, or None if states differ by atom."""
    if self.n_states is None:
      return None
    return self.atoms_per_s * self.n_states * _FRAMES * _FLOP / 1e9


def lobe_sequence():
  """Sequence of four lobes of flip angles between 10 and 60 degrees."""
  lobes = np.sin(np.pi * np.arange(_FRAMES) / 125) ** 2
  # TE is 0, since blochsim and torchsim sample directly after the pulse.
  return make_sequence(
    10 + 50 * lobes, tr_ms=10.0, te_ms=0.0, inversion_time_ms=20.0
  )


def random_atoms(n_atoms: int, rng):
  """Random T1 of 300-4000 ms and T2 of 20-300 ms, uniform in the logarithm."""
  t1 = np.exp(rng.uniform(np.log(300), np.log(4000), n_atoms))
  t2 = np.exp(rng.uniform(np.log(20), np.log(300), n_atoms))
  return t1.astype(np.float32), t2.astype(np.float32)


def dictionary_atoms(side: int, rng):
  """T1 of 100-5400 ms and T2 of 10-2460 ms up to T1, log grid, shuffled."""
  grid = np.meshgrid(
    np.geomspace(100, 5400, side), np.geomspace(10, 2460, side), indexing="ij"
  )
  t1, t2 = (x.ravel().astype(np.float32) for x in grid)
  rows = rng.permutation(np.flatnonzero(t2 <= t1))
  return t1[rows], t2[rows]


def difference(simulator, echoes, reference) -> float:
  """Largest difference from the reference, relative to the largest signal."""
  largest = np.abs(simulator.phase * echoes - reference[: len(echoes)]).max()
  return float(largest / np.abs(reference).max())


def smallest_states(simulator, sequence, t1, t2, reference) -> int:
  """Smallest number of states for errors within the tolerance.

  Tested with the 64 atoms of longest T2, which need the most states.
  """
  rows = np.argsort(-t2, kind="stable")[:64]
  scale = np.abs(reference[rows]).max() / np.abs(reference).max()

  def is_enough(n_states) -> bool:
    echoes = simulator.build(sequence, n_states)(t1[rows], t2[rows])
    error = difference(simulator, echoes, reference[rows]) * scale
    return error <= _TOLERANCE

  first = bisect.bisect_left(_N_STATES, True, key=is_enough)
  return _N_STATES[min(first, len(_N_STATES) - 1)]


def measure(simulators, sequence, t1, t2, reference) -> list[Row]:
  """Times (simulator, n_states) pairs in turns, slow ones with fewer atoms."""
  runs, rows = [], []
  for simulator, n_states in simulators:
    simulate = simulator.build(sequence, n_states)
    n_probes = min(512, t1.size)
    simulate(t1[:n_probes], t2[:n_probes])
    start = time.perf_counter()
    simulate(t1[:n_probes], t2[:n_probes])
    rate = n_probes / (time.perf_counter() - start)
    most = max(n_probes, rate * _SECONDS.value)
    n_atoms = min(t1.size, 2 ** int(np.log2(most)))
    runs.append((simulate, t1[:n_atoms], t2[:n_atoms]))
    error = difference(simulator, simulate(*runs[-1][1:]), reference)
    rows.append((simulator, n_states, n_atoms, error))
  seconds, cpu_seconds = np.empty((2, len(runs), _REPEATS.value))
  for repeat in range(_REPEATS.value):
    for run, (simulate, *atoms) in enumerate(runs):
      start, cpu_start = time.perf_counter(), time.process_time()
      simulate(*atoms)
      seconds[run, repeat] = time.perf_counter() - start
      cpu_seconds[run, repeat] = time.process_time() - cpu_start
  return [
    Row(*row, *times)
    for row, *times in zip(rows, seconds, cpu_seconds, strict=True)
  ]


def measured_peak() -> float:
  """GFLOP/s of a float32 matrix product, the fastest of five."""
  side = 2048 if jax.default_backend() == "cpu" else 8192
  matrix = jnp.ones((side, side), jnp.float32)
  multiply = jax.jit(lambda a: jnp.dot(a, a, precision="highest"))
  multiply(matrix).block_until_ready()
  seconds = []
  for _ in range(5):
    start = time.perf_counter()
    multiply(matrix).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return 2 * side**3 / min(seconds) / 1e9


def print_table(title: str, rows: list[Row], missing, peak: float) -> None:
  """Prints one line each; the spread is from the fastest to the slowest run."""
  print(f"\n{title}\n")
  print(
    "| simulator | version | states | atoms | seconds | spread | cores | "
    "atoms/s | GFLOP/s | of peak | ours is faster by | difference |"
  )
  print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
  for row in rows:
    spread = np.ptp(row.seconds) / np.median(row.seconds)
    cores = np.median(row.cpu_seconds / row.seconds)
    states = "by atom" if row.n_states is None else row.n_states
    gflops, share = "–", "–"
    if row.gflops is not None:
      gflops, share = f"{row.gflops:.1f}", f"{row.gflops / peak:.1%}"
    faster = f"{rows[0].atoms_per_s / row.atoms_per_s:.1f} ×"
    print(
      f"| {row.simulator.package} | {row.simulator.version} | {states} "
      f"| {row.n_atoms} | {np.median(row.seconds):.3f} | {spread:.0%} "
      f"| {cores:.1f} | {row.atoms_per_s:,.0f} | {gflops} | {share} "
      f"| {'' if row is rows[0] else faster} | {row.difference:.1e} |"
    )
  for simulator in missing:
    print(f"\n{simulator.package} is not installed")


def print_ratios(question: str, rows: list[Row]) -> None:
  """Prints the last lines, one for each peer; the first row is ours."""
  ours, *peers = rows
  for peer in peers:
    print_ratio(
      f"{question}, beside {peer.simulator.package}",
      ours.atoms_per_s,
      peer.atoms_per_s,
      "atoms/s",
      digits=0,
    )


def main(argv):
  """Times all simulators for both tables."""
  del argv
  logging.set_verbosity(logging.WARNING)
  device = device_name()
  if jax.default_backend() == "cpu":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # otherwise blochsim uses a GPU
  installed = [peer for peer in PEERS if peer.is_installed]
  missing = [peer for peer in PEERS if not peer.is_installed]
  sequence, rng, peak = (
    lobe_sequence(),
    np.random.default_rng(0),
    measured_peak(),
  )
  print(f"{device}; a float32 matrix product runs at {peak:.0f} GFLOP/s")

  t1, t2 = random_atoms(_ATOMS.value, rng)
  n_states = _STATES.value
  reference = OURS.build(sequence, n_states)(t1, t2)
  equal_states = measure(
    [(s, n_states) for s in (OURS, *installed)], sequence, t1, t2, reference
  )
  print_table(
    "Equal states (difference from ours)", equal_states, missing, peak
  )

  t1, t2 = dictionary_atoms(_GRID.value, rng)
  reference = reference_echoes(sequence, t1, t2, _N_STATES[-1])
  candidates = [(OURS, None)]
  for peer in installed:
    count = smallest_states(peer, sequence, t1, t2, reference)
    candidates.append((peer, count))
  equal_accuracy = measure(candidates, sequence, t1, t2, reference)
  print_table(
    f"Equal accuracy, {_TOLERANCE:g} of the largest signal "
    "(difference from float64, 256 states)",
    equal_accuracy,
    missing,
    peak,
  )
  if equal_accuracy[0].difference > _TOLERANCE:
    print("mrf_jax exceeds the tolerance: accuracies are not equal")
  print()
  question = f"EPG of {_FRAMES} frames"
  print_ratios(f"{question}, {n_states} states", equal_states)
  print_ratios(f"{question}, dictionary to {_TOLERANCE:g}", equal_accuracy)


if __name__ == "__main__":
  app.run(main)
