"""How fast is a training step beside PyTorch's, patch by patch and in tiles?

  pip install torch  # a CPU wheel is enough on a CPU
  python benchmarks/train.py  # two minutes on two cores
  python benchmarks/train.py --batch=60 --frames=50 --seconds=5  # a look

The network at the paper's size (512, 256, twice 128 features, dropout 0.2) and
one whole step: patches gathered from a voxel table, forward with dropout and
the batch's statistics, mean squared error, backward, Adam. A step of tiles
makes about as many estimates as one of patches; a tile's patches overlap, so
that its 1 × 1 layers run once a voxel.

PyTorch runs in the forms that `torch_network.py` knows and with torch.compile,
on the same device and all cores; the table shows all, the last lines take the
fastest of the same precision. Runs take turns, so that a machine that is busy
for a moment slows them all; CPU seconds, of all threads, hardly feel it.
Before, losses without dropout from the same weights are compared.

GFLOP are of the matrix products alone: 2 for each weight and row forward, as
many for the gradient of the weights and of the input, which the first layer
does not need. The peak is the better of both packages' large float32 products,
which take turns with the steps; the table's share of it is therefore above one
for bfloat16 where the machine has instructions for it.
"""

import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags, logging
from common import print_ratio, torch_device

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from mrf_jax.dataset.patches import make_grid
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.timing.machine import device_name
from mrf_jax.training.step import Fold, VoxelTable, init_state, train_step

REACH = Spatiotemporal().reach

try:
  import torch
  import torch_network
except ImportError:
  torch = None

_BATCH = flags.DEFINE_integer("batch", 600, "Patches of a step.")
_FRAMES = flags.DEFINE_integer("frames", 673, "Windows T of a fingerprint.")
_TILE = flags.DEFINE_integer("tile", 8, "Estimates a side of a tile.")
_REPEATS = flags.DEFINE_integer("repeats", 15, "Steps behind a median.")
_SECONDS = flags.DEFINE_float("seconds", 120.0, "All steps take at most this.")
_PEERS = flags.DEFINE_boolean("peers", True, "Whether to run PyTorch, too.")

_SIDE = 96  # of the square slices that fill the table
_SLICES = 4


@dataclasses.dataclass
class Run:
  """One way to make a step.

  Attributes:
    name: what the table calls it.
    step: makes one and returns its loss.
    n_estimates: of a step.
    gflop: of a step's matrix products.
    precision: of these.
    is_ours: whether it is not a peer.
    seconds: of the steps.
    cpu_seconds: of all threads, of the steps.
  """

  name: str
  step: Callable[[], float]
  n_estimates: int
  gflop: float
  precision: str = "float32"
  is_ours: bool = True
  seconds: list[float] = dataclasses.field(default_factory=list)
  cpu_seconds: list[float] = dataclasses.field(default_factory=list)

  @property
  def median(self) -> float:
    """Seconds of a step."""
    return float(np.median(self.seconds))

  @property
  def rate(self) -> float:
    """Estimates a second."""
    return self.n_estimates / self.median


def make_study(rng):
  """A table of random fingerprints, its grid and one fold."""
  mask = np.ones((_SLICES, _SIDE, _SIDE), bool)
  n_channels = 2 * _FRAMES.value
  signals = rng.standard_normal((1 + mask.sum(), n_channels), np.float32)
  signals[0] = 0
  maps = rng.uniform(size=(len(signals), 3)).astype(np.float32)
  fold = Fold(
    rows=np.arange(1, len(signals), dtype=np.int32),
    low=np.zeros(3, np.float32),
    high=np.ones(3, np.float32),
    watched=np.zeros((2, 0), np.int32),
    key=jax.random.key(0),
  )
  grid = make_grid([mask], padding=REACH + _TILE.value)
  return jax.device_put((VoxelTable(signals, maps, grid), fold))


def inner_centres(table, *, count: int, margin: int, rng) -> np.ndarray:
  """Rows whose tile lies within its slice, as a brain's mostly do."""
  rows = np.arange(1, len(table.signals)).reshape(_SLICES, _SIDE, _SIDE)
  inner = rows[:, margin:-margin, margin:-margin].reshape(-1)
  return rng.choice(inner, count, replace=False).astype(np.int32)


