"""How fast is dictionary matching, compared with mrpro and with bare products?

  pip install -r benchmarks/requirements.txt
  python benchmarks/match.py  # five minutes on two idle cores
  python benchmarks/match.py --voxels=8192 --atoms=2048  # quick test

Matches simulated fingerprints with noise. These run in turns, so that other
work on the machine slows all of them alike:

  full      every frame (Ma 2013): `best_atoms`
  products  the bare float32 products that it needs, ⟨atom, Re s⟩ and
            ⟨atom, Im s⟩, as one large product for each tile of 4096 x 4096
  SVD       25 temporal components (McGivney 2014), projection included
  groups    the same, without groups of atoms that cannot be the best
  mrpro     its `DictionaryMatchOp`, all frames, in its fastest batch; its
            default would allocate the whole similarity matrix

The output says in how many voxels they choose the same atom, and by how much
the scores differ in the others. Peak memory is that of matching without its
inputs, also for more atoms than are on the device at once.
"""

import functools
import os
import pathlib
import sys

# Time that threads of torch spin at a barrier; see `peers.py`.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from common import print_ratio, take_turns, torch_device

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from mrf_jax.matching.dictionary import (
  Dictionary,
  build_dictionary,
  compress,
  square_axes,
)
from mrf_jax.matching.dot_product import best_atoms
from mrf_jax.matching.groups import best_atoms_of_groups, group_atoms
from mrf_jax.runtime.memory import PeakMemory
from mrf_jax.sequence.schedules import tailored
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.timing.machine import device_name, measure_rates

try:
  import torch
  from mrpro.operators import DictionaryMatchOp
except ImportError:
  torch = None

_VOXELS = flags.DEFINE_integer("voxels", 65536, "Fingerprints to match.")
_ATOMS = flags.DEFINE_integer("atoms", 16384, "Atoms of the dictionary.")
_FRAMES = flags.DEFINE_integer("frames", 673, "Windows of a fingerprint, T.")
_RANK = flags.DEFINE_integer("rank", 25, "Temporal components of the SVD.")
_NOISE = flags.DEFINE_float("noise", 0.3, "Noise, of the mean magnitude.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs; the median counts.")

_WINDOW = 48
_TILE = 4096
_PEER_BATCHES = (512, 1024, 4096, 16384)


def make_dictionary() -> Dictionary:
  """Dictionary of `--atoms` atoms, T1 100-5400 ms, T2 10-2460 ms."""
  sequence = tailored(_FRAMES.value + _WINDOW - 1)
  axes = square_axes((100, 5400), (10, 2460), n_atoms=_ATOMS.value)
  full = build_dictionary(sequence, *axes, window=_WINDOW)
  rows = np.linspace(0, full.n_atoms - 1, _ATOMS.value).astype(int)
  return jax.tree.map(lambda x: np.ascontiguousarray(x[rows]), full)


def make_signals(dictionary: Dictionary, count: int, rng) -> np.ndarray:
  """Atoms of brain-like T1 and T2 with random phases and windowed noise."""
  atoms = np.asarray(dictionary.atoms)
  brain = (dictionary.t1_ms > 500) & (dictionary.t2_ms < 300)
  rows = rng.choice(np.flatnonzero(brain), count)
  level = _NOISE.value * np.sqrt(_WINDOW) * np.abs(atoms[rows]).mean()
  signals = np.empty((count, atoms.shape[1]), np.complex64)
  for start in range(0, count, 8192):
    part = slice(start, start + 8192)
    clean = atoms[rows[part]]
    shape = (len(clean), _FRAMES.value + _WINDOW - 1, 2)
    white = rng.standard_normal(shape, np.float32).view(np.complex64)[..., 0]
    angle = 2j * np.pi * rng.random((len(clean), 1))
    phase = np.exp(angle).astype(np.complex64)
    noise = sliding_window(white, window=_WINDOW)
    signals[part] = clean * phase + np.float32(level) * noise
  return signals


def bare_products(n_frames: int):
  """Function that computes the products alone."""
  multiply = jax.jit(lambda a, b: jnp.matmul(a, b.T, precision="highest"))
  left, right = jnp.ones((2, _TILE, n_frames))
  count = round(2 * _VOXELS.value * _ATOMS.value / _TILE**2)

  def run():
    for _ in range(max(1, count)):
      multiply(left, right).block_until_ready()

  return run


def peer(dictionary: Dictionary, signals):
  """Function that matches with mrpro in its fastest batch, and that batch."""
  device = torch_device()
  atoms = torch.from_numpy(np.asarray(dictionary.atoms)).to(device)
  frames = torch.from_numpy(signals).to(device).mT  # [frame, voxel]
  numbers = torch.arange(len(atoms), device=device)

  def make(batch):
    matcher = DictionaryMatchOp(lambda k: (atoms[k].mT,), batch_size=batch)
    return matcher.append(numbers)

  @torch.inference_mode()
  def match(matcher, frames):
    (chosen,) = matcher(frames)
    return chosen.cpu().numpy()

  sample = frames[:, : max(_PEER_BATCHES)]
  batches = [batch for batch in _PEER_BATCHES if batch <= sample.shape[1]]
  seconds = take_turns(
    {b: functools.partial(match, make(b), sample) for b in batches}, repeats=1
  )
  best = min(seconds, key=lambda batch: seconds[batch].min())
  matcher = make(best)
  return lambda: match(matcher, frames), best


