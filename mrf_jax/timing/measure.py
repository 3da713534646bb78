"""Measures the time of a task, cold and warm, and its peak memory."""

import dataclasses
import gc
import time
from collections.abc import Callable

import jax
import numpy as np

from mrf_jax.runtime.memory import PeakMemory
from mrf_jax.timing.machine import Rates

# Least and most warm runs of a task; long tasks have fewer.
_LEAST, _LEAST_OF_LONG, _MOST = 5, 2, 100
# Rows with a larger spread are marked.
NOISY = 0.1


@dataclasses.dataclass(frozen=True)
class Task:
  """A stage of a method, ready to run.

  Attributes:
    run: runs the stage once, and returns the arrays that must be ready then.
    voxels: voxels that the whole stage estimates or trains on, or None.
    timed: voxels of one run, if it covers a part of them and the time is scaled
      up; otherwise None.
    atoms: atoms of the dictionary or atlas, or None.
    flop: operations of the whole stage, counted, not measured; or None.
    n_bytes: least input and output of the whole stage, bytes; or None.
    precision: precision of the matrix products.
  """

  method: str
  stage: str
  run: Callable[[], object]
  voxels: int | None = None
  timed: int | None = None
  atoms: int | None = None
  flop: float | None = None
  n_bytes: float | None = None
  precision: str = "float32"

  @property
  def label(self) -> str:
    """Name for progress bars and traces."""
    atoms = "" if self.atoms is None else f", {self.atoms} atoms"
    return f"{self.method} {self.stage}{atoms}"


@dataclasses.dataclass(frozen=True)
class Timing:
  """Measurements of a task, with what `Task` says of it.

  Attributes:
    seconds: median of the warm runs, scaled to the whole stage.
    spread: interquartile range of the warm runs, relative to the median.
    repeats: number of warm runs.
    cold_s: seconds of the first run, with compilation, not scaled.
    timed_voxels: voxels of one run.
    gflop: operations of the whole stage, 1e9; or None.
    gbyte: least input and output of the whole stage, 1e9 bytes; or None.
    product_share: share of the measured peak of matrix products, or None.
    copy_share: share of the measured peak of copies, or None.
    peak_mib: peak memory without the inputs, MiB; on an accelerator, the peak
      since the program began.
  """

  method: str
  stage: str
  precision: str
  seconds: float
  spread: float
  repeats: int
  cold_s: float
  voxels: int | None
  timed_voxels: int | None
  atoms: int | None
  gflop: float | None
  gbyte: float | None
  product_share: float | None
  copy_share: float | None
  peak_mib: float

  @property
  def noisy(self) -> bool:
    """Whether the runs differ too much for the median to mean much."""
    return self.spread > NOISY

  @property
  def voxels_per_s(self) -> float | None:
    """Voxels per second of the warm runs."""
    return self.voxels / self.seconds if self.voxels else None


def measure(task: Task, rates: Rates, *, seconds: float) -> Timing:
  """Runs a task once cold, then warm for about the given seconds.

  Warm runs are at least five, or two of tasks for which five would take more
  than twice as long.
  """
  jax.clear_caches()
  gc.collect()
  cold = _seconds(task)
  with PeakMemory() as memory:
    warm = [_seconds(task)]
  least = _LEAST if warm[0] * _LEAST < 2 * seconds else _LEAST_OF_LONG
  while len(warm) < _MOST and (sum(warm) < seconds or len(warm) < least):
    warm.append(_seconds(task))
  # Measuring the memory may have slowed the first run.
  if len(warm) > _LEAST_OF_LONG:
    warm = warm[1:]
  low, median, high = np.percentile(warm, (25, 50, 75))
  scale = 1.0
  if task.voxels and task.timed:
    scale = task.voxels / task.timed
  whole = float(median) * scale
  share = {
    name: count and rate and count / whole / rate
    for name, count, rate in (
      ("product_share", task.flop, rates.products),
      ("copy_share", task.n_bytes, rates.copies),
    )
  }
  return Timing(
    method=task.method,
    stage=task.stage,
    precision=task.precision,
    seconds=whole,
    spread=float((high - low) / median),
    repeats=len(warm),
    cold_s=cold,
    voxels=task.voxels,
    timed_voxels=task.timed or task.voxels,
    atoms=task.atoms,
    gflop=task.flop and task.flop / 1e9,
    gbyte=task.n_bytes and task.n_bytes / 1e9,
    peak_mib=_peak_bytes(memory) / 2**20,
    **share,
  )


def _seconds(task: Task) -> float:
  """Seconds of one run."""
  with jax.profiler.TraceAnnotation(task.label):
    start = time.perf_counter()
    jax.block_until_ready(task.run())
    return time.perf_counter() - start


def _peak_bytes(memory: PeakMemory) -> int:
  """Peak memory of the accelerator, or of the process on a CPU."""
  stats = jax.devices()[0].memory_stats() or {}
  return stats.get("peak_bytes_in_use", memory.peak_bytes)
