"""What memory is there, and what a piece of code takes of it."""

import contextlib
import ctypes
import gc
import pathlib
import threading

import psutil

_CGROUP_LIMITS = (
  "/sys/fs/cgroup/memory.max",
  "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def available_bytes() -> int:
  """What the host can still give this process without swapping."""
  available = psutil.virtual_memory().available
  own = psutil.Process().memory_info().rss
  for path in map(pathlib.Path, _CGROUP_LIMITS):
    try:
      limit = int(path.read_text())
    except (OSError, ValueError):
      continue
    available = min(available, limit - own)
  return max(0, available)


def gib(n_bytes: float) -> str:
  """A size in words."""
  return f"{n_bytes / 2**30:.1f} GiB"


def _give_back() -> None:
  """Returns to the system what is free, lest its use go unseen."""
  gc.collect()
  # Of the GNU C library; others keep what they keep.
  with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).malloc_trim(0)


class PeakMemory:
  """Most memory that the process held within the block, beyond its start.

  The resident size is read every few milliseconds.

  Attributes:
    peak_bytes: beyond what was held when the block began.
  """

  peak_bytes: int = 0

  def __enter__(self) -> "PeakMemory":
    _give_back()
    process = psutil.Process()
    begin = process.memory_info().rss
    self._ended = threading.Event()

    def watch():
      while not self._ended.wait(0.002):
        held = process.memory_info().rss - begin
        self.peak_bytes = max(self.peak_bytes, held)

    self._thread = threading.Thread(target=watch, daemon=True)
    self._thread.start()
    return self

  def __exit__(self, *error) -> None:
    self._ended.set()
    self._thread.join()