def gflop_of(*, n_voxels: int, n_estimates: int) -> float:
  """Of the matrix products of one step."""
  first = 2 * _FRAMES.value * 512
  per_estimate = (25 + 9) * 256 * 128 + 256 * 3
  products = n_voxels * (2 * first + 3 * 512 * 256)
  return 2 * (products + 3 * n_estimates * per_estimate) / 1e9


def our_step(table, fold, params_of, *, dropout, tile, batch, rng, **options):
  """A function that makes one step after another."""
  network, optimizer = Spatiotemporal(dropout=dropout), optax.adam(1e-3)
  state = init_state(
    network, optimizer, fold.key, n_channels=2 * _FRAMES.value, reach=REACH
  )
  params_of.append(jax.tree.map(np.array, state.params))
  margin = REACH + tile
  centres = inner_centres(table, count=batch, margin=margin, rng=rng)

  def step(state, fold, table, centres):
    return train_step(
      state,
      fold,
      table,
      centres,
      model=network,
      optimizer=optimizer,
      reach=REACH,
      tile=tile,
      **options,
    )

  compiled = jax.jit(step, donate_argnums=0)
  states, centres = [state], jnp.asarray(centres)

  def advance() -> float:
    states[0], loss = compiled(states[0], fold, table, centres)
    # The state is ready when its last array is.
    jax.block_until_ready(states[0])
    return float(loss)

  return advance, centres


def compare_losses(table, fold) -> None:
  """Losses of three steps without dropout from the same weights."""
  params: list = []
  ours, centres = our_step(
    table,
    fold,
    params,
    dropout=0.0,
    tile=1,
    batch=_BATCH.value,
    rng=np.random.default_rng(1),
  )
  rows = peer_rows(table, centres)
  found = [ours() for _ in range(3)]
  for form in ("linear", "conv"):
    theirs = peer_step(
      table,
      params[0],
      form=form,
      dropout=0.0,
      compiled=False,
      bfloat16=False,
    )
    expected = [theirs(rows) for _ in range(3)]
    print(
      f"losses without dropout, ours {np.round(found, 6)}, torch {form} "
      f"{np.round(expected, 6)}: largest difference "
      f"{np.abs(np.subtract(found, expected)).max():.1e}"
    )


def peer_rows(table, centres) -> np.ndarray:
  """Rows of the patches around some centres, as PyTorch wants them."""
  rows = table.grid.neighbours(centres, before=REACH, after=REACH)
  return np.asarray(rows, np.int64)


def peer_step(table, params, **options):
  """A function that makes one step after another in PyTorch."""
  return torch_network.make_step(
    np.asarray(table.signals),
    np.asarray(table.maps),
    params,
    device=torch_device(),
    **options,
  )


def our_runs(table, fold, params) -> list[Run]:
  """Patches and tiles."""
  batch, tile = _BATCH.value, _TILE.value
  n_tiles = max(1, round(batch / tile**2))
  shapes = {"patches": (1, batch), f"tiles of {tile} × {tile}": (tile, n_tiles)}
  runs = []
  for name, (side, count) in shapes.items():
    for precision in ("float32", "bfloat16"):
      step, _ = our_step(
        table,
        fold,
        params,
        dropout=0.2,
        tile=side,
        batch=count,
        rng=np.random.default_rng(1),
        compute_dtype=jnp.dtype(precision),
      )
      n_estimates = count * side**2
      n_voxels = count * (side + 2 * REACH) ** 2
      gflop = gflop_of(n_voxels=n_voxels, n_estimates=n_estimates)
      name_of = f"mrf_jax, {name}"
      runs.append(Run(name_of, step, n_estimates, gflop, precision))
  return runs


def peer_runs(table, params) -> list[Run]:
  """PyTorch in all its forms; one that fails is named and left out."""
  batch = _BATCH.value
  centres = inner_centres(
    table, count=batch, margin=REACH + 1, rng=np.random.default_rng(1)
  )
  rows = peer_rows(table, centres)
  gflop = gflop_of(n_voxels=25 * batch, n_estimates=batch)
  runs = []
  for form in ("linear", "conv"):
    for compiled in (False, True):
      for precision in ("float32", "bfloat16"):
        name = f"torch {'compiled' if compiled else 'eager'}, {form}"
        step = peer_step(
          table,
          params[0],
          form=form,
          dropout=0.2,
          compiled=compiled,
          bfloat16=precision == "bfloat16",
        )
        try:
          step(rows)
        except Exception as error:
          reason = str(error).strip().splitlines()[0]
          print(f"{name}, {precision}: left out ({reason})")
          continue
        runs.append(
          Run(
            name, lambda s=step: s(rows), batch, gflop, precision, is_ours=False
          )
        )
  return runs


