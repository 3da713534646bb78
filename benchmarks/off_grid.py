"""How exact and how fast is matching off the grid, beside a fine grid?

  pip install -r benchmarks/requirements.txt
  python benchmarks/off_grid.py  # some minutes on two idle cores
  python benchmarks/off_grid.py --voxels=1024 --atoms=20000  # quick test

Matches simulated fingerprints (the demo's train, 720 frames in windows of 48,
25 temporal components, random phases) of T1 400-4500 ms and T2 30-2000 ms with
white noise on the frames, in two ways that take turns:

  off the grid  a coarse match and Gauss–Newton (`match_off_grid`)
  grid          the best of `--atoms` atoms, searched in groups

The noise level is that of the frames' mean magnitude. Errors are root mean
squares of the relative errors of T1 and T2. mrpro matches all frames with a
part of the atoms, whose time is scaled to all of them.
"""

import functools
import os
import pathlib
import sys

# Time that threads of torch spin at a barrier; see `peers.py`.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import jax
import numpy as np
from absl import app, flags
from common import print_ratio, take_turns, torch_device

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from mrf_jax.matching.dictionary import build_dictionary, square_axes
from mrf_jax.matching.groups import group_atoms, match_groups
from mrf_jax.matching.off_grid import match_off_grid
from mrf_jax.matching.off_grid_matcher import make_off_grid_matcher
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.timing.machine import device_name

try:
  import torch
  from mrpro.operators import DictionaryMatchOp
except ImportError:
  torch = None

_VOXELS = flags.DEFINE_integer("voxels", 16384, "Fingerprints to match.")
_ATOMS = flags.DEFINE_integer("atoms", 1_000_000, "Atoms of the fine grid.")
_REPEATS = flags.DEFINE_integer("repeats", 9, "Runs; the median counts.")
_PEER_ATOMS = flags.DEFINE_integer("peer_atoms", 8192, "Atoms of mrpro.")

_FRAMES, _WINDOW, _RANK = 720, 48, 25
_T1_MS, _T2_MS = (100.0, 5400.0), (10.0, 2460.0)
_LEVELS = (0.003, 0.02, 0.1, 0.3)
_PEER_BATCH = 1024


def draw(rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """T1 and T2 of each voxel, ms, and its frames without noise."""
  count = _VOXELS.value
  t1 = np.exp(rng.uniform(np.log(400), np.log(4500), count))
  t2 = np.exp(rng.uniform(np.log(30), np.log(np.minimum(t1, 2000))))
  frames = simulate_fingerprints(tailored(_FRAMES), t1, t2, tolerance=1e-6)
  angle = 2j * np.pi * rng.random((count, 1))
  return t1, t2, frames * np.exp(angle).astype(np.complex64)


def add_noise(frames: np.ndarray, level: float, rng) -> np.ndarray:
  """Window images of frames with white noise."""
  sd = np.float32(level * np.abs(frames).mean())
  signals = []
  for start in range(0, len(frames), 4096):
    part = frames[start : start + 4096]
    white = rng.standard_normal((*part.shape, 2), np.float32)
    noisy = part + sd * white.view(np.complex64)[..., 0]
    signals.append(sliding_window(noisy, window=_WINDOW))
  return np.concatenate(signals)


def percent(estimate, truth) -> float:
  """Root mean square of the relative error, %."""
  return 100 * float(np.sqrt(np.mean((np.asarray(estimate) / truth - 1) ** 2)))


def mrpro_seconds(signals: np.ndarray, n_atoms: int) -> float | None:
  """Seconds of mrpro with so many atoms, scaled; None without it."""
  if torch is None:
    return None
  axes = square_axes(_T1_MS, _T2_MS, n_atoms=_PEER_ATOMS.value)
  table = build_dictionary(tailored(_FRAMES), *axes, window=_WINDOW)
  device = torch_device()
  atoms = torch.from_numpy(np.asarray(table.atoms)).to(device)
  images = torch.from_numpy(signals[:4096]).to(device).mT
  matcher = DictionaryMatchOp(
    lambda k: (atoms[k].mT,), batch_size=_PEER_BATCH
  ).append(torch.arange(len(atoms), device=device))

  @torch.inference_mode()
  def run():
    matcher(images)[0].cpu()

  (seconds,) = take_turns({"mrpro": run}, repeats=2).values()
  scale = n_atoms / table.n_atoms * len(signals) / images.shape[1]
  return float(seconds.min()) * scale


def main(argv):
  """Prints a table by noise level, then the ratios of the times."""
  del argv
  rng = np.random.default_rng(0)
  t1, t2, frames = draw(rng)
  acquisition = Acquisition(tailored(_FRAMES), window=_WINDOW)
  matcher = make_off_grid_matcher(acquisition, _T1_MS, _T2_MS, rank=_RANK)
  fine = build_dictionary(
    acquisition.sequence,
    *square_axes(_T1_MS, _T2_MS, n_atoms=_ATOMS.value),
    window=_WINDOW,
    rank=_RANK,
    interpolate=True,
  )
  groups = jax.device_put(group_atoms(fine))
  size = f"{_VOXELS.value:,} voxels, grid of {fine.n_atoms:,} atoms"
  print(f"{device_name()}, jax {jax.__version__}; {size}\n")
  print(
    "| noise | T1, T2 off the grid, % | on the grid, % | off the grid, s | "
    "grid, s |"
  )
  print("|--:|--:|--:|--:|--:|")
  medians = []
  for level in _LEVELS:
    signals = add_noise(frames, level, rng)
    ways = {
      "off": lambda s=signals: match_off_grid(matcher, s).maps,
      "grid": functools.partial(match_groups, groups, signals),
    }
    cells = []
    for way in ways.values():
      maps = way()
      cells.append(
        f"{percent(maps.t1_ms, t1):.2f}, {percent(maps.t2_ms, t2):.2f}"
      )
    seconds = take_turns(ways, repeats=_REPEATS.value)
    medians.append([float(np.median(of_way)) for of_way in seconds.values()])
    times = " | ".join(f"{s:.2f}" for s in medians[-1])
    print(f"| {level:g} | {' | '.join(cells)} | {times} |", flush=True)
  print()
  for level, (off_s, grid_s) in zip(_LEVELS, medians, strict=True):
    print_ratio(
      f"matching off the grid, noise {level:g}, beside groups; {size}",
      off_s,
      grid_s,
      "s",
    )
  print_ratio(
    f"matching off the grid beside mrpro (scaled); {size}",
    float(np.median(medians, 0)[0]),
    mrpro_seconds(signals, fine.n_atoms),
    "s",
  )


if __name__ == "__main__":
  app.run(main)
