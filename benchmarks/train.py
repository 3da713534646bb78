"""How fast is a training step compared with PyTorch, by patches and by tiles?

  pip install torch  # a CPU wheel is enough on a CPU
  python benchmarks/train.py  # two minutes on two cores
  python benchmarks/train.py --batch=60 --frames=50 --seconds=5  # quick test

Times whole steps of the network at the paper's size (512, 256, twice 128
features, dropout 0.2): patches gathered from a voxel table, forward pass with
dropout and batch statistics, mean squared error, backward pass, Adam. A step of
tiles makes about as many estimates as a step of patches; a tile's patches
overlap, so that its 1 × 1 layers run once for each voxel.

PyTorch runs in both forms of `torch_network.py`, with and without
torch.compile, on the same device and all cores. The table shows all; the last
lines use the fastest of the same precision. Runs are in turns, so that other
work on the machine slows all of them alike; it has little influence on CPU
seconds, which are of all threads. Before that, losses without dropout from the
same weights are compared.

GFLOP are of the matrix products alone: 2 for each weight and row in the forward
pass, and as many for the gradients of the weights and of the input, which the
first layer does not need. The peak is the better of both packages' large
float32 products, in turns with the steps. Shares of it may exceed one for
bfloat16 if the machine has instructions for it.
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
_TILE = flags.DEFINE_integer("tile", 8, "Estimates of a tile along y and x.")
_REPEATS = flags.DEFINE_integer("repeats", 15, "Steps; the median counts.")
_SECONDS = flags.DEFINE_float("seconds", 120.0, "Most seconds of all steps.")
_PEERS = flags.DEFINE_boolean("peers", True, "Whether PyTorch runs, too.")

_SIDE = 96  # of the square slices that fill the table
_SLICES = 4


@dataclasses.dataclass
class Run:
  """A contender, whose steps are timed.

  Attributes:
    name: name in the table.
    step: makes one step and returns its loss.
    n_estimates: estimates of a step.
    gflop: GFLOP of a step's matrix products.
    precision: precision of these products.
    is_ours: whether it is not a peer.
    seconds: wall time of each step.
    cpu_seconds: CPU time of all threads in each step.
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
    """Median seconds of a step."""
    return float(np.median(self.seconds))

  @property
  def rate(self) -> float:
    """Estimates per second."""
    return self.n_estimates / self.median


def make_study(rng):
  """Table of random fingerprints with its grid, and one fold."""
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
  """Random rows whose tile is inside its slice, as most of a brain's are."""
  rows = np.arange(1, len(table.signals)).reshape(_SLICES, _SIDE, _SIDE)
  inner = rows[:, margin:-margin, margin:-margin].reshape(-1)
  return rng.choice(inner, count, replace=False).astype(np.int32)


def gflop_of(*, n_voxels: int, n_estimates: int) -> float:
  """GFLOP of the matrix products of one step."""
  first = 2 * _FRAMES.value * 512
  per_estimate = (25 + 9) * 256 * 128 + 256 * 3
  products = n_voxels * (2 * first + 3 * 512 * 256)
  return 2 * (products + 3 * n_estimates * per_estimate) / 1e9


def our_step(table, fold, params_of, *, dropout, tile, batch, rng, **options):
  """Function that makes one step after another, and the rows of its tiles.

  The initial parameters are appended to `params_of`.
  """
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
    # The loss alone is ready before the state is.
    jax.block_until_ready(states[0])
    return float(loss)

  return advance, centres


def compare_losses(table, fold) -> None:
  """Compares three steps without dropout from the same weights."""
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
  losses = [ours() for _ in range(3)]
  for form in ("linear", "conv"):
    step = peer_step(
      table,
      params[0],
      form=form,
      dropout=0.0,
      compiled=False,
      bfloat16=False,
    )
    expected = [step(rows) for _ in range(3)]
    print(
      f"losses without dropout, ours {np.round(losses, 6)}, torch {form} "
      f"{np.round(expected, 6)}: largest difference "
      f"{np.abs(np.subtract(losses, expected)).max():.1e}"
    )


def peer_rows(table, centres) -> np.ndarray:
  """Rows of the patches around some centres, in PyTorch's type of indices."""
  rows = table.grid.neighbours(centres, before=REACH, after=REACH)
  return np.asarray(rows, np.int64)


def peer_step(table, params, **options):
  """Function that makes one step after another in PyTorch."""
  return torch_network.make_step(
    np.asarray(table.signals),
    np.asarray(table.maps),
    params,
    device=torch_device(),
    **options,
  )


def our_runs(table, fold, params) -> list[Run]:
  """Our runs: patches and tiles in each precision."""
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
      runs.append(Run(f"mrf_jax, {name}", step, n_estimates, gflop, precision))
  return runs


def peer_runs(table, params) -> list[Run]:
  """PyTorch's runs in all forms; a form that fails is printed and left out."""
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
  """Makes the steps of all runs in turns."""
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
  """A large float32 product of each package, as runs too."""
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
  """The fastest peer of one precision."""
  peers = [r for r in runs if not r.is_ours and r.precision == precision]
  return min(peers, key=lambda r: r.median, default=None)


def print_table(runs: list[Run], peak: float) -> None:
  """Prints a line for each run, with its ratio to the fastest peer."""
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
  """Prints the last lines, float32; the very last is the paper's step."""
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
  """Compares the losses, then times the steps."""
  del argv
  logging.set_verbosity(logging.WARNING)
  # float32 products as in PyTorch; accelerators use fewer bits by default.
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
