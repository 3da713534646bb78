"""How long a piece of work takes, cold and warm, and what memory it wants."""

import dataclasses
import gc
import time
from collections.abc import Callable

import jax
import numpy as np

from mrf_jax.runtime.memory import PeakMemory
from mrf_jax.timing.machine import Rates

# Warm runs of a stage: few of those that take long.
_LEAST, _LEAST_OF_LONG, _MOST = 5, 2, 100
# A spread above which a row is marked.
NOISY = 0.1


@dataclasses.dataclass(frozen=True)
class Task:
  """A stage of a method, ready to run.

  Attributes:
    method: name of the method.
    stage: what of it.
    run: does it once, and returns what has to be ready then.
    voxels: estimated or trained on by the whole stage, or None.
    timed: voxels of one run, where it is a part whose time is scaled up.
    atoms: of the dictionary or atlas, or None.
    flop: of the whole stage, counted, not measured; or None.
    n_bytes: least that goes in and comes out of the whole stage, or None.
    precision: of its products.
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
    """Its name for progress bars and traces."""
    atoms = "" if self.atoms is None else f", {self.atoms} atoms"
    return f"{self.method} {self.stage}{atoms}"


@dataclasses.dataclass(frozen=True)
class Timing:
  """What was measured of a task.

  Attributes:
    method: name of the method.
    stage: what of it.
    precision: of its products.
    seconds: median of the warm runs, for the whole stage.
    spread: between the quartiles of the warm runs, relative to the median.
    repeats: warm runs.
    cold_s: the first run, with compilation, not scaled.
    voxels: of the whole stage, or None.
    timed_voxels: of one run.
    atoms: of the dictionary or atlas, or None.
    gflop: of the whole stage, or None.
    gbyte: least that goes in and comes out, or None.
    product_share: of the measured rate of matrix products, or None.
    copy_share: of the measured rate of copies, or None.
    peak_mib: most memory beside the inputs; of an accelerator, the most that
      was in use since the program began.
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
    """Whether runs differed so much that the median says little."""
    return self.spread > NOISY

  @property
  def voxels_per_s(self) -> float | None:
    """Voxels a second, warm."""
    return self.voxels / self.seconds if self.voxels else None


def measure(task: Task, rates: Rates, *, seconds: float) -> Timing:
  """Runs a task cold, then warm for about some seconds.

  Args:
    task: what to run.
    rates: of the machine.
    seconds: of warm runs; at least five are made, or two of long ones.
  """
  jax.clear_caches()
  gc.collect()
  cold = _seconds(task)
  with PeakMemory() as memory:
    warm = [_seconds(task)]
  while len(warm) < _MOST and (
    sum(warm) < seconds
    or len(warm)
    < (_LEAST if warm[0] * _LEAST < 2 * seconds else _LEAST_OF_LONG)
  ):
    warm.append(_seconds(task))
  # The watch over its memory may have slowed the first.
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
  """Of the device that computes."""
  stats = jax.devices()[0].memory_stats() or {}
  return stats.get("peak_bytes_in_use", memory.peak_bytes)
