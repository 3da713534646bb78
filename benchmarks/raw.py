"""How much work are the windows of a scan's raw k-space?

  python benchmarks/raw.py  # a quarter of an hour on two idle cores
  python benchmarks/raw.py --slices=1 --matrix=96 --repeats=1  # quick

CPU time, user and system, of all threads of a process that reads an ISMRMRD
file, grids it and combines its coils to the signals of the brain: 16 slices of
256 × 256, 16 coils, 720 frames of one spiral arm, windows of 48 frames at every
eighth. The peer is the build of commit cd40de9, in turns with this one. The
samples are random: no time depends on their values.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags
from common import check_out, print_ratio

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))

from mrf_jax.io.ismrmrd_writer import write_raw_data  # noqa: E402
from mrf_jax.kspace.spiral import make_spiral  # noqa: E402

_SLICES = flags.DEFINE_integer("slices", 16, "Slices of the scan.")
_MATRIX = flags.DEFINE_integer("matrix", 256, "Voxels along x and along y.")
_COILS = flags.DEFINE_integer("coils", 16, "Coils.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of each; the median.")
_PEER = "cd40de9"
_FRAMES, _WINDOW, _STRIDE = 720, 48, 8
# The interface of then and of now.
_READ = """
import sys
sys.path.insert(0, {code!r})
import numpy as np
import mrf_jax
from mrf_jax.importing.raw import RawSeries

sequence = mrf_jax.tailored({frames})
try:
  acquisition = mrf_jax.Acquisition(sequence, {window}, {stride})
  raw = RawSeries({path!r}, acquisition)
except AttributeError:
  raw = RawSeries({path!r}, sequence, window={window}, stride={stride})
signals = raw.signals(np.load({mask!r}))
print(signals.shape)
"""


def write_scan(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  """A raw file of random samples, and the mask of a brain in it."""
  matrix, rng = _MATRIX.value, np.random.default_rng(0)
  arms = make_spiral(
    matrix=matrix,
    n_arms=_WINDOW,
    samples_per_arm=4 * matrix,
    density_power=1.25,
  ).trajectory
  shape = (_SLICES.value, _FRAMES, _COILS.value, arms.shape[1])
  samples = np.empty(shape, np.complex64)
  for of_slice in samples:
    parts = rng.standard_normal((*shape[1:], 2), np.float32)
    of_slice[:] = parts.view(np.complex64)[..., 0]
  write_raw_data(
    folder / "scan.mrd",
    samples,
    arms[np.arange(_FRAMES) % _WINDOW],
    matrix=matrix,
    affine=np.diag([1.0, 1.0, 5.0, 1.0]),
    tr_ms=np.full(_FRAMES, 14.0),
    field_strength_t=1.5,
  )
  axis = (np.arange(matrix) - matrix // 2) / matrix
  ellipse = np.hypot(axis / 0.3, axis[:, None] / 0.38) < 1
  np.save(folder / "mask.npy", np.stack([ellipse] * _SLICES.value))
  return folder / "scan.mrd", folder / "mask.npy"


def read(code: pathlib.Path, path: pathlib.Path, mask: pathlib.Path):
  """Seconds, CPU seconds and peak GiB of a process that reads the scan."""
  text = _READ.format(
    code=str(code),
    path=str(path),
    mask=str(mask),
    frames=_FRAMES,
    window=_WINDOW,
    stride=_STRIDE,
  )
  begin = time.perf_counter()
  process = subprocess.Popen(
    [sys.executable, "-c", text], cwd=code, stdout=subprocess.DEVNULL
  )
  _, status, usage = os.wait4(process.pid, 0)
  if status:
    sys.exit(f"error: the code of {code} failed with status {status}")
  seconds = time.perf_counter() - begin
  cpu = usage.ru_utime + usage.ru_stime
  return seconds, cpu, usage.ru_maxrss / 2**20


def main(argv: list[str]) -> None:
  """Writes the scan, and has it read in turns."""
  del argv
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    scan, mask = write_scan(folder)
    check_out(_PEER, folder / "peer")
    runs: dict[str, list] = {"ours": [], "peer": []}
    for _ in range(_REPEATS.value):
      runs["ours"].append(read(_ROOT, scan, mask))
      runs["peer"].append(read(folder / "peer", scan, mask))
    for who, own in runs.items():
      seconds, cpu, peak = np.median(own, 0)
      print(f"{who}: {seconds:.1f} s, CPU {cpu:.1f} s, peak {peak:.2f} GiB")
    size = f"{_SLICES.value} x {_MATRIX.value} x {_MATRIX.value}"
    ours, peer = (float(np.median(own, 0)[1]) for own in runs.values())
    print_ratio(
      f"raw k-space to windows, {size}, {_COILS.value} coils, beside before, "
      f"{_PEER}",
      ours,
      peer,
      "CPU s",
    )


if __name__ == "__main__":
  app.run(main)
