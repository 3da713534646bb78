"""How fast is dictionary matching beside mrpro's, and beside bare products?

  pip install -r benchmarks/requirements.txt
  python benchmarks/match.py  # five minutes on two idle cores
  python benchmarks/match.py --voxels=8192 --atoms=2048  # a look

Simulated fingerprints with noise, in the dictionary's frames. These take turns,
so that a machine that is busy for a moment slows them all:

  full      every frame (Ma 2013): `best_atoms`
  products  the bare float32 products that it needs, ⟨atom, Re s⟩ and
            ⟨atom, Im s⟩, as one large product each 4096 x 4096 tile
  SVD       25 temporal components (McGivney 2014), projection included
  groups    the same without groups of atoms that cannot win
  mrpro     its `DictionaryMatchOp`, all frames, in the batch that is fastest
            here; its default would hold the whole similarity matrix

Whether they choose the same atoms is said, and where not, by how much their
scores differ. Peak memory is what matching takes beside its inputs, also where
the atoms do not fit into what is on the device at once.
"""

import functools
import os
import pathlib
import sys

# How long threads of torch spin at a barrier; see `peers.py`.
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
from mrf_jax.sequence.acquisition import sliding_window
from mrf_jax.sequence.schedules import tailored
from mrf_jax.timing.machine import device_name, measure_rates

try:
  import torch
  from mrpro.operators import DictionaryMatchOp
except ImportError:
  torch = None

_VOXELS = flags.DEFINE_integer("voxels", 65536, "Fingerprints to match.")
_ATOMS = flags.DEFINE_integer("atoms", 16384, "Fingerprints of the dictionary.")
_FRAMES = flags.DEFINE_integer("frames", 673, "Windows of a fingerprint, T.")
_RANK = flags.DEFINE_integer("rank", 25, "Temporal components of the SVD.")
_NOISE = flags.DEFINE_float("noise", 0.3, "Of the mean magnitude.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs behind a median.")

_WINDOW = 48
_TILE = 4096
_PEER_BATCHES = (512, 1024, 4096, 16384)


def make_dictionary() -> Dictionary:
  """As many atoms as are asked for, T1 100-5400 ms, T2 10-2460 ms."""
  train = tailored(_FRAMES.value + _WINDOW - 1)
  axes = square_axes((100, 5400), (10, 2460), n_atoms=_ATOMS.value)
  full = build_dictionary(train, *axes, window=_WINDOW)
  rows = np.linspace(0, full.n_atoms - 1, _ATOMS.value).astype(int)
  return jax.tree.map(lambda x: np.ascontiguousarray(x[rows]), full)


def make_signals(dictionary: Dictionary, count: int, rng) -> np.ndarray:
  """Atoms of brain-like T1 and T2 with phases and a sliding window's noise."""
  atoms = np.asarray(dictionary.atoms)
  brain = (dictionary.t1_ms > 500) & (dictionary.t2_ms < 300)
  rows = rng.choice(np.flatnonzero(brain), count)
  level = _NOISE.value * np.sqrt(_WINDOW) * np.abs(atoms[rows]).mean()
  signals = np.empty((count, atoms.shape[1]), np.complex64)
  for start in range(0, count, 8192):
    part = slice(start, start + 8192)
    own = atoms[rows[part]]
    shape = (len(own), _FRAMES.value + _WINDOW - 1, 2)
    white = rng.standard_normal(shape, np.float32).view(np.complex64)[..., 0]
    phase = np.exp(2j * np.pi * rng.random((len(own), 1))).astype(np.complex64)
    noise = sliding_window(white, window=_WINDOW)
    signals[part] = own * phase + np.float32(level) * noise
  return signals


def bare_products(n_frames: int):
  """A function that does nothing but the products."""
  multiply = jax.jit(lambda a, b: jnp.matmul(a, b.T, precision="highest"))
  left, right = jnp.ones((2, _TILE, n_frames))
  count = round(2 * _VOXELS.value * _ATOMS.value / _TILE**2)

  def run():
    for _ in range(max(1, count)):
      multiply(left, right).block_until_ready()

  return run


def peer(dictionary: Dictionary, signals):
  """A function that matches with mrpro in its fastest batch; and that batch."""
  device = torch_device()
  atoms = torch.from_numpy(np.asarray(dictionary.atoms)).to(device)
  turned = torch.from_numpy(signals).to(device).mT  # [frame, voxel]
  numbers = torch.arange(len(atoms), device=device)

  def make(batch):
    matcher = DictionaryMatchOp(lambda k: (atoms[k].mT,), batch_size=batch)
    return matcher.append(numbers)

  @torch.inference_mode()
  def match(matcher, some):
    (found,) = matcher(some)
    return found.cpu().numpy()

  few = turned[:, : max(_PEER_BATCHES)]
  batches = [batch for batch in _PEER_BATCHES if batch <= few.shape[1]]
  seconds = take_turns(
    {b: functools.partial(match, make(b), few) for b in batches}, repeats=1
  )
  best = min(seconds, key=lambda batch: seconds[batch].min())
  matcher = make(best)
  return lambda: match(matcher, turned), best