def compare_choices(name: str, dictionary, signals, first, second) -> None:
  """Prints how often two searches choose one atom, and how scores differ."""
  differ = np.flatnonzero(first != second)
  atoms = np.asarray(dictionary.atoms).astype(np.float64)
  differing = signals[differ].astype(np.complex128)

  def scores(chosen):
    return np.abs(np.einsum("vf,vf->v", atoms[chosen[differ]], differing))

  gap = np.abs(scores(first) / scores(second) - 1).max(initial=0)
  print(
    f"- {name}: the same atom in {np.mean(first == second):.4%} of the voxels; "
    f"in the others, scores differ by up to {gap:.1e} (float64)"
  )


def peak_mib(dictionary, signals) -> float:
  """Peak memory of compiled matching without its inputs, MiB."""
  best_atoms(dictionary, signals[:1024])
  with PeakMemory() as memory:
    best_atoms(dictionary, signals)
  return memory.peak_bytes / 2**20


def fourfold(dictionary: Dictionary) -> Dictionary:
  """Dictionary with every atom four times; its parameters are not used."""
  atoms, norms = np.asarray(dictionary.atoms), np.asarray(dictionary.norms)
  values = np.tile(norms, 4)
  return Dictionary(np.tile(atoms, (4, 1)), values, values, values, values)


def print_table(seconds, gflops: dict[str, float], rate: float) -> None:
  """Prints one line each; the spread is from the fastest to the slowest run."""
  print("\n| | seconds | spread | GFLOP | GFLOP/s | of the products' rate |")
  print("|---|--:|--:|--:|--:|--:|")
  for name, times in seconds.items():
    median = np.median(times)
    gflop = gflops.get(name)
    cells = ["", "", ""]
    if gflop is not None:
      cells = [
        f"{gflop:,.0f}",
        f"{gflop / median:.0f}",
        f"{gflop / median / rate:.0%}",
      ]
    print(
      f"| {name} | {median:.2f} | {np.ptp(times) / median:.0%} | "
      + " | ".join(cells)
      + " |"
    )


def gflop_of() -> tuple[float, float]:
  """GFLOP of matching with all frames, and with temporal components."""
  # Two real multiply-adds for each number of a real atom and complex signal.
  per_component = 4e-9 * _VOXELS.value * _ATOMS.value
  projection = 4e-9 * _VOXELS.value * _FRAMES.value * _RANK.value
  full = per_component * _FRAMES.value
  return full, per_component * _RANK.value + projection


def print_ratios(medians: dict[str, float], size: str) -> None:
  """Prints the last lines: ours against products, and against mrpro."""
  full_s, products_s, *rest = medians.values()
  print_ratio(
    f"full matching, {size}, beside its products", full_s, products_s, "s"
  )
  if torch is not None:
    *compressed_s, peer_s = rest
    names = ("full", f"SVD {_RANK.value}", f"SVD {_RANK.value} in groups")
    for name, ours_s in zip(names, (full_s, *compressed_s), strict=True):
      print_ratio(f"{name} matching, {size}, beside mrpro", ours_s, peer_s, "s")


def main(argv):
  """Compares chosen atoms and memory, then times all in turns."""
  del argv
  logging.set_verbosity(logging.WARNING)
  rng = np.random.default_rng(0)
  full = make_dictionary()
  signals = make_signals(full, _VOXELS.value, rng)
  compressed = compress(full, rank=_RANK.value)
  groups = group_atoms(compressed)
  n_voxels, n_atoms, n_frames = _VOXELS.value, _ATOMS.value, _FRAMES.value
  size = f"{n_voxels:,} voxels × {n_atoms:,} atoms × {n_frames} frames"
  print(f"{device_name()}, jax {jax.__version__}; {size}\n")
  of_full, _ = best_atoms(full, signals)
  of_svd, _ = best_atoms(compressed, signals)
  of_groups, _, share = best_atoms_of_groups(groups, signals)
  compare_choices("SVD and full", full, signals, of_svd, of_full)
  projected = (signals @ compressed.basis).astype(np.complex64)
  compare_choices("groups and SVD", compressed, projected, of_groups, of_svd)
  print(f"- groups: {share:.1%} of the groups were searched")

  svd_name = f"mrf_jax, SVD {_RANK.value}"
  runs = {
    "mrf_jax, full": lambda: best_atoms(full, signals),
    "bare products": bare_products(_FRAMES.value),
    svd_name: lambda: best_atoms(compressed, signals),
    f"{svd_name} in groups": lambda: best_atoms_of_groups(groups, signals),
  }
  if jax.default_backend() == "cpu":
    print(
      f"- peak memory without the inputs: full {peak_mib(full, signals):.0f} "
      f"MiB, SVD {peak_mib(compressed, signals):.0f} MiB, full with four times "
      f"the atoms {peak_mib(fourfold(full), signals[:8192]):.0f} MiB"
    )
  if torch is None:
    print("- mrpro is not installed: no peer")
  else:
    run_peer, batch = peer(full, signals)
    compare_choices("full and mrpro", full, signals, of_full, run_peer())
    runs[f"mrpro, batches of {batch}"] = run_peer
  square = measure_rates("float32").products / 1e9
  print(f"- a product of large square matrices runs at {square:.0f} GFLOP/s")
  seconds = take_turns(runs, repeats=_REPEATS.value)
  full_gflop, svd_gflop = gflop_of()
  gflop = {
    "mrf_jax, full": full_gflop,
    "bare products": full_gflop,
    svd_name: svd_gflop,
  }
  medians = {name: float(np.median(times)) for name, times in seconds.items()}
  print_table(seconds, gflop, full_gflop / medians["bare products"])
  print()
  print_ratios(medians, size)


if __name__ == "__main__":
  app.run(main)