def measure(runs: list[Run]) -> None:
  """Makes steps in turns."""
  for run in runs:
    for _ in range(2):
      run.step()
  deadline = time.perf_counter() + _SECONDS.value
  for _ in range(_REPEATS.value):
    for run in runs:
      start, cpu_start = time.perf_counter(), time.process_time()
      run.step()
      run.seconds.append(time.perf_counter() - start)
      run.cpu_seconds.append(time.process_time() - cpu_start)
    if time.perf_counter() > deadline:
      break


def products() -> list[Run]:
  """A large float32 product of each package, as runs that take turns, too."""
  side = 2048 if jax.default_backend() == "cpu" else 8192
  matrix = jnp.ones((side, side), jnp.float32)
  multiply = jax.jit(lambda a: jnp.dot(a, a))
  functions = {"jax": lambda: multiply(matrix).block_until_ready()}
  if torch is not None and _PEERS.value:
    ones = torch.ones(side, side, device=torch_device())
    functions["torch"] = lambda: (ones @ ones)[0, 0].item()
  return [
    Run(f"product of {side} × {side}, {name}", function, 0, 2 * side**3 / 1e9)
    for name, function in functions.items()
  ]


def best_peer(runs: list[Run], precision: str) -> Run | None:
  """The fastest of one precision."""
  peers = [r for r in runs if not r.is_ours and r.precision == precision]
  return min(peers, key=lambda r: r.median, default=None)


def print_table(runs: list[Run], peak: float) -> None:
  """A line for each run; ratios to the fastest peer of the same precision."""
  print(
    "\n| step | precision | s/step | CPU s/step | estimates/s | GFLOP/step "
    "| GFLOP/s | of peak | ratio |"
  )
  print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
  for run in runs:
    peer = best_peer(runs, run.precision)
    ratio = "–" if peer is None else f"{run.rate / peer.rate:.2f}"
    gflops = run.gflop / run.median
    print(
      f"| {run.name} | {run.precision} | {run.median:.3f} "
      f"| {np.median(run.cpu_seconds):.3f} | {run.rate:.0f} | {run.gflop:.1f} "
      f"| {gflops:.0f} | {gflops / peak:.0%} | {ratio} |"
    )


def print_ratios(runs: list[Run]) -> None:
  """The contract's lines, float32; the last is the paper's step."""
  peer = best_peer(runs, "float32")
  tiles_and_patches = [r for r in runs if r.is_ours][::-1]
  for run in tiles_and_patches:
    if run.precision != "float32":
      continue
    print_ratio(
      f"training step, {run.name.removeprefix('mrf_jax, ')} beside "
      f"{peer.name if peer else 'torch'}, T = {_FRAMES.value}",
      run.rate,
      peer and peer.rate,
      "patches/s",
      digits=0,
    )


def main(argv):
  """Losses, then the table."""
  del argv
  logging.set_verbosity(logging.WARNING)
  # As PyTorch does: an accelerator's default is fewer bits.
  jax.config.update("jax_default_matmul_precision", "highest")
  device = device_name()
  versions = f"jax {jax.__version__}"
  with_peers = torch is not None and _PEERS.value
  if with_peers:
    versions += f", torch {torch.__version__}"
    if jax.default_backend() == "cpu":
      os.environ["CUDA_VISIBLE_DEVICES"] = ""
  elif _PEERS.value:
    print("torch is not installed: no peer")
  print(
    f"{device}; {versions}; {_BATCH.value} patches, T = {_FRAMES.value}, "
    f"median of up to {_REPEATS.value} steps in turns"
  )
  table, fold = make_study(np.random.default_rng(0))
  params: list = []
  runs = our_runs(table, fold, params)
  if with_peers:
    compare_losses(table, fold)
    runs += peer_runs(table, params)
  peaks = products()
  measure(peaks + runs)
  for run in peaks:
    print(f"float32 {run.name}: {run.gflop / run.median:.0f} GFLOP/s")
  print_table(runs, max(run.gflop / run.median for run in peaks))
  print()
  print_ratios(runs)


if __name__ == "__main__":
  app.run(main)