def compare_choices(name: str, dictionary, signals, mine, theirs) -> None:
  """Says how often the atoms are the same, and what other atoms lose."""
  differ = np.flatnonzero(mine != theirs)
  atoms = np.asarray(dictionary.atoms).astype(np.float64)
  wide = signals[differ].astype(np.complex128)

  def scores(chosen):
    return np.abs(np.einsum("vf,vf->v", atoms[chosen[differ]], wide))

  ours, others = scores(mine), scores(theirs)
  gap = np.abs(ours / others - 1).max(initial=0)
  print(
    f"- {name}: the same atom in {np.mean(mine == theirs):.4%} of the voxels; "
    f"where not, scores differ by up to {gap:.1e} (float64)"
  )


def peak_mib(dictionary, signals) -> float:
  """Memory that matching takes beside its inputs, when compiled, MiB."""
  best_atoms(dictionary, signals[:1024])
  with PeakMemory() as memory:
    best_atoms(dictionary, signals)
  return memory.peak_bytes / 2**20


def fourfold(dictionary: Dictionary) -> Dictionary:
  """All atoms four times over."""
  atoms, norms = np.asarray(dictionary.atoms), np.asarray(dictionary.norms)
  more = np.tile(norms, 4)
  return Dictionary(np.tile(atoms, (4, 1)), more, more, more, more)


def print_table(seconds, flop: dict[str, float], rate: float) -> None:
  """One line a contender; the spread is from fastest to slowest run."""
  print("\n| | seconds | spread | GFLOP | GFLOP/s | of the products' rate |")
  print("|---|--:|--:|--:|--:|--:|")
  for name, times in seconds.items():
    median = np.median(times)
    gflop = flop.get(name)
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


def main(argv):
  """Choices, memory, then all in turns."""
  del argv
  logging.set_verbosity(logging.WARNING)
  rng = np.random.default_rng(0)
  full = make_dictionary()
  signals = make_signals(full, _VOXELS.value, rng)
  short = compress(full, rank=_RANK.value)
  groups = group_atoms(short)
  n_voxels, n_atoms, n_frames = _VOXELS.value, _ATOMS.value, _FRAMES.value
  size = f"{n_voxels:,} voxels × {n_atoms:,} atoms × {n_frames} frames"
  print(f"{device_name()}, jax {jax.__version__}; {size}\n")
  mine, _ = best_atoms(full, signals)
  svd, _ = best_atoms(short, signals)
  grouped, _, share = best_atoms_of_groups(groups, signals)
  compare_choices("SVD beside full", full, signals, svd, mine)
  projected = (signals @ short.basis).astype(np.complex64)
  compare_choices("groups beside SVD", short, projected, grouped, svd)
  print(f"- groups: {share:.1%} of the groups were searched")

  runs = {
    "mrf_jax, full": lambda: best_atoms(full, signals),
    "bare products": bare_products(_FRAMES.value),
    f"mrf_jax, SVD {_RANK.value}": lambda: best_atoms(short, signals),
    f"mrf_jax, SVD {_RANK.value} in groups": lambda: best_atoms_of_groups(
      groups, signals
    ),
  }
  if jax.default_backend() == "cpu":
    print(
      f"- peak memory beside the inputs: full {peak_mib(full, signals):.0f} "
      f"MiB, SVD {peak_mib(short, signals):.0f} MiB, full with four times the "
      f"atoms {peak_mib(fourfold(full), signals[:8192]):.0f} MiB"
    )
  if torch is None:
    print("- mrpro is not installed: no peer")
  else:
    theirs, batch = peer(full, signals)
    compare_choices("full beside mrpro", full, signals, mine, theirs())
    runs[f"mrpro, batches of {batch}"] = theirs
  square = measure_rates("float32").products / 1e9
  print(f"- a product of large square matrices runs at {square:.0f} GFLOP/s")
  seconds = take_turns(runs, repeats=_REPEATS.value)
  scores = 4e-9 * _VOXELS.value * _ATOMS.value
  first, bare, compressed, *_ = seconds
  flop = {
    first: scores * _FRAMES.value,
    bare: scores * _FRAMES.value,
    compressed: scores * _RANK.value
    + 4e-9 * _VOXELS.value * _FRAMES.value * _RANK.value,
  }
  medians = {name: float(np.median(times)) for name, times in seconds.items()}
  print_table(seconds, flop, flop[bare] / medians[bare])
  print()
  ours, products, *rest = medians.values()
  print_ratio(
    f"full matching, {size}, beside its products", ours, products, "s"
  )
  if torch is not None:
    *ways, other = rest
    names = ("full", f"SVD {_RANK.value}", f"SVD {_RANK.value} in groups")
    for name, mine_s in zip(names, (ours, *ways), strict=True):
      print_ratio(f"{name} matching, {size}, beside mrpro", mine_s, other, "s")


if __name__ == "__main__":
  app.run(main)
