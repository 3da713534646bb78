"""How much time and memory does a scan need from file to files?

  pip install -r benchmarks/requirements.txt
  python benchmarks/reconstruct.py  # a quarter of an hour on two idle cores
  python benchmarks/reconstruct.py --slices=4 --matrix=128  # quick test

Reconstructs a subject file of 16 x 256 x 256 voxels, T = 673, with simulated
fingerprints and noise, by networks with random weights. Each runs as a user
runs it, `python launch.py --mode=reconstruct` in its own process: start,
compilation, reading, estimation, NIfTI files and the overview. It runs twice:
the first command compiles its programs, the second one finds them
(--compilation_cache, a new folder for each pair). The peer is dictionary
matching of 25 temporal components by the same command, which simulates its
dictionary too. Each also runs without goodness of fit (--misfit=ignore), which
tells what that costs, and spatiotemporal_plus without the match that it begins
with. All run in turns. Stages, processor time and peak memory are those of the
second command; ratios are between second commands, too.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from common import print_ratio

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from configs import paper
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import patch_shape
from mrf_jax.dataset.subject import Subject, save_subject
from mrf_jax.inference.bundle import save_model
from mrf_jax.inference.model import Model
from mrf_jax.methods.network_options import make_network, standardised
from mrf_jax.methods.network_signals import (
  given_variables,
  training_statistics,
)
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from mrf_jax.signal.interpolant import make_interpolant
from mrf_jax.simulation.anatomy import SliceGrid, make_head

_SLICES = flags.DEFINE_integer("slices", 16, "Slices of the scan.")
_MATRIX = flags.DEFINE_integer("matrix", 256, "Voxels along x and along y.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs; the median counts.")

_ROOT = pathlib.Path(__file__).parent.parent
_PLUS, _NO_MATCH = "spatiotemporal_plus", "spatiotemporal_plus_no_match"
_NETWORKS = ("spatiotemporal", _PLUS, _NO_MATCH)
_PEER = "dictionary_svd"
_STAGES = ("read", "check", "reconstruct", "write")
_NO_FIT = ", no fit"
# Peak memory that is allowed: GiB of any process, and times the scan of files.
_BASE_GIB, _TIMES = 0.65, 1.3
# Voxels whose signals the model is said to be trained on.
_SOME = 8192


def make_scan(config, rng) -> Subject:
  """Simulated head whose signals are fingerprints of random T1, with noise."""
  grid = SliceGrid(
    n_slices=_SLICES.value,
    matrix=_MATRIX.value,
    fov_mm=256.0,
    slice_thickness_mm=80 / _SLICES.value,
    centre_z_mm=15.0,
  )
  head = make_head(rng, grid, **config.data.head)
  acquisition = Acquisition(
    tailored(config.sequence.n_frames), config.scan.window, config.scan.stride
  )
  signals = np.empty((head.mask.sum(), acquisition.n_windows), np.complex64)
  rng.standard_normal(dtype=np.float32, out=signals.view(np.float32))
  signals *= np.float32(0.01)
  fingerprints = make_interpolant(acquisition.sequence).windowed(acquisition)
  for rows in np.array_split(np.arange(len(signals)), 64):
    t1_ms = np.exp(rng.uniform(np.log(500), np.log(2500), len(rows)))
    signals[rows] += fingerprints(t1_ms, t1_ms / 12)
  return Subject(
    subject="noise",
    mask=head.mask,
    signals=signals,
    affine=grid.affine,
    acquisition=acquisition,
    field_strength_t=1.5,
    provenance="simulated",
  )


def save_random_model(config, name: str, scan: Subject, path) -> None:
  """Writes a model bundle with random weights."""
  method = name
  if name == _NO_MATCH:
    method, config = _PLUS, config.copy_and_resolve_references()
    config[method].network.match_step_percent = 0.0
  network = make_network(config, method)
  rank = config[method].training.get("rank")
  n_channels = 2 * (rank or scan.n_windows)
  patch = jnp.zeros(
    (1, *patch_shape(network.reach, network.slices), n_channels)
  )
  basis = None
  if rank:
    columns = np.random.default_rng(0).normal(size=(scan.n_windows, rank))
    basis = np.linalg.qr(columns)[0].astype(np.complex64)
  signals = scan.signals[:_SOME]
  per = standardised(config, compressed=basis is not None)
  statistics = training_statistics(
    config.preprocessing,
    [signals if basis is None else signals @ basis],
    scan.acquisition,
    per=per,
    basis=basis,
  )
  map_range = MapRange(np.zeros(3), np.ones(3))
  variables = network.init(jax.random.key(0), patch, train=False)
  variables |= given_variables(
    network, scan.acquisition, basis, statistics, map_range
  )
  model = Model(
    method=method,
    network=network,
    variables=jax.tree.map(np.asarray, variables),
    map_range=map_range,
    normalise_signals_per=per,
    acquisition=scan.acquisition,
    basis=basis,
    statistics=statistics,
  )
  training = {"seconds": 0.0, "left_out": 0}
  save_model(model, path, config=config.to_dict(), training=training)


def run_twice(folder: pathlib.Path, name: str) -> dict[str, float]:
  """Runs a reconstruction as the first command, and again as the second.

  Returns:
    Seconds of the first process, and what `run` returns of the second.
  """
  method, _, way = name.partition(",")
  model = folder / method
  options = [f"--model={model if model.exists() else method}"]
  if method == _PEER:
    options.append("--config=configs/paper.py")
  if way:
    options.append("--misfit=ignore")
  with tempfile.TemporaryDirectory() as cache:
    options.append(f"--compilation_cache={cache}")
    first = run(folder, options)["process"]
    return {"first": first, **run(folder, options)}


def run(folder: pathlib.Path, options: list[str]) -> dict[str, float]:
  """Runs one reconstruction.

  Returns:
    Seconds of its stages, of the process and of the processor, and the
    process's peak, GiB.
  """
  out = folder / "maps"
  command = [sys.executable, "launch.py", "--mode=reconstruct", *options]
  command += [f"--scan={folder / 'scan.h5'}", f"--output={out}"]
  start = time.perf_counter()
  process = subprocess.Popen(
    command,
    cwd=_ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  _, status, usage = os.wait4(process.pid, 0)
  seconds = time.perf_counter() - start
  if status:
    sys.exit(f"error: {' '.join(command)} failed with status {status}")
  record = json.loads((out / "reconstruction.json").read_text())
  return {
    **record["seconds"],
    "process": seconds,
    "cpu": usage.ru_utime + usage.ru_stime,
    "peak": usage.ru_maxrss / 2**20,
  }


def main(argv: list[str]) -> None:
  """Makes the scan and the models, and times their reconstruction."""
  del argv
  logging.set_verbosity(logging.WARNING)
  config = paper.get_config()
  methods = [m + end for m in (*_NETWORKS, _PEER) for end in ("", _NO_FIT)]
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    scan = make_scan(config, np.random.default_rng(0))
    save_subject(scan, folder / "scan.h5")
    size = (folder / "scan.h5").stat().st_size / 2**30
    for method in _NETWORKS:
      save_random_model(config, method, scan, folder / method)
    print(
      f"{_SLICES.value} x {_MATRIX.value} x {_MATRIX.value}, "
      f"{scan.n_voxels:,} voxels, T = {scan.n_windows}, {size:.1f} GiB\n"
    )
    del scan
    runs: dict[str, list[dict]] = {method: [] for method in methods}
    for _ in range(_REPEATS.value):
      for method in methods:
        runs[method].append(run_twice(folder, method))
  head = ["method", *(f"{s} (s)" for s in _STAGES)]
  head += ["first command (s)", "second (s)", "its CPU (s)", "peak (GiB)"]
  print("| " + " | ".join(head) + " |")
  print("| :-- " + "| --: " * (len(head) - 1) + "|")
  medians = {
    method: {
      key: float(np.median([r[key] for r in repeats])) for key in repeats[0]
    }
    for method, repeats in runs.items()
  }
  for method, values in medians.items():
    keys = (*_STAGES, "first", "process", "cpu", "peak")
    cells = [f"{values.get(key, 0.0):.1f}" for key in keys]
    print("| " + " | ".join([method, *cells]) + " |")
  print()
  size_text = f"{_SLICES.value} x {_MATRIX.value} x {_MATRIX.value}"
  questions = [
    *((m, ", beside SVD 25 matching", _PEER) for m in _NETWORKS),
    (_PLUS, ", beside it without a match", _NO_MATCH),
    *(
      (m, " with goodness of fit, beside without", m + _NO_FIT)
      for m in (*_NETWORKS, _PEER)
    ),
  ]
  for method, question, peer in questions:
    print_ratio(
      f"{size_text} from file to files by {method}{question}",
      medians[method]["process"],
      medians[peer]["process"],
      "s",
    )
  for method in (*_NETWORKS, _PEER):
    print_ratio(
      f"peak memory of {method}, beside a limit of {_BASE_GIB} GiB and "
      f"{_TIMES} times the scan",
      medians[method]["peak"],
      _BASE_GIB + _TIMES * size,
      "GiB",
    )


if __name__ == "__main__":
  app.run(main)
