"""How much memory does loading the paper's data set to the device need?

  python benchmarks/data_path.py  # three minutes, 9 GB of disk
  python benchmarks/data_path.py --storage=float32
  python benchmarks/data_path.py --matrix=64  # quick test

Reads six files of random signals with the paper's number of voxels, normalises
them and fills the table that all folds share, as training does. The limit is
16 GiB of host memory, which on a CPU includes the table.
"""

import pathlib
import resource
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import jax
import numpy as np
from absl import app, flags, logging
from common import print_ratio

from mrf_jax.dataset.standardise import normalise_signals
from mrf_jax.dataset.subject import Subject, load_subject, save_subject
from mrf_jax.maps import Maps
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from mrf_jax.training.devices import FoldRunner
from mrf_jax.training.fold_data import (
  Signals,
  TrainingData,
  make_folds,
  put_on_devices,
)
from mrf_jax.training.options import TrainingOptions

_SUBJECTS = flags.DEFINE_integer("subjects", 6, "Number of scans.")
_SLICES = flags.DEFINE_integer("slices", 16, "Slices of each scan.")
_MATRIX = flags.DEFINE_integer("matrix", 256, "Voxels along y and x.")
_STORAGE = flags.DEFINE_enum(
  "storage",
  "float16",
  ["float32", "float16", "bfloat16"],
  "Type of the signals on the device.",
)

_LIMIT_GIB = 16.0
# Share of the grid that the mask of the simulated full-size head fills.
_FILLED = 275_958 / (16 * 256 * 256)


def main(argv: list[str]) -> None:
  """Writes the scans, loads them, and prints time and memory."""
  del argv
  logging.set_verbosity(logging.WARNING)
  with tempfile.TemporaryDirectory() as folder:
    paths = [
      pathlib.Path(folder) / f"subject-{k:02d}.h5"
      for k in range(_SUBJECTS.value)
    ]
    for seed, path in enumerate(paths):
      _write_scan(path, seed)
    subjects = [load_subject(path, with_signals=False) for path in paths]
    before = _peak_gib()
    start = time.perf_counter()
    table = _load_table(paths, subjects)
    seconds = time.perf_counter() - start
    peak = _peak_gib()
  print(f"voxels           {sum(s.n_voxels for s in subjects):,}")
  print(f"table            {table.nbytes / 2**30:.2f} GiB, {_STORAGE.value}")
  print(f"reading to table {seconds:.1f} s")
  print(f"peak memory      {peak:.2f} GiB ({before:.2f} before)")
  print_ratio(
    "peak host memory of loading the scans; limit 16 GiB",
    peak,
    _LIMIT_GIB,
    "GiB",
  )


def _load_table(paths: list[pathlib.Path], subjects: list[Subject]):
  """Signals of all scans on the device, as training loads them."""

  def read(subject, left_out):
    del left_out
    return normalise_signals(load_subject(paths[subject]).signals, per="frame")

  masks = [subject.mask for subject in subjects]
  maps = [subject.maps for subject in subjects]
  options = TrainingOptions(
    seed=0,
    epochs=1,
    batch=600,
    tile=1,
    learning_rate=1e-3,
    storage=_STORAGE.value,
    watched_voxels=1000,
  )
  folds, _ = make_folds(masks, maps, range(len(masks)), options)
  n_channels = 2 * 673
  on_devices = put_on_devices(
    FoldRunner(len(folds)),
    folds,
    range(len(folds)),
    TrainingData(Signals(n_channels, read), masks, maps),
    storage=options.storage,
    padding=3,
  )
  jax.block_until_ready(on_devices)
  return on_devices[1].signals


def _write_scan(path: pathlib.Path, seed: int) -> None:
  """Writes a scan of random signals."""
  rng = np.random.default_rng(seed)
  mask = rng.random((_SLICES.value, _MATRIX.value, _MATRIX.value)) < _FILLED
  count = int(mask.sum())
  signals = rng.random((count, 673, 2), np.float32)
  scale = np.array([1, 4000, 800], np.float32)
  maps = Maps.unstack(rng.random((count, 3), np.float32) * scale)
  scan = Subject(
    subject=f"random-{seed}",
    mask=mask,
    signals=signals.view(np.complex64)[..., 0],
    affine=np.eye(4),
    acquisition=Acquisition(tailored(720), window=48, stride=1),
    field_strength_t=1.5,
    provenance="random numbers",
    maps=maps,
  )
  save_subject(scan, path)


def _peak_gib() -> float:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
  app.run(main)
